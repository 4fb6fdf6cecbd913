"""What Slurm is told, and what is refused, where no Slurm is."""

import pathlib
import sys

import pytest

from kd_jax.executors import jobs, slurm, status, task
from tests.helpers import standin


@pytest.mark.parametrize(
  'text, minutes',
  [('90', 90), ('2:00:00', 120), ('0:00:01', 1), ('1-00:30:00', 1470)],
)
def test_a_time(text, minutes):
  assert slurm.minutes_of(text) == minutes


@pytest.mark.parametrize(
  'wrong, words',
  [
    ({'time': 'soon'}, "'soon'"),
    ({'time': '1:30'}, "H:MM:SS.*'1:30'"),
    ({'time': '0'}, 'more than nothing'),
    ({'time': ''}, 'time is minutes'),
    ({'gpus': -1}, 'gpus.*-1'),
    ({'workers': -2}, 'workers.*-2'),
  ],
)
def test_what_cannot_be_is_one_line(wrong, words):
  with pytest.raises(ValueError, match=words) as mistake:
    slurm.parameters(slurm.Options(**wrong))
  assert '\n' not in str(mistake.value)


def test_more_flags_of_sbatch():
  made = slurm.make_options('', '9', 0, 0, 0, ['mem=8G', 'exclusive'])
  assert made.more == {'mem': '8G', 'exclusive': True}
  with pytest.raises(ValueError, match="NAME=VALUE or NAME, not '--mem=8G'"):
    slurm.make_options('', '9', 0, 0, 0, ['--mem=8G'])
  with pytest.raises(ValueError, match='gpus'):
    slurm.make_options('', '9', -1, 0, 0, [])


def test_what_is_said(tmp_path):
  many = [standin.job(tmp_path, name) for name in 'ab']
  assert slurm.summary({'a': '7_0', 'b': '7_1'}, many).splitlines() == [
    'a: Slurm job 7_0',
    'b: Slurm job 7_1',
    '2 of 2 settings put into the queue; --status says how far they are',
  ]
  assert '; 2 are done, failed, or there already;' in slurm.summary({}, many)


def test_the_script_needs_no_slurm(tmp_path, monkeypatch):
  pytest.importorskip('submitit')
  monkeypatch.setenv('PATH', str(tmp_path))
  many = [standin.job(tmp_path, name) for name in ('a', 'b', 'c')]
  options = slurm.Options(
    'long', '2:00:00', gpus=1, cpus=4, workers=2, more={'account': 'x'}
  )
  lines = slurm.script(many, options).splitlines()
  for flag in (
    'array=0-2%2',
    'partition=long',
    'time=120',
    'gpus-per-node=1',
    'cpus-per-task=4',
    'account=x',
    'requeue',
    'signal=USR2@90',
    'open-mode=append',
  ):
    assert f'#SBATCH --{flag}' in lines, flag
  (command,) = (line for line in lines if line.startswith('srun'))
  assert '--cpus-per-task=4' in command
  assert command.endswith(f'{tmp_path}/{jobs.LOGS}/slurm')
  assert lines[-3:] == ['# 0: a', '# 1: b', '# 2: c']
  assert not list(tmp_path.iterdir())
  one = slurm.script(many[:1], slurm.Options())
  assert 'array' not in one
  assert 'partition' not in one


def test_without_slurm_it_is_one_line(tmp_path, monkeypatch):
  pytest.importorskip('submitit')
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(ValueError, match='sbatch is not installed') as mistake:
    slurm.run([standin.job(tmp_path, 'a')], slurm.Options())
  assert '\n' not in str(mistake.value)
  assert not list(tmp_path.iterdir())


def test_without_submitit_it_is_one_line(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'submitit', None)
  for call in (slurm.run, slurm.script):
    with pytest.raises(ValueError, match='pip install "submitit'):
      call([standin.job(tmp_path, 'a')], slurm.Options())


def test_an_empty_sweep_is_refused():
  with pytest.raises(ValueError, match='empty sweep'):
    slurm.script([], slurm.Options())


def fake(folder: pathlib.Path, **commands: str) -> None:
  """Slurm's commands, as shell scripts."""
  for name in ('sbatch', 'srun', 'squeue', 'scontrol'):
    path = folder / name
    path.write_text(f'#!/bin/sh\n{commands.get(name, "")}\n')
    path.chmod(0o755)


@pytest.mark.parametrize(
  'commands, words',
  [
    (
      {'squeue': 'echo "squeue: error: no controller" >&2; exit 1'},
      'Slurm does not answer: squeue: error: no controller',
    ),
    (
      {'sbatch': 'echo "sbatch: error: invalid partition: x" >&2; exit 1'},
      'Slurm refuses: sbatch: error: invalid partition: x',
    ),
    (
      {'sbatch': 'echo "sbatch: unrecognized option --x" >&2; exit 1'},
      'Slurm refuses: sbatch: unrecognized option --x',
    ),
    ({'sbatch': 'echo what'}, 'Slurm refuses: .*what'),
  ],
)
def test_what_slurm_refuses_is_one_line(
  commands, words, tmp_path, monkeypatch, capfd
):
  pytest.importorskip('submitit')
  (tmp_path / 'bin').mkdir()
  fake(tmp_path / 'bin', **commands)
  monkeypatch.setenv('PATH', f'{tmp_path}/bin:/usr/bin:/bin')
  many = [standin.job(tmp_path, name) for name in 'ab']
  with pytest.raises(ValueError, match=words) as mistake:
    slurm.run(many, slurm.Options())
  assert '\n' not in str(mistake.value)
  assert capfd.readouterr().err == ''
  assert {s.what for s in status.of(many).values()} == {'not started'}


def test_who_is_queued_done_or_failed_is_not_given_again(tmp_path, monkeypatch):
  pytest.importorskip('submitit')
  (tmp_path / 'bin').mkdir()
  fake(tmp_path / 'bin', squeue='echo 7_1', sbatch='echo Submitted batch job 9')
  monkeypatch.setenv('PATH', f'{tmp_path}/bin:/usr/bin:/bin')
  many = [standin.job(tmp_path, name) for name in 'abcde']
  many[0].folder.mkdir()
  (many[0].folder / 'report.json').write_text('{"networks": {}}')
  for job, file, text in (
    (many[1], status.SUBMITTED, '7_1'),
    (many[2], status.SUBMITTED, '7_2'),
    (many[3], status.FAILURE, 'error: why'),
  ):
    jobs.records(job).mkdir(parents=True)
    (jobs.records(job) / file).write_text(text)
  assert slurm.run(many, slurm.Options()) == {'c': '9_0', 'e': '9_1'}
  assert status.state_of(many[4]).detail == 'submitted as 9_1'
  assert slurm.run(many[3:4], slurm.Options()) == {}
  assert slurm.run(many[3:4], slurm.Options(), retry=True) == {'d': '9'}


def test_a_job_that_is_done_meanwhile_is_left(tmp_path):
  made = standin.job(tmp_path, 'a')
  assert task.Task(made)() == 'done'
  assert task.Task(made)() == 'done'
  assert standin.begun(made) == 1
  with pytest.raises(RuntimeError, match='no such thing'):
    task.Task(standin.job(tmp_path, 'b', standin.FAIL))()
