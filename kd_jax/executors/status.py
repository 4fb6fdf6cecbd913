"""Reads from disk how far the jobs of a sweep are.

WORKDIR/NAME/report.json         done
WORKDIR/logs/NAME/running.json   locked by the process that trains it
WORKDIR/logs/NAME/failed.txt     the line with which it failed
WORKDIR/logs/NAME/log.txt        its output
"""

import contextlib
import os
import pathlib
import re
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from kd_jax import errors, locks
from kd_jax.executors import jobs
from kd_jax.training import halving, resume

DONE, RUNNING, FAILED, STOPPED, DROPPED, WAITING = STATES = (
  'done',
  'running',
  'failed',
  'stopped',
  'dropped',
  'not started',
)
FAILURE = 'failed.txt'
LOG, LIFE, SUBMITTED = 'log.txt', 'running.json', 'submitted.txt'


class State(NamedTuple):
  """How far a job is.

  Attributes:
    what: of `STATES`; 'stopped' began, and goes on with the same command;
      'dropped' lagged behind the others, see `halving`.
    detail: the last line of the error, the process that runs it, or ''.
  """

  what: str
  detail: str = ''


def of(many: Sequence[jobs.Job]) -> dict[str, State]:
  """{name: how far it is}."""
  return {job.name: state_of(job) for job in many}


def state_of(job: jobs.Job) -> State:
  """How far one job is."""
  if is_done(job):
    return State(DONE)
  place = jobs.records(job)
  where = locks.holder(place / LIFE)
  if where:
    return State(RUNNING, where)
  for path in _failures(job):
    return State(FAILED, (path.read_text().splitlines() or [''])[-1])
  if (job.folder / halving.DROPPED).exists():
    return State(DROPPED)
  runs = job.folder, *job.folder.glob('seed_*')
  if (place / LOG).exists() or any(
    resume.of_run(run).what != resume.FRESH for run in runs
  ):
    return State(STOPPED)
  number = place / SUBMITTED
  detail = f'submitted as {number.read_text()}' if number.exists() else ''
  return State(WAITING, detail)


def is_done(job: jobs.Job) -> bool:
  """Whether the job has its report."""
  return resume.of_run(job.folder).what == resume.FINISHED


def _failures(job: jobs.Job) -> list[pathlib.Path]:
  """The files that say why the job failed: of a pool, the run, a seed."""
  known = [jobs.records(job) / FAILURE, job.folder / FAILURE]
  known += sorted(job.folder.glob(f'seed_*/{FAILURE}'))
  return [path for path in known if path.exists()]


def begin(job: jobs.Job) -> BinaryIO | None:
  """Takes a job: nobody else may while the file that is returned is open.

  Returns:
    The file, for `started`, `beat` and `end`; None where it is taken.
  """
  path = jobs.records(job) / LIFE
  if locks.holder(path):
    return None
  life = locks.attempt(path, patience=0.5)
  if life is not None and is_done(job):
    life.close()  # another command has just done it
    return None
  return life


def started(job: jobs.Job, life: BinaryIO, pid: int) -> None:
  """Notes which process trains the job, and removes older failures."""
  locks.sign(life, pid)
  for path in _failures(job):
    path.unlink(missing_ok=True)


def beat(life: BinaryIO) -> None:
  """Gives a sign of life, for other machines."""
  os.utime(life.fileno())


@contextlib.contextmanager
def taken(many: Sequence[jobs.Job]) -> Iterator[None]:
  """Takes jobs that this very process trains, all of them at once.

  Raises:
    errors.BusyError: where another process trains one of them.
  """
  with contextlib.ExitStack() as stack:
    for job in many:
      life = begin(job)
      if life is not None:
        stack.callback(locks.release, life)
        started(job, life, os.getpid())
      elif (state := state_of(job)).what != DONE:
        raise errors.BusyError(
          f'{job.folder} is already being trained by {state.detail}'
        )
    yield


def open_log(job: jobs.Job) -> BinaryIO:
  """The log of a job, at its end, with the command as the next line."""
  log = (jobs.records(job) / LOG).open('ab')
  log.write(f'$ {shlex.join(job.command)}\n'.encode())
  log.flush()
  return log


def end(job: jobs.Job, life: BinaryIO, code: int, stopping: bool) -> State:
  """Notes how a job ended, and lets go of it.

  Args:
    job: that ended.
    life: from `begin`.
    code: of the process; negative for a signal.
    stopping: whether it had been told to stop.
  """
  if not is_done(job) and not is_stopped(code, stopping):
    line = last_line(jobs.records(job) / LOG)
    why = f'exit code {code}'
    if code < 0:
      # It was killed: its last output is not the reason.
      line, why = '', f'killed by {signal.Signals(-code).name}'
    elif code == 0:
      line, why = '', 'it ended without a report'
    return refuse(job, life, line or why)
  locks.release(life)
  return state_of(job)


def refuse(job: jobs.Job, life: BinaryIO, why: object) -> State:
  """Notes why a job failed, and lets go of it."""
  (jobs.records(job) / FAILURE).write_text(f'{why}\n')
  locks.release(life)
  return state_of(job)


def is_stopped(code: int, stopping: bool) -> bool:
  """Whether an exit code means: saved, and goes on another time."""
  # A signal that comes before its handler is installed ends the process.
  return code == errors.STOPPED or (stopping and code == -signal.SIGTERM)


def last_line(log: pathlib.Path) -> str:
  """The line of a log that names an error, else its last line."""
  with log.open('rb') as file:
    file.seek(max(log.stat().st_size - 20_000, 0))
    text = file.read().decode(errors='replace')
  text = re.split(r'^\$ .*$', text, flags=re.MULTILINE)[-1]
  # A progress bar returns to the start of its line.
  lines = [line.split('\r')[-1].strip() for line in text.split('\n')]
  lines = [line for line in lines if line]
  reasons = [x for x in lines if re.match(r'(error: |[\w.]+Error\b)', x)]
  return (reasons or lines or [''])[-1]


def table(states: Mapping[str, State]) -> str:
  """The jobs as text: a line each, and the number in each state."""
  width = max(map(len, states), default=0)
  lines = [
    f'{name:{width}}  {state.what:11}  {state.detail}'.rstrip()
    for name, state in states.items()
  ]
  counts = [sum(s.what == what for s in states.values()) for what in STATES]
  lines.append(', '.join(f'{n} {w}' for n, w in zip(counts, STATES) if n))
  return '\n'.join(lines)
