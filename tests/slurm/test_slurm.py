"""A real Slurm: arrays, requeues, resumes, processes that train as one.

Skipped where none answers; `tests/slurm/start.sh` starts one of one node.
"""

import functools
import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from kd_jax import cli, network_files
from kd_jax.executors import jobs, slurm, status
from tests.helpers import children, standin

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = str(ROOT / 'tests/helpers/quick.py')
CONF = os.environ.get('KD_JAX_SLURM', '/tmp/kd_jax_slurm') + '/slurm.conf'


@functools.cache
def answers() -> bool:
  """Whether a Slurm does; the one that start.sh started, if there is one."""
  if pathlib.Path(CONF).exists():
    os.environ.setdefault('SLURM_CONF', CONF)
  if not shutil.which('sinfo'):
    return False
  done = subprocess.run(
    ['timeout', '10', 'sinfo', '-h'], capture_output=True, check=False
  )
  return done.returncode == 0 and bool(done.stdout.strip())


@pytest.fixture(autouse=True)
def _slurm(monkeypatch):
  if not answers():
    pytest.skip('no Slurm answers here; tests/slurm/start.sh starts one')
  pytest.importorskip('submitit')
  monkeypatch.chdir(ROOT)
  # One CPU device each, as a job by hand has.
  monkeypatch.setenv('XLA_FLAGS', children.flags())


def wait_for(many, *whats, seconds=300) -> None:
  """Until the jobs are what is wanted."""
  end = time.monotonic() + seconds
  while tuple(s.what for s in status.of(many).values()) != whats:
    assert time.monotonic() < end, status.table(status.of(many))
    time.sleep(0.1)


def slurm_says(*command: str) -> str:
  """What a command of Slurm's says."""
  return subprocess.run(
    command, capture_output=True, text=True, check=True
  ).stdout


def squeue(number: str) -> str:
  """What is left of an array in the queue."""
  said = slurm_says('squeue', '-h', '-r', '-o', '%A %F %T')
  return '\n'.join(x for x in said.splitlines() if number in x.split())


def hurry(number: str, seconds=60) -> None:
  """A job that was queued again starts now, not in two minutes."""
  end = time.monotonic() + seconds
  while 'JobState=PENDING' not in slurm_says('scontrol', 'show', 'job', number):
    assert time.monotonic() < end
    time.sleep(0.1)
  slurm_says('scontrol', 'update', f'JobId={number}', 'StartTime=now')


def test_an_array_and_those_that_fail(tmp_path):
  many = [
    standin.job(tmp_path, 'a'),
    standin.job(tmp_path, 'b', standin.FAIL),
    standin.job(tmp_path, 'c', seconds=60),
  ]
  numbers = slurm.run(many, slurm.Options(time='10'))
  assert [n.partition('_')[2] for n in numbers.values()] == ['0', '1', '2']
  try:
    assert slurm.run(many, slurm.Options(), retry=True) == {}
    wait_for(many, 'done', 'failed', 'running')
    assert status.state_of(many[1]).detail == 'error: no such thing'
  finally:
    slurm_says('scancel', numbers['c'])
  wait_for(many, 'done', 'failed', 'stopped')
  assert (many[2].folder / 'saved').exists()
  time.sleep(1)
  end = time.monotonic() + 60
  while squeue(numbers['a'].partition('_')[0]):
    assert time.monotonic() < end, 'what was canceled came back'
    time.sleep(0.1)
  # The script that ran is the one that a dry run shows.
  folder = jobs.records(many[0]).parent / 'slurm'
  (ran,) = folder.glob('*_submission.sh')
  shown = slurm.script(many, slurm.Options(time='10'))
  assert shown.startswith(ran.read_text().rstrip())


def test_back_into_the_queue(tmp_path):
  """Whether preempted, out of time, or stopped for no reason of Slurm's."""
  ways = {
    'preempted': ('scontrol', 'requeue'),
    'out of time': ('scancel', '--signal=USR2'),
    'by itself': ('scancel', '--signal=TERM'),
  }
  made = [standin.job(tmp_path, way, seconds=60) for way in ways]
  numbers = {}
  try:
    for one in made:  # an array of their own each
      numbers |= slurm.run([one], slurm.Options())
    wait_for(made, *['running'] * 3)
    while not all(map(standin.begun, made)):
      time.sleep(0.05)
    for way, command in ways.items():
      slurm_says(*command, numbers[way])
    wait_for(made, *['stopped'] * 3)
    assert all((one.folder / 'saved').exists() for one in made)
    for number in numbers.values():
      hurry(number)
    wait_for(made, *['running'] * 3)
    while min(map(standin.begun, made)) < 2:
      time.sleep(0.05)
  finally:
    slurm_says('scancel', *numbers.values())


def test_a_training_is_killed_requeued_and_resumed(tmp_path):
  folder = tmp_path / 'alpha=0.5'
  command = (
    sys.executable,
    '-m',
    'experiments.launch',
    '--config',
    QUICK,
    '--workdir',
    str(folder),
    '--config.checkpoint_every=20',
    '--config.train.steps=400',
    '--config.baseline=False',
  )
  made = jobs.Job('alpha=0.5', command, folder)
  (number,) = slurm.run([made], slurm.Options()).values()
  try:
    newest = folder / 'checkpoints' / 'student'
    end = time.monotonic() + 300
    while not list(newest.glob('[0-9]*')):
      found = status.state_of(made)
      assert found.what in ('not started', 'running'), found
      assert time.monotonic() < end, found
      time.sleep(0.02)
    slurm_says('scontrol', 'requeue', number)
    wait_for([made], 'stopped')
    teacher = folder / 'networks' / 'teacher' / network_files.SPEC
    before = teacher.stat().st_mtime
    reached = max(int(p.name) for p in newest.glob('[0-9]*'))
    assert 20 <= reached < 400
    hurry(number)
    wait_for([made], 'done')
  finally:
    slurm_says('scancel', number)
  assert teacher.stat().st_mtime == before
  log = (jobs.records(made) / status.LOG).read_text()
  assert log.count('experiments.launch') == 2
  assert f'stopped and saved student at step {reached} of 400' in log


def test_two_processes_of_a_step_train_as_one(tmp_path):
  changes = (
    '--config.networks.student.dropout=0.0',
    '--config.baseline=False',
    '--config.checkpoint_every=6',
    '--config.train.steps=12',
    '--config.teacher.steps=12',
    '--seeds',
    '2',
  )
  command = [
    sys.executable,
    '-m',
    'experiments.launch',
    '--config',
    QUICK,
    '--workdir',
    str(tmp_path / 'two'),
    *changes,
  ]
  done = subprocess.run(
    ['srun', '-n', '2', *command],
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert (
    cli.main(
      [*command[3:6], str(tmp_path / 'one'), *changes, '--config.parallel=one']
    )
    == 0
  )
  found, want = (
    [
      network_files.load_network(
        tmp_path / name / f'seed_{n}/networks/student'
      )[0]
      for n in range(2)
    ]
    for name in ('two', 'one')
  )
  for x, y in zip(*map(jax.tree.leaves, (found, want)), strict=True):
    np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5)
