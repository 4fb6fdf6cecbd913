"""A pool of processes on this machine, each with its own cores or GPU."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from kd_jax import errors
from kd_jax.executors import hardware, jobs, status

EVERY = 0.1  # seconds between looks at the children
_THREADS = (
  'OMP_NUM_THREADS',
  'OPENBLAS_NUM_THREADS',
  'MKL_NUM_THREADS',
  'NPROC',  # XLA on CPU
)


class Slot(NamedTuple):
  """What a worker runs on: its cores, and the environment that says so."""

  cores: tuple[int, ...]
  env: Mapping[str, str]


class Child(NamedTuple):
  """A job that runs."""

  job: jobs.Job
  process: subprocess.Popen
  life: BinaryIO
  slot: Slot


def gpus() -> tuple[str, ...]:
  """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them.

  JAX is not asked: it would take the memory that the children need.
  """
  if 'CUDA_VISIBLE_DEVICES' in os.environ:
    named = os.environ['CUDA_VISIBLE_DEVICES'].split(',')
    return tuple(name for name in named if name not in ('', '-1'))
  if not shutil.which('nvidia-smi'):
    return ()
  try:
    found = subprocess.run(
      ['nvidia-smi', '-L'],
      capture_output=True,
      text=True,
      timeout=30,
      check=False,
    )
  except subprocess.TimeoutExpired:
    return ()
  lines = [l for l in found.stdout.splitlines() if l.startswith('GPU ')]
  return tuple(map(str, range(len(lines))))


def slots_of(
  workers: int, cores: Sequence[int], gpus: Sequence[str] = ()
) -> list[Slot]:
  """Shares the cores and the GPUs among the workers.

  Args:
    workers: how many; 0 is one for each GPU, without GPUs for each core.
    cores: to share evenly; more workers than cores take turns on them.
    gpus: to give one of each; more workers than GPUs share their memory.

  Raises:
    ValueError: for less than no workers.
  """
  if workers < 0:
    raise ValueError(f'workers must be at least 0, not {workers}')
  workers = workers or len(gpus) or len(cores)
  slots = []
  for n in range(workers):
    first, last = (k * len(cores) // workers for k in (n, n + 1))
    mine = tuple(cores[first:last]) or (cores[first],)
    env = dict.fromkeys(_THREADS, str(len(mine)))
    if gpus:
      env['CUDA_VISIBLE_DEVICES'] = gpus[n % len(gpus)]
      together = -(-workers // len(gpus))
      if together > 1:
        env['XLA_PYTHON_CLIENT_MEM_FRACTION'] = f'{0.9 / together:.3f}'
    slots.append(Slot(mine, env))
  return slots


def start(
  job: jobs.Job, life: BinaryIO, slot: Slot | None = None
) -> subprocess.Popen:
  """Starts a job that `status.begin` took; it holds `life` too.

  Args:
    job: to run; its output is added to its log.
    life: from `status.begin`.
    slot: what it runs on; None: it stays in this process's group, on what
      this process has, as a cluster wants it.
  """
  env = {**os.environ, 'PYTHONUNBUFFERED': '1', **(slot.env if slot else {})}
  with status.open_log(job) as log, _pinned(slot):
    process = subprocess.Popen(
      job.command,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      env=env,
      pass_fds=(life.fileno(),),
      # A Ctrl-C reaches the whole group of a terminal: it is sent on once.
      start_new_session=slot is not None,
    )
  status.started(job, life, process.pid)
  return process


@contextlib.contextmanager
def _pinned(slot: Slot | None) -> Iterator[None]:
  """This thread on the cores of a slot, so that a child starts there.

  Code between fork and exec would not be safe: JAX has threads.
  """
  if slot is None or not hasattr(os, 'sched_setaffinity'):
    yield
    return
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, slot.cores)
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def say(text: str) -> None:
  """A line on standard error."""
  print(text, file=sys.stderr, flush=True)


def run(
  many: Sequence[jobs.Job],
  workers: int = 0,
  stop: Callable[[], bool] = lambda: False,
  retry: bool = False,
  gpus: Sequence[str] = (),
) -> dict[str, int]:
  """Runs jobs side by side; a job that fails takes no other down.

  Args:
    many: the jobs. Those that are done are not run again; those that run
      already, under another command, are waited for.
    workers: how many at once; 0: see `slots_of`.
    stop: asked all the time; where it says so, the children are asked to
      save, and waited for.
    retry: whether those that failed before are run again.
    gpus: see `slots_of`.

  Returns:
    {name: exit code}: 0 done, 130 stopped or not begun, else failed.

  Raises:
    ValueError: for workers that cannot be.
    KeyboardInterrupt: passed on; the children are killed then.
  """
  pool = _Pool(slots_of(workers, hardware.cores(), gpus), list(many), [], {})
  before = status.of(many)
  forgiven = {n for n in before if retry and before[n].what == status.FAILED}
  asked = False
  try:
    while pool.waiting or pool.active:
      if stop() and not asked:
        asked = True
        pool.waiting.clear()
        for child in pool.active:
          child.process.terminate()
      _reap(pool, asked)
      for job in list(pool.waiting):
        _give(pool, job, forgiven)
      time.sleep(EVERY)
  except BaseException:
    for child in pool.active:
      child.process.kill()
      child.process.wait()
    raise
  for job in many:
    if job.name not in pool.codes:  # a stop came first
      done = status.state_of(job).what == status.DONE
      pool.codes[job.name] = 0 if done else errors.STOPPED
  return {job.name: pool.codes[job.name] for job in many}


class _Pool(NamedTuple):
  """What the loop changes: free slots, jobs to come, children, exit codes."""

  free: list[Slot]
  waiting: list[jobs.Job]
  active: list[Child]
  codes: dict[str, int]


def _reap(pool: _Pool, asked: bool) -> None:
  """Takes the slots of the children that have ended, and says how."""
  for child in list(pool.active):
    code = child.process.poll()
    if code is None:
      continue
    pool.active.remove(child)
    pool.free.append(child.slot)
    found = status.end(child.job, child.life, code, asked)
    failed = found.what == status.FAILED
    stopped = status.is_stopped(code, asked)
    pool.codes[child.job.name] = (
      errors.STOPPED if stopped else (code or 1) if failed else 0
    )
    say(f'{child.job.name}: {found.what}{": " if failed else ""}{found.detail}')


def _give(pool: _Pool, job: jobs.Job, forgiven: set[str]) -> None:
  """Starts a job if it is to be run and there is room for it."""
  found = status.state_of(job)
  if found.what == status.DONE or (
    found.what == status.FAILED and job.name not in forgiven
  ):
    pool.waiting.remove(job)
    pool.codes[job.name] = int(found.what == status.FAILED)
    return
  life = status.begin(job) if pool.free else None
  if life is None:
    return  # its turn comes later, or another command runs it
  forgiven.discard(job.name)
  pool.waiting.remove(job)
  slot = pool.free.pop(0)
  try:
    process = start(job, life, slot)
  except OSError as error:
    pool.free.append(slot)
    pool.codes[job.name] = 1
    say(f'{job.name}: {status.refuse(job, life, error).detail}')
    return
  pool.active.append(Child(job, process, life, slot))
  cores = ','.join(map(str, slot.cores))
  say(f'{job.name}: process {process.pid} on cores {cores}')


def check(codes: Mapping[str, int]) -> None:
  """Refuses to call a sweep done of which settings failed.

  Raises:
    errors.JobError: saying how many, and what can be done.
  """
  failed = [name for name, code in codes.items() if code]
  if failed:
    raise errors.JobError(
      f'{len(failed)} of {len(codes)} settings failed, {failed[0]} the first; '
      '--status says why, --retry tries them again'
    )
