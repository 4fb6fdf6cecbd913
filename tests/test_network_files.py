"""Finished networks: written beside what is there, never over it, and checked.

A network.json that was edited by hand is one line, wherever it is read.
"""

import errno
import json
import pathlib

import jax
import ml_dtypes
import numpy as np
import pytest

import kd_jax
from kd_jax import build, checkpoint, cli, metrics, network_files, training
from kd_jax.training import finished
from tests.helpers import networks_on_disk, quick

SPEC = {'build': {'name': 'mlp', 'classes': 2}}


def variables(value: float = 0.0) -> dict:
  return {'params': {'dense': {'kernel': np.full((2, 2), value, np.float32)}}}


def kernel(folder) -> float:
  """The one number of a network of `variables`."""
  stored, _ = network_files.load_network(folder)
  return float(stored['params']['dense']['kernel'][0, 0])


def content(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def refuse(folder, *words, **options) -> None:
  """Asserts that nothing is written, and that one line says why."""
  before = content(folder.parent)
  with pytest.raises(ValueError) as caught:
    network_files.save_network(folder, variables(9), SPEC, **options)
  line = str(caught.value)
  assert '\n' not in line and all(word in line for word in words), line
  assert content(folder.parent) == before


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, overwrite):
  thesis = tmp_path / 'mythesis'
  thesis.mkdir()
  (thesis / 'thesis.txt').write_text('x')
  words = 'mythesis', 'not the folder of a network', 'thesis.txt'
  refuse(thesis, *words, overwrite=overwrite)
  # A network with something beside it is no folder of ours alone either.
  network_files.save_network(tmp_path / 'net', variables(), SPEC)
  (tmp_path / 'net/notes.txt').write_text('x')
  refuse(tmp_path / 'net', 'notes.txt', overwrite=overwrite)
  (tmp_path / 'weights').mkdir()
  (tmp_path / 'weights' / network_files.VARIABLES).write_text('x')
  refuse(tmp_path / 'weights', network_files.VARIABLES, overwrite=overwrite)
  (tmp_path / 'file').write_text('x')
  refuse(tmp_path / 'file', 'is a file', overwrite=overwrite)


def test_an_existing_network_is_refused(tmp_path):
  kd_jax.save_network(tmp_path / 'net', variables(1), SPEC)
  refuse(tmp_path / 'net', str(tmp_path / 'net'), 'already', '--overwrite')


def test_overwriting_moves_the_old_one_aside(tmp_path, caplog):
  for value in (1, 2, 3):
    network_files.save_network(
      tmp_path / 'net', variables(value), SPEC, overwrite=True
    )
  numbers = {path.name: kernel(path) for path in tmp_path.iterdir()}
  assert numbers == {'net': 3, 'net.replaced': 1, 'net.replaced-2': 2}
  for end in ('', '-2'):
    assert (
      f'moved {tmp_path}/net to {tmp_path}/net.replaced{end}' in caplog.text
    )


def test_empty_folders_and_links_are_written_to(tmp_path):
  (tmp_path / 'empty').mkdir()
  network_files.save_network(tmp_path / 'empty', variables(1), SPEC)
  (tmp_path / 'link').symlink_to(tmp_path / 'empty')
  refuse(tmp_path / 'link', 'already')
  network_files.save_network(
    tmp_path / 'link', variables(2), SPEC, overwrite=True
  )
  assert (tmp_path / 'link').is_symlink()
  assert kernel(tmp_path / 'empty') == 2
  assert kernel(tmp_path / 'empty.replaced') == 1


@pytest.mark.parametrize(
  'leaf, words',
  [
    ('text', 'str'),
    (object(), 'object'),
    (np.array(['a']), 'ndarray (<U1)'),
    (jax.random.key(0), 'key<fry>'),
  ],
)
def test_a_leaf_that_is_no_array_of_numbers_is_named(leaf, words, tmp_path):
  whole = {**variables(), 'extra': {'layer': [np.zeros(2), leaf]}}
  with pytest.raises(ValueError) as caught:
    network_files.save_network(tmp_path / 'net', whole, SPEC)
  assert "'extra/layer/1'" in str(caught.value) and words in str(caught.value)
  assert '\n' not in str(caught.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('whole', [[np.zeros(2)], None, (variables(), {})])
def test_what_is_no_mapping_is_refused(whole, tmp_path):
  with pytest.raises(ValueError, match=type(whole).__name__):
    network_files.save_network(tmp_path / 'net', whole, SPEC)
  assert not list(tmp_path.iterdir())


def test_numbers_of_every_kind_are_kept(tmp_path):
  kinds = (np.bool_, np.int8, np.uint32, np.float16, ml_dtypes.bfloat16)
  whole = {'params': {str(k): np.ones(2, t) for k, t in enumerate(kinds)}}
  network_files.save_network(tmp_path / 'net', whole, SPEC)
  stored, _ = network_files.load_network(tmp_path / 'net')
  assert [x.dtype for x in jax.tree.leaves(stored)] == [
    np.dtype(t) for t in kinds
  ]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
  network_files.save_network(tmp_path / 'net', variables(1), SPEC)

  def write(path, data):
    path.touch()
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(pathlib.Path, 'write_bytes', write)
  with pytest.raises(OSError, match=rf"No space left.*'{tmp_path}/net'"):
    network_files.save_network(
      tmp_path / 'net', variables(2), SPEC, overwrite=True
    )
  assert [path.name for path in tmp_path.iterdir()] == ['net']
  assert kernel(tmp_path / 'net') == 1


def test_a_run_moves_aside_what_is_not_its_own(tmp_path, capsys):
  """Networks that a stage finds in its place: of others, and its own."""
  c = quick.get_config()
  c.parallel = 'one'
  experiment = build.make_experiment(c)
  experiment = experiment._replace(stages=experiment.stages[:1])
  (stage,) = experiment.stages
  places = tmp_path / 'networks'
  network_files.save_network(places / 'teacher', variables(1), SPEC)
  (places / 'teacher/notes.txt').write_text('x')
  session = training.Session(tmp_path, metrics.silent())
  trained = training.run(experiment, session)['teacher']
  assert (tmp_path / 'damaged/teacher/notes.txt').exists()
  assert kernel(tmp_path / 'damaged/teacher') == 1
  best, _ = network_files.load_network(places / 'teacher_best')
  # A kill before the second of the two: the first one is there, and stays.
  capsys.readouterr()
  result = {stage.students[0]: finished.Finished(trained, best, {}, {})}
  finished.write(experiment, stage, result, tmp_path)
  assert sorted(p.name for p in places.iterdir()) == ['teacher', 'teacher_best']
  # Other numbers, of another machine that went on, do not replace it silently.
  other = jax.tree.map(lambda x: x + 1, trained)
  result = {stage.students[0]: finished.Finished(trained, other, {}, {})}
  finished.write(experiment, stage, result, tmp_path)
  place = places / 'teacher_best'
  assert capsys.readouterr().err == f'moved {place} to {place}.replaced\n'
  aside, _ = network_files.load_network(places / 'teacher_best.replaced')
  assert checkpoint.content_hash(aside) == checkpoint.content_hash(best)


def without(key: str):
  return lambda spec: {k: v for k, v in spec.items() if k != key}


EDITS = {
  'no hash': (without('hash'), "lacks 'hash'"),
  'hash': (lambda spec: {**spec, 'hash': 5}, "'hash' of network.json is a num"),
  'list': (lambda spec: [spec], 'is not an object but a list'),
  'null': (lambda spec: None, 'is not an object but null'),
  'build': (lambda spec: {**spec, 'build': []}, "'build' of network.json is a"),
  'name': (lambda spec: {**spec, 'build': {}}, "no 'name' that is text"),
  'data': (
    lambda spec: {**spec, 'data': 'x'},
    "'data' of network.json is text",
  ),
  'scores': (lambda spec: {**spec, 'validation': True}, 'is a boolean'),
}


def edit(folder, change) -> None:
  """Changes what the network.json of a folder holds."""
  path = folder / network_files.SPEC
  path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize('case', EDITS)
def test_it_is_named_with_what_is_wrong(case, tmp_path):
  change, words = EDITS[case]
  networks_on_disk.save(tmp_path / 'net', name='mlp', widths=[3])
  edit(tmp_path / 'net', change)
  with pytest.raises(ValueError) as caught:
    network_files.load_network(tmp_path / 'net')
  line = str(caught.value)
  assert '\n' not in line and str(tmp_path / 'net') in line and words in line


@pytest.mark.parametrize(
  'change, words',
  [
    (without('hash'), "lacks 'hash'"),
    (without('build'), 'networks.teacher.load'),
  ],
)
def test_a_config_that_loads_it_is_refused(change, words, tmp_path, capsys):
  folder = tmp_path / 'net'
  networks_on_disk.save(folder, name='mlp', widths=[3])
  edit(folder, change)
  code = cli.main(
    [
      '--config',
      quick.__file__,
      '--workdir',
      str(tmp_path / 'run'),
      f'--config.networks.teacher={{"load":"{folder}"}}',
    ]
  )
  line = capsys.readouterr().err
  assert code == 2 and line.startswith('error: ') and line.count('\n') == 1
  assert str(folder) in line and words in line
  assert not (tmp_path / 'run').exists()
