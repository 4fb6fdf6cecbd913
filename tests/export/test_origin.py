"""A network that was put in another one's place does not get its card."""

import json
import shutil

import numpy as np
import pytest

from kd_jax import checkpoint, export, network_files
from kd_jax.export import origin, parity, source
from tests.helpers import networks_on_disk


def logits(folder, count: int = 300) -> np.ndarray:
  """What the network of a folder says of the first test images."""
  student = source.load(folder)
  forward = parity.make_forward(student.network, student.variables)
  data = networks_on_disk.data()
  images = (data.test().inputs[:count] / 255 - data.mean) / data.std
  return forward(images.astype(np.float32))


@pytest.fixture
def run(tmp_path):
  """A run with a teacher, a student and a baseline like it, reported."""
  folder = networks_on_disk.run(tmp_path / 'run')
  networks_on_disk.save(
    folder / 'networks/baseline', 0, 1, name='cnn', hidden=8
  )
  report = networks_on_disk.report('teacher', 'student', 'baseline')
  checkpoint.write_json(folder / 'report.json', report)
  return folder


def store(run) -> None:
  """Writes the logits that the comparison of a run leaves."""
  rows = ('teacher', 'student', 'baseline')
  arrays = {f'logits/{row}': logits(run / 'networks' / row) for row in rows}
  np.savez(run / 'predictions.npz', **arrays)


def note(run, **of) -> None:
  """Adds to network.json of the three networks; `of` maps their names."""
  for row in ('teacher', 'student', 'baseline'):
    more = {key: make(row) for key, make in of.items()}
    networks_on_disk.edit(run / 'networks' / row / 'network.json', **more)


def swap(run) -> None:
  shutil.rmtree(run / 'networks/student')
  shutil.copytree(run / 'networks/baseline', run / 'networks/student')


def refuse(run, capsys, tmp_path, monkeypatch, at='') -> str:
  """The one line with which the student's export is refused."""
  monkeypatch.setattr(
    source,
    'read_data',
    lambda student, _: source.fitting(student, networks_on_disk.data()),
  )
  out = tmp_path / 'out'
  words = [str(run / at), '--format', 'safetensors', '--out', str(out)]
  assert export.main(words) == 2
  printed, line = capsys.readouterr()
  assert not printed and line.startswith('error: ') and line.count('\n') == 1
  assert str(run / 'networks/student') in line and 'copy it out' in line
  assert not out.exists()
  return line


def works(folder, tmp_path) -> None:
  out = tmp_path / 'works'
  data = networks_on_disk.data()
  export.export(folder, out, 'safetensors', data=data, seconds=0.0)
  shutil.rmtree(out)


@pytest.mark.parametrize('at', ['', 'networks/student'])
def test_a_network_of_another_name(run, at, tmp_path, capsys, monkeypatch):
  note(run, network=lambda row: row)
  works(run, tmp_path)
  swap(run)
  line = refuse(run, capsys, tmp_path, monkeypatch, at)
  assert "holds the network 'baseline' and not 'student'" in line


def test_a_network_of_another_hash_than_the_report(
  run, tmp_path, capsys, monkeypatch
):
  note(run, network=lambda row: row)
  _, spec = network_files.load_network(run / 'networks/student')
  report = json.loads((run / 'report.json').read_text())
  report['networks']['student']['hash'] = spec['hash']
  checkpoint.write_json(run / 'report.json', report)
  works(run, tmp_path)
  swap(run)
  networks_on_disk.edit(
    run / 'networks/student/network.json', network='student'
  )
  line = refuse(run, capsys, tmp_path, monkeypatch)
  assert 'report.json has ' + spec['hash'][:12] in line


def test_a_network_of_another_run(run, tmp_path, capsys, monkeypatch):
  config = json.loads((run / 'config.json').read_text())
  trained_by = {k: v for k, v in config.items() if k != 'networks'}
  note(run, identity=lambda row: {'config': trained_by})
  works(run, tmp_path)
  trained_by['data'] = {**trained_by['data'], 'seed': 7}
  note(run, identity=lambda row: {'config': trained_by})
  line = refuse(run, capsys, tmp_path, monkeypatch)
  assert 'trained by another run: data.seed is 0 now and 7 there' in line


def test_old_networks_without_a_name_are_told_apart_by_their_weights(
  run, tmp_path, capsys, monkeypatch
):
  student = run / 'networks/student'
  shutil.copytree(student, run / 'networks/student_best')
  works(run, tmp_path)
  swap(run)
  line = refuse(run, capsys, tmp_path, monkeypatch)
  assert "the same weights as 'baseline'" in line


def test_any_other_network_does_not_give_the_stored_logits(
  run, tmp_path, capsys, monkeypatch
):
  note(run, network=lambda row: row)
  store(run)
  works(run, tmp_path)
  student = run / 'networks/student'
  shutil.rmtree(student)
  networks_on_disk.save(student, 0, 2, name='cnn', hidden=8)
  networks_on_disk.edit(student / 'network.json', network='student')
  line = refuse(run, capsys, tmp_path, monkeypatch)
  assert 'does not give the logits that predictions.npz' in line
  # Outside of the run it is a network alone.
  shutil.copytree(student, tmp_path / 'alone')
  works(tmp_path / 'alone', tmp_path)


def test_on_other_data_nothing_is_compared(run):
  store(run)
  student = source.load(run)
  data = networks_on_disk.data()
  origin.check_answers(student, data)
  kernel = student.variables['params']['logits']['kernel']
  kernel = kernel[:, ::-1]
  params = {
    **student.variables['params'],
    'logits': {**student.variables['params']['logits'], 'kernel': kernel},
  }
  other = student._replace(variables={**student.variables, 'params': params})
  with pytest.raises(ValueError, match='another network'):
    origin.check_answers(other, data)
  origin.check_answers(other, data._replace(fingerprint='other'))


def test_damaged_predictions_are_one_line(run, tmp_path):
  (run / 'predictions.npz').write_bytes(b'PK nonsense')
  with pytest.raises(ValueError, match=r'predictions\.npz is damaged'):
    origin.check_answers(source.load(run), networks_on_disk.data())
