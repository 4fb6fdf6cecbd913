"""Submits jobs to a Slurm cluster as an array, through submitit.

A job that is preempted, or out of time, saves, goes back into the queue and
resumes from its checkpoint, as the same command does by hand.
"""

import contextlib
import getpass
import io
import math
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kd_jax.executors import jobs, status, task

_TIMEOUTS = 1000  # that a job may go on after: each one is resumed
_COMMANDS = 'sbatch', 'srun', 'squeue', 'scontrol'


class Options(NamedTuple):
  """Resources of each job of the array.

  Attributes:
    partition: '' is the cluster's default.
    time: of a job until it is saved and queued again: minutes, H:MM:SS or
      D-HH:MM:SS.
    gpus: of a job.
    cpus: of a job; 0 is the cluster's default.
    workers: jobs at once; 0 is as many as the cluster takes.
    more: {flag of sbatch: value}, such as account, qos, mem, constraint.
  """

  partition: str = ''
  time: str = '60'
  gpus: int = 0
  cpus: int = 0
  workers: int = 0
  more: Mapping[str, str | bool] = {}


def make_options(
  partition: str,
  time: str,
  gpus: int,
  cpus: int,
  workers: int,
  more: Sequence[str],
) -> Options:
  """The options, where more is ['flag=value', or 'flag', ..] of sbatch.

  Raises:
    ValueError: for an invalid option.
  """
  flags = {}
  for text in more:
    flag, equals, value = text.partition('=')
    if not re.fullmatch(r'[a-z][a-z-]*', flag):
      raise ValueError(f"a flag of sbatch is NAME=VALUE or NAME, not '{text}'")
    flags[flag] = value if equals else True
  options = Options(partition, time, gpus, cpus, workers, flags)
  parameters(options)
  return options


def minutes_of(text: str) -> int:
  """Minutes of a time as Slurm writes it, rounded up.

  Raises:
    ValueError: for what is no time.
  """
  match = re.fullmatch(
    r'(?:(\d+)-)?(\d+):(\d\d):(\d\d)|(\d+)', str(text).strip()
  )
  if not match:
    raise ValueError(f"time is minutes, H:MM:SS or D-HH:MM:SS, not '{text}'")
  days, hours, minutes, seconds, alone = (int(x or 0) for x in match.groups())
  total = days * 1440 + hours * 60 + minutes + math.ceil(seconds / 60) + alone
  if not total:
    raise ValueError(f"time must be more than nothing, not '{text}'")
  return total


def parameters(options: Options) -> dict[str, Any]:
  """The parameters of submitit.

  Raises:
    ValueError: for an invalid option.
  """
  for name in ('gpus', 'cpus', 'workers'):
    if getattr(options, name) < 0:
      raise ValueError(f'{name} must not be negative: {getattr(options, name)}')
  minutes = minutes_of(options.time)
  values = {
    'job_name': 'kd_jax',
    'time': minutes,
    # Seconds before the end of its time at which a job is told to save.
    'signal_delay_s': min(90, minutes * 20),
    'stderr_to_stdout': True,
    'additional_parameters': {'requeue': True, **options.more},
  }
  if options.partition:
    values['partition'] = options.partition
  if options.gpus:
    values['gpus_per_node'] = options.gpus
  if options.cpus:
    values['cpus_per_task'] = options.cpus
    # Since Slurm 22.05 srun does not take it from sbatch.
    values['srun_args'] = [f'--cpus-per-task={options.cpus}']
  if options.workers:
    values['array_parallelism'] = options.workers
  return values


def script(many: Sequence[jobs.Job], options: Options) -> str:
  """The batch script of the jobs; needs no Slurm.

  Raises:
    ValueError: for an invalid option, or without submitit.
  """
  folder = _folder(many)
  slurm = _submitit().slurm.slurm
  count = {'map_count': len(many)} if len(many) > 1 else {}
  command = [sys.executable, '-u', '-m', 'submitit.core._submit', str(folder)]
  # The public function looks for `srun` first, which a dry run does without.
  text = slurm._make_sbatch_string(
    command=shlex.join(command), folder=folder, **parameters(options), **count
  )
  listed = [f'# {n}: {job.name}' for n, job in enumerate(many)]
  return '\n'.join([text, '# the settings', *listed])


def _submitit():
  try:
    import submitit
  except ImportError:
    raise ValueError(
      'Slurm needs submitit: pip install "submitit>=1.5,<2"'
    ) from None
  return submitit


def _folder(many: Sequence[jobs.Job]) -> pathlib.Path:
  """Where submitit keeps the scripts and its own log."""
  if not many:
    raise ValueError('an empty sweep: it has no settings')
  return many[0].folder.parent.absolute() / jobs.LOGS / 'slurm'


def run(
  many: Sequence[jobs.Job], options: Options, retry: bool = False
) -> dict[str, str]:
  """Puts jobs into the queue, and returns at once.

  Args:
    many: the jobs. Left out are those that are done, that run, that are in
      the queue already, and without `retry` those that failed.
    options: resources of each.
    retry: whether those that failed before are run again.

  Returns:
    {name: number of the Slurm job} of those that were put into the queue.

  Raises:
    ValueError: for an invalid option, without Slurm or submitit, or
      with the line with which Slurm refuses.
  """
  folder, settings, submitit = _folder(many), parameters(options), _submitit()
  for name in _COMMANDS:
    if not shutil.which(name):
      raise ValueError(
        f"Slurm's command {name} is not installed here: use a cluster's login "
        'node, or --executor process; --dry_run prints the script anywhere'
      )
  queued = _queue()
  leave = {status.DONE, status.RUNNING} | (set() if retry else {status.FAILED})
  todo = [
    job
    for job, state in zip(many, status.of(many).values())
    if state.what not in leave and _number(job) not in queued
  ]
  if not todo:
    return {}
  utils = submitit.core.utils
  executor = submitit.SlurmExecutor(folder, max_num_timeout=_TIMEOUTS)
  executor.update_parameters(**settings)
  try:
    with contextlib.redirect_stderr(io.StringIO()):  # repeated below
      submitted = executor.submit_array([task.Task(job) for job in todo])
  except (utils.FailedJobError, utils.FailedSubmissionError) as error:
    raise ValueError(f'Slurm refuses: {_why(error)}') from None
  for job, slurm_job in zip(todo, submitted):
    jobs.records(job).mkdir(parents=True, exist_ok=True)
    (jobs.records(job) / status.SUBMITTED).write_text(slurm_job.job_id)
  return {job.name: slurm_job.job_id for job, slurm_job in zip(todo, submitted)}


def summary(numbers: Mapping[str, str], many: Sequence[jobs.Job]) -> str:
  """What `run` submitted, as text for the user."""
  lines = [f'{name}: Slurm job {number}' for name, number in numbers.items()]
  rest = len(many) - len(numbers)
  lines.append(
    f'{len(numbers)} of {len(many)} settings put into the queue'
    + (f'; {rest} are done, failed, or there already' if rest else '')
    + '; --status says how far they are'
  )
  return '\n'.join(lines)


def _number(job: jobs.Job) -> str:
  """The number under which a job was put into the queue last, or ''."""
  path = jobs.records(job) / status.SUBMITTED
  return path.read_text() if path.exists() else ''


def _queue() -> set[str]:
  """The numbers of this user's jobs that wait or run.

  Raises:
    ValueError: where Slurm does not answer.
  """
  command = ['squeue', '-h', '-r', '-o', '%i', '-u', getpass.getuser()]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  if done.returncode:
    raise ValueError(f'Slurm does not answer: {_why(done.stderr)}')
  return set(done.stdout.split())


def _why(text: object) -> str:
  """The line in which Slurm says what is wrong."""
  lines = [line.strip() for line in str(text).splitlines() if line.strip()]
  reasons = [x for x in lines if re.match(r'\w+: (error|fatal|unrec)', x)]
  return (reasons or lines or ['no reason given'])[0]
