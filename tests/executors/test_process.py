"""The pool: shares, failures, stops, kills; one real sweep."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from kd_jax import errors
from kd_jax.executors import hardware, jobs, process, status
from tests.helpers import children, standin

ROOT = pathlib.Path(__file__).resolve().parents[2]
POOL = """
import pathlib, sys
from kd_jax.executors import process
from tests.helpers import standin
many = [standin.job(pathlib.Path(sys.argv[1]), n, seconds=60) for n in 'ab']
process.run(many, 2)
"""


def wait_for(done, seconds=60):
  """Until something is so."""
  end = time.monotonic() + seconds
  while not done():
    assert time.monotonic() < end
    time.sleep(0.01)


def test_shares_are_even_and_apart():
  slots = process.slots_of(3, range(8))
  assert [s.cores for s in slots] == [(0, 1), (2, 3, 4), (5, 6, 7)]
  assert [s.env['OMP_NUM_THREADS'] for s in slots] == ['2', '3', '3']
  assert len(process.slots_of(0, range(8))) == 8
  assert [s.cores for s in process.slots_of(4, [5, 9])] == [
    (5,),
    (5,),
    (9,),
    (9,),
  ]
  with pytest.raises(ValueError, match='workers.*-1'):
    process.slots_of(-1, range(8))


def test_each_has_its_gpu():
  slots = process.slots_of(0, range(8), ('3', '5'))
  assert [s.env['CUDA_VISIBLE_DEVICES'] for s in slots] == ['3', '5']
  assert 'XLA_PYTHON_CLIENT_MEM_FRACTION' not in slots[0].env
  shared = process.slots_of(3, range(8), ('3',))
  assert {s.env['CUDA_VISIBLE_DEVICES'] for s in shared} == {'3'}
  assert shared[0].env['XLA_PYTHON_CLIENT_MEM_FRACTION'] == '0.300'


@pytest.mark.parametrize(
  'text, found', [('', ()), ('-1', ()), ('2,GPU-5', ('2', 'GPU-5'))]
)
def test_the_gpus_of_the_environment(text, found, monkeypatch):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', text)
  assert process.gpus() == found


def test_the_gpus_of_the_machine(tmp_path, monkeypatch):
  monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
  monkeypatch.setenv('PATH', str(tmp_path))
  assert process.gpus() == ()
  tool = tmp_path / 'nvidia-smi'
  tool.write_text('#!/bin/sh\necho "GPU 0: H\n  MIG 1g\nGPU 1: H"\n')
  tool.chmod(0o755)
  assert process.gpus() == ('0', '1')


def test_children_run_where_they_should(tmp_path):
  many = [standin.job(tmp_path, f'a={n}', seconds=0.2) for n in range(2)]
  before = hardware.cores()
  assert set(process.run(many, 2, gpus=('6', '7')).values()) == {0}
  assert hardware.cores() == before
  told = [json.loads((j.folder / 'config.json').read_text()) for j in many]
  want = process.slots_of(2, before)
  assert [tuple(t['cores']) for t in told] == [slot.cores for slot in want]
  assert [t['CUDA_VISIBLE_DEVICES'] for t in told] == ['6', '7']
  assert {t['OMP_NUM_THREADS'] for t in told} == {str(len(want[0].cores))}


def test_a_failure_takes_no_other_down(tmp_path, capfd):
  many = [
    standin.job(tmp_path, 'a'),
    standin.job(tmp_path, 'b', standin.FAIL),
    standin.job(tmp_path, 'c', standin.KILLED),
    standin.job(tmp_path, 'd')._replace(command=(str(tmp_path / 'none'),)),
    standin.job(tmp_path, 'e'),
  ]
  codes = process.run(many, 2)
  assert codes == {'a': 0, 'b': 1, 'c': -9, 'd': 1, 'e': 0}
  states = status.of(many)
  assert [s.what for s in states.values()] == [
    'done',
    'failed',
    'failed',
    'failed',
    'done',
  ]
  assert 'No such file' in states['d'].detail
  assert 'b: failed: error: no such thing' in capfd.readouterr().err
  process.check({'a': 0})
  with pytest.raises(errors.JobError, match='^3 of 5 settings failed, b the'):
    process.check(codes)
  # Again: what is done is not done again, what failed waits for --retry.
  assert process.run(many, 2) == {'a': 0, 'b': 1, 'c': 1, 'd': 1, 'e': 0}
  many[1:4] = [standin.job(tmp_path, name) for name in 'bcd']
  assert set(process.run(many, 2, retry=True).values()) == {0}
  assert [standin.begun(job) for job in many] == [1, 1, 1, 1, 1]


def test_no_more_at_once_than_workers(tmp_path):
  many = [standin.job(tmp_path, f'a={n}', seconds=0.15) for n in range(4)]
  most = []

  def watch():
    states = status.of(many).values()
    most.append(sum(s.what == 'running' for s in states))
    return False

  process.run(many, 2, watch)
  assert max(most) == 2


def test_a_stop_saves_and_the_same_again_continues(tmp_path):
  many = [standin.job(tmp_path, n, seconds=60) for n in 'abc']

  def stop():
    return all((job.folder / 'begun').exists() for job in many[:2])

  assert process.run(many, 2, stop) == {'a': 130, 'b': 130, 'c': 130}
  assert [(j.folder / 'saved').exists() for j in many] == [True, True, False]
  assert [s.what for s in status.of(many).values()] == [
    'stopped',
    'stopped',
    'not started',
  ]
  many = [standin.job(tmp_path, name) for name in 'abc']
  assert process.run(many[:1], 2) == {'a': 0}
  assert process.run(many, 2, lambda: True) == {'a': 0, 'b': 130, 'c': 130}
  assert set(process.run(many, 2).values()) == {0}


def test_an_interrupt_leaves_no_child(tmp_path):
  many = [standin.job(tmp_path, n, seconds=60) for n in 'ab']

  def stop():
    if all((job.folder / 'begun').exists() for job in many):
      raise KeyboardInterrupt
    return False

  with pytest.raises(KeyboardInterrupt):
    process.run(many, 2, stop)
  assert [s.what for s in status.of(many).values()] == ['stopped', 'stopped']


@pytest.mark.slow
def test_sigkill_of_the_pool(tmp_path):
  """Its children live on; the next pool waits for them, and ends the rest."""
  many = [standin.job(tmp_path, n) for n in 'ab']
  pool = subprocess.Popen([sys.executable, '-c', POOL, str(tmp_path)], cwd=ROOT)
  wait_for(lambda: all((job.folder / 'begun').exists() for job in many))
  pool.kill()
  pool.wait()
  lives = [jobs.records(job) / status.LIFE for job in many]
  pids = [json.loads(path.read_text())['pid'] for path in lives]
  assert {s.what for s in status.of(many).values()} == {'running'}
  os.kill(pids[0], signal.SIGKILL)
  wait_for(lambda: status.state_of(many[0]).what == 'stopped')
  calls = []

  def stop():
    calls.append(1)
    if len(calls) == 5:
      os.kill(pids[1], signal.SIGTERM)
    return False

  assert process.run(many, 2, stop) == {'a': 0, 'b': 0}
  assert (many[1].folder / 'saved').exists()
  assert [standin.begun(job) for job in many] == [2, 2]


@pytest.mark.slow
def test_a_real_sweep_shares_what_is_the_same(tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  children.compile_as_a_user_does(monkeypatch)
  changes = {'baseline': 'False', 'train.steps': '12', 'teacher.steps': '12'}
  settings = [{'alpha': 0.5}, {'alpha': 0.9}, {'alpha': 3.0}]
  many = jobs.jobs_of('tests/helpers/quick.py', changes, settings, tmp_path)
  codes = process.run(many, 2)
  states = status.of(many)
  assert list(codes.values()) == [0, 0, 2], status.table(states)
  assert 'alpha must lie in [0, 1], not 3.0' in states['alpha=3'].detail
  specs = [
    json.loads((j.folder / 'networks/teacher/network.json').read_text())
    for j in many[:2]
  ]
  assert specs[0] == specs[1]
  trained = [(j.folder / 'checkpoints' / 'teacher').exists() for j in many]
  # One of them trained it, the other waited for it and took it.
  assert sorted(trained[:2]) == [False, True]
