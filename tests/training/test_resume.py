"""Nothing is lost: kills, stops, damaged checkpoints, NaN, a full disk."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from kd_jax import checkpoint, errors, metrics, network_files, training
from kd_jax.training import resume
from tests.helpers import children, running

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = str(ROOT / 'tests/helpers/quick.py')
pytestmark = pytest.mark.usefixtures('compiled_once')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that nothing interrupted."""
  folder = tmp_path_factory.mktemp('whole')
  running.run(running.experiment(), folder)
  return folder


@pytest.mark.bits
def test_a_stopped_run_continues_bit_for_bit(whole, tmp_path, caplog):
  for steps in (3, 33, 20, 21):
    with pytest.raises(errors.StoppedError, match='step'):
      running.run(running.experiment(), tmp_path, stop_after=steps)
  running.run(running.experiment(), tmp_path)
  assert running.hashes(tmp_path) == running.hashes(whole)
  assert metrics.read_rows(tmp_path) == metrics.read_rows(whole)
  assert 'damaged' not in caplog.text


def test_a_finished_run_is_not_run_again(whole):
  before = (whole / metrics.ROWS).stat().st_mtime
  made = running.experiment()
  broken = made._replace(data=None)  # training would need it
  training.run(broken, training.Session(whole, metrics.silent()))
  assert (whole / metrics.ROWS).stat().st_mtime == before


def damage(folder: pathlib.Path, how: str) -> None:
  """Truncates or corrupts the largest file of the newest checkpoint."""
  newest = max(folder.iterdir(), key=lambda p: int(p.name))
  files = [p for p in newest.rglob('*') if p.is_file()]
  largest = max(files, key=lambda p: p.stat().st_size)
  data = bytearray(largest.read_bytes())
  if how == 'truncated':
    data = data[: len(data) // 2]
  else:
    for i in range(len(data) // 3, len(data) // 3 + 64):
      data[i] ^= 0xFF
  largest.write_bytes(bytes(data))


def test_every_stage_says_how_far_it_is(whole, tmp_path, capsys):
  with pytest.raises(errors.StoppedError):
    running.run(running.experiment(), tmp_path, stop_after=30 + 30 + 18)
  capsys.readouterr()
  running.run(running.experiment(), tmp_path)
  said = capsys.readouterr().err
  assert f'teacher: finished before, read from {tmp_path}/networks' in said
  assert f'student: continues at step 18 of 30 in {tmp_path}' in said


def test_the_predicate_knows_all_five(whole, tmp_path):
  made, stage = running.experiment(), running.experiment().stages[-1]
  names = ['student', 'student_best']

  def status(folder, identity=made.identities['student']):
    return resume.of_stage(folder, 'student', names, identity)

  assert status(tmp_path) == resume.Status('fresh')
  assert status(whole) == resume.Status('finished')
  other = {**made.identities['student'], 'seed': 7}
  foreign = status(whole, other)
  assert foreign.what == 'foreign'
  assert 'seed is 7 now and 0 there' in foreign.why
  shutil.copytree(whole / 'checkpoints', tmp_path / 'checkpoints')
  assert status(tmp_path) == resume.Status('at', 30)
  assert status(tmp_path, other).what == 'foreign'
  shutil.copytree(whole / 'networks', tmp_path / 'networks')
  path = tmp_path / 'networks/student' / network_files.VARIABLES
  path.write_bytes(path.read_bytes()[:-3])
  assert status(tmp_path).what == 'damaged'
  assert stage.name == 'student'


@pytest.mark.parametrize('how', ['deleted', 'damaged', 'swapped'])
def test_a_finished_network_that_is_not_whole_is_made_again(
  how, whole, tmp_path, capsys
):
  shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
  student = tmp_path / 'networks/student'
  if how == 'damaged':
    path = student / network_files.VARIABLES
    path.write_bytes(path.read_bytes()[:-3])
  else:
    shutil.rmtree(student)
  if how == 'swapped':
    shutil.copytree(tmp_path / 'networks/baseline', student)
  running.run(running.experiment(), tmp_path)
  said = capsys.readouterr().err
  assert 'student: continues at step 30 of 30' in said
  moved = tmp_path / 'damaged/student'
  assert moved.exists() == (how != 'deleted')
  assert (str(moved) in said) == (how != 'deleted')
  assert running.hashes(tmp_path) == running.hashes(whole)


def test_a_checkpoint_of_another_config_is_refused(whole, tmp_path):
  shutil.copytree(whole / 'checkpoints', tmp_path / 'checkpoints')
  with pytest.raises(ValueError, match='belongs|another training') as refused:
    running.run(running.experiment(teacher__seed=5), tmp_path)
  assert 'seed is 5 now and 0 there' in str(refused.value)
  steps = {p.name for p in (tmp_path / 'checkpoints/teacher').iterdir()}
  assert '30' in steps


@pytest.mark.bits
@pytest.mark.parametrize('how', ['truncated', 'corrupted'])
def test_a_damaged_checkpoint_falls_back(how, whole, tmp_path, caplog):
  with pytest.raises(errors.StoppedError):
    running.run(running.experiment(), tmp_path, stop_after=30 + 30 + 18)
  place = tmp_path / 'checkpoints' / 'student'
  assert len(list(place.iterdir())) == 2
  damage(place, how)
  running.run(running.experiment(), tmp_path)
  assert 'falling back' in caplog.text
  assert running.hashes(tmp_path) == running.hashes(whole)


def test_nan_names_the_term_and_keeps_the_checkpoint(tmp_path):
  made = running.experiment(train__optimizer__learning_rate=1e30)
  with pytest.raises(errors.DivergedError, match="term 'hard'.* step"):
    running.run(made, tmp_path)
  rows = metrics.read_rows(tmp_path)
  assert not np.isfinite(rows[-1]['loss/hard'])
  manager = checkpoint.make_manager(tmp_path / 'checkpoints' / 'teacher', 2)
  assert manager.latest_step() == 30


@pytest.mark.skipif(
  os.geteuid() != 0 or not shutil.which('mount'),
  reason='this system lets nobody mount',
)
def test_a_full_disk_is_a_clear_error(whole, tmp_path, caplog):
  place = tmp_path / 'small'
  place.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', str(place)]
  if subprocess.run(mount, capture_output=True, check=False).returncode:
    pytest.skip('this system mounts no small file system')
  try:
    with pytest.raises(errors.StoppedError):
      running.run(running.experiment(), place, stop_after=9)
    with pytest.raises(OSError), open(place / 'filler', 'wb') as filler:
      while True:
        filler.write(bytes(4096))
        filler.flush()
    with pytest.raises(OSError, match='checkpoint|space'):
      running.run(running.experiment(), place)
    (place / 'filler').unlink()
    running.run(running.experiment(), place)
    assert 'damaged' not in caplog.text
    assert running.hashes(place) == running.hashes(whole)
  finally:
    subprocess.run(['umount', '-l', str(place)], check=False)


def launch(folder, *more, devices: int = 1) -> subprocess.Popen:
  """The launcher as a user starts it, with so many CPU devices."""
  command = [
    sys.executable,
    '-m',
    'experiments.launch',
    '--config',
    QUICK,
    '--workdir',
    str(folder),
    '--config.parallel=one',
    '--config.checkpoint_every=8',
    *more,
  ]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env=children.environment(devices),
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def wait_for(path: pathlib.Path, process, seconds=300) -> None:
  """Until a path is there, or the process has ended."""
  end = time.monotonic() + seconds
  while not path.exists() and process.poll() is None:
    assert time.monotonic() < end, f'{path} never came'
    time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize('way', ['one', 'mesh', 'pmap'])
def test_sigkill_at_any_moment_loses_nothing(way, tmp_path, monkeypatch):
  """Killed at random steps and during saves: the end is bit-identical.

  In each stage on one device; on several, in chunks, in the last one.
  """
  children.compile_as_a_user_does(monkeypatch)
  calm, hard = tmp_path / 'calm', tmp_path / 'hard'
  more, devices = (), 1
  kills = ('teacher', 8), ('baseline', 16), ('student', 24)
  if way != 'one':
    kills = kills[-1:]
    more = f'--config.parallel={way}', '--config.steps_at_once=10'
    devices = 4
  process = launch(calm, *more, devices=devices)
  _, errors = process.communicate(timeout=600)
  assert process.returncode == 0, errors
  rng = random.Random(0)
  for stage, step in kills:
    process = launch(hard, *more, devices=devices)
    wait_for(hard / 'checkpoints' / stage / str(step), process)
    time.sleep(rng.uniform(0, 0.03))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
  process = launch(hard, *more, devices=devices)
  _, errors = process.communicate(timeout=600)
  assert process.returncode == 0, errors
  assert running.hashes(hard) == running.hashes(calm)
  assert metrics.read_rows(hard) == metrics.read_rows(calm)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_cleanly(number, tmp_path):
  process = launch(tmp_path, '--config.train.steps=100000')
  wait_for(tmp_path / 'checkpoints' / 'baseline' / '8', process)
  process.send_signal(number)
  _, errors = process.communicate(timeout=600)
  assert process.returncode == 130, errors
  assert 'stopped and saved' in errors
  assert 'Traceback' not in errors


def test_the_state_restores_as_it_was(tmp_path):
  tree = {
    'key': jax.random.key(3),
    'bf16': jax.numpy.arange(4, dtype=jax.numpy.bfloat16),
    'none': {},
    'number': np.float32(2.5),
  }
  manager = checkpoint.make_manager(tmp_path, 2)
  checkpoint.save(manager, 5, tree, {'note': 'x'})
  checkpoint.finish(manager)
  step, found, meta = checkpoint.restore(manager, tree)
  assert (step, meta) == (5, {'note': 'x'})
  assert checkpoint.content_hash(found) == checkpoint.content_hash(tree)
  assert found['key'].dtype == tree['key'].dtype
