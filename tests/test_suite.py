"""The suites: what is quick, and which skips are failures."""

import pathlib
import tomllib
import types

import pytest

from tests import conftest
from tests.helpers import marks

ROOT = pathlib.Path(__file__).resolve().parents[1]


def report(reason: str, **more):
  """What pytest makes of a test that was skipped for a reason."""
  longrepr = ('file.py', 1, f'Skipped: {reason}')
  return types.SimpleNamespace(
    skipped=True, outcome='skipped', longrepr=longrepr, **more
  )


@pytest.mark.parametrize(
  'reason',
  ["could not import 'onnx': No module named 'onnx'", 'no shared/data'],
)
def test_a_skip_for_want_of_something_is_a_failure(reason, monkeypatch):
  monkeypatch.setenv('KD_JAX_NO_SKIPS', '1')
  skipped = report(reason)
  conftest.refuse_skip(skipped)
  assert skipped.outcome == 'failed' and reason in skipped.longrepr


def test_a_newcomer_may_lack_something(monkeypatch):
  monkeypatch.delenv('KD_JAX_NO_SKIPS', raising=False)
  skipped = report("could not import 'onnx'")
  conftest.refuse_skip(skipped)
  assert skipped.outcome == 'skipped'


def test_other_skips_stay(monkeypatch):
  monkeypatch.setenv('KD_JAX_NO_SKIPS', '1')
  for skipped in (
    report('by design: a contrast has no zero'),
    report('this system mounts no small file system'),
    report('expected to fail', wasxfail=''),
  ):
    conftest.refuse_skip(skipped)
    assert skipped.outcome == 'skipped'


def test_what_passed_before_is_left_out(tmp_path, monkeypatch):
  path, left_out = tmp_path / 'passed', []
  monkeypatch.setenv('KD_JAX_PASSED', str(path))
  items = [types.SimpleNamespace(nodeid=f'tests/a.py::{x}') for x in 'xyz']
  hook = types.SimpleNamespace(
    pytest_deselected=lambda items: left_out.extend(items)
  )
  config = types.SimpleNamespace(hook=hook)
  conftest.pytest_collection_modifyitems(config, items)
  assert len(items) == 3 and not left_out  # there is no such file yet
  path.write_text('tests/a.py::y\ntests/b.py::x\n')
  conftest.pytest_collection_modifyitems(config, items)
  assert [item.nodeid[-1] for item in items] == ['x', 'z']
  assert [item.nodeid[-1] for item in left_out] == ['y']


def test_the_quick_suite_is_the_default():
  settings = tomllib.loads((ROOT / 'pyproject.toml').read_text())
  options = settings['tool']['pytest']['ini_options']
  assert "-m 'not slow'" in options['addopts']
  assert 'python -m pytest -m slow' in (ROOT / 'README.md').read_text()


def test_all_but_the_quick_ones_are_slow():
  one, two = marks.slow_but(['a', 'b'], ['b'])
  assert one.values == ('a',) and one.marks == (marks.SLOW,)
  assert two == 'b'
  several, _ = marks.slow_but([('a', 1), ('b', 2)], [('b', 2)])
  assert several.values == ('a', 1)
  with pytest.raises(ValueError, match='no value'):
    marks.slow_but(['a'], ['c'])
