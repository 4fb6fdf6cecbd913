"""Reports that were edited, cut or emptied are refused without a traceback."""

import copy
import json
import shutil

import pytest

from kd_jax import compare, report
from kd_jax.compare import results, schema
from kd_jax.report import page, svg
from tests.helpers import compared


@pytest.fixture
def folder(tmp_path):
  """A run of one's own to damage."""
  return shutil.copytree(compared.shared()[0] / 'seed_0', tmp_path / 'run')


def places(value, path=()):
  """The path of every value within a JSON value."""
  pairs = ()
  if isinstance(value, dict):
    pairs = value.items()
  elif isinstance(value, list):
    pairs = enumerate(value[:2])
  for key, below in pairs:
    yield (*path, key)
    yield from places(below, (*path, key))


def damaged(found, path, junk):
  """A copy with the value at a path replaced; by nothing if junk is ..."""
  found = copy.deepcopy(found)
  inner = found
  for key in path[:-1]:
    inner = inner[key]
  if junk is ...:
    del inner[path[-1]]
  else:
    inner[path[-1]] = junk
  return found


JUNK = (..., None, 'x', [], {}, [1, 2], -1, True, {'mean': 1})


@pytest.mark.parametrize('which', ['seed_0', '.'], ids=['run', 'seeds'])
def test_a_report_is_refused_or_can_be_shown(which, monkeypatch):
  place = compared.shared()[0] / which
  found = json.loads((place / 'report.json').read_text())
  whole = results.read(place)
  assert schema.first_mistake(found) is None
  monkeypatch.setattr(svg, 'panel', lambda *rest, **more: '<svg></svg>')
  refused = shown = 0
  for path in places(found):
    if path[-1] in ('reliability', 'counts') or 'reliability' in path:
      continue  # is not shown
    for junk in JUNK:
      changed = damaged(found, path, junk)
      mistake = schema.first_mistake(changed)
      if mistake:
        assert '\n' not in mistake and len(mistake) < 300
        refused += 1
        continue
      changed = results._with_intervals(results._ordered(changed))
      compare.tables.table(changed)
      compare.tables.overview({'a': changed, 'b': found})
      if junk in (..., None) and len(path) < 3:  # a page takes longer
        report.render(report.ONE, page.context(whole._replace(report=changed)))
      shown += 1
  assert refused > 500 and shown > 50


@pytest.mark.parametrize('text', [
  '', '{', '[]', '[1, 2]', 'null', '3', '"run"', '{}', '{"rows": []}',
  '\x00\x01', '[' * 100_000,
])  # fmt: skip
@pytest.mark.parametrize('main', [compare.main, report.main])
def test_no_report_at_all_is_one_line(main, text, folder, capsys):
  (folder / 'report.json').write_text(text)
  refuse(main, folder, capsys, 'report.json')


def refuse(main, folder, capsys, file):
  """A command that ends with one line on a file and exit code 2."""
  assert main([str(folder)]) == 2
  out, err = capsys.readouterr()
  assert err.startswith('error: ') and err.count('\n') == 1 and not out
  assert str(folder / file) in err and 'damaged' in err


@pytest.mark.parametrize('file, junk', [
  ('report.json', b'\xff\xfe\x00'), ('predictions.npz', b'\xff' * 99),
  ('predictions.npz', b''), ('config.json', b'[1, 2]'),
  ('config.json', b'{not json'), ('environment.json', b'null'),
  ('metrics.jsonl', b'\x00\xff\xfe junk\n{"stage": "student"}\n'),
  ('metrics.jsonl', b'[1, 2]\n'),
])  # fmt: skip
def test_a_damaged_file_is_named(file, junk, folder, capsys):
  (folder / file).write_bytes(junk)
  refuse(report.main, folder, capsys, file)


def test_a_report_without_networks_is_refused(folder, capsys):
  found = json.loads((folder / 'report.json').read_text())
  text = json.dumps({**found, 'networks': {}})
  (folder / 'report.json').write_text(text)
  for main in (compare.main, report.main):
    refuse(main, folder, capsys, 'report.json')


def test_a_report_of_version_0_1_has_intervals_too():
  folder = compared.shared()[0]
  path = folder / 'report.json'
  new, text = results.read_report(folder), path.read_text()
  old = json.loads(text)
  for network in old['networks'].values():
    del network['interval']
  path.write_text(json.dumps(old))
  try:
    assert results.read_report(folder) == new
  finally:
    path.write_text(text)


def test_predictions_of_another_report_are_refused(folder, capsys):
  found = json.loads((folder / 'report.json').read_text())
  found['data']['classes'] = found['data']['classes'][:5]
  for network in found['networks'].values():
    network['per_class'] = network['per_class'][:5]
  (folder / 'report.json').write_text(json.dumps(found))
  refuse(report.main, folder, capsys, 'predictions.npz')


def test_a_place_that_cannot_be_read_is_one_line(folder, capsys):
  (folder / 'report.json').unlink()
  (folder / 'report.json').mkdir()
  for main in (compare.main, report.main):
    assert main([str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.startswith('error: ') and err.count('\n') == 1
    assert 'report.json' in err
