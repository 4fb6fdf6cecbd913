"""Runs a job on a node of a Slurm cluster, where submitit sends it."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import BinaryIO

from kd_jax import locks
from kd_jax.executors import jobs, process, status

EVERY, BEAT = 0.5, 20.0  # seconds between looks at a child; signs of life


@dataclasses.dataclass(frozen=True)
class Task:
  """A job as submitit calls it, and as it goes back into the queue.

  Attributes:
    job: to run.
    children: the process that runs it, while it does.
  """

  job: jobs.Job
  children: list[subprocess.Popen] = dataclasses.field(default_factory=list)

  def __call__(self) -> str:
    """Runs the job, and returns its state at the end.

    Raises:
      RuntimeError: with the last error line, so that Slurm sees a failure.
    """
    while (life := status.begin(self.job)) is None:
      if status.state_of(self.job).what == status.DONE:
        return status.DONE
      time.sleep(EVERY)  # it may have been killed on another node just now
    try:
      self._train(life)
    except BaseException:  # submitit leaves so, after `checkpoint`
      locks.release(life)
      raise
    child = self.children[-1]
    # Slurm's SIGTERM reaches the whole job: the child has saved by itself.
    state = status.end(self.job, life, child.returncode, stopping=True)
    if state.what == status.FAILED:
      raise RuntimeError(state.detail)
    if state.what == status.STOPPED:
      requeue()
    return state.what

  def _train(self, life: BinaryIO) -> None:
    """Starts the child and stays until it has ended."""
    with _children_ignore(signal.SIGUSR2):
      child = process.start(self.job, life)
    self.children.append(child)
    beaten = time.monotonic()
    while child.poll() is None:
      time.sleep(EVERY)
      if time.monotonic() - beaten > BEAT:
        status.beat(life)
        beaten = time.monotonic()

  def checkpoint(self):
    """Stops the child, and returns what runs when the job is requeued.

    submitit calls it at SIGUSR2: the job's time is nearly over.
    """
    from submitit import helpers

    for child in self.children:
      child.terminate()
      # Inside a signal handler `wait` could meet the lock that `poll` holds.
      with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return helpers.DelayedSubmission(Task(self.job))


@contextlib.contextmanager
def _children_ignore(number: signal.Signals) -> Iterator[None]:
  """Lets children that start inside ignore a signal that Slurm sends to all."""
  before = signal.signal(number, signal.SIG_IGN)
  try:
    yield
  finally:
    signal.signal(number, before)


def requeue() -> None:
  """Puts this Slurm job back into the queue, unless it was canceled."""
  number = os.environ['SLURM_JOB_ID']
  if 'SLURM_ARRAY_JOB_ID' in os.environ:
    # The last of an array has the number of the whole array.
    names = 'SLURM_ARRAY_JOB_ID', 'SLURM_ARRAY_TASK_ID'
    number = '_'.join(os.environ[name] for name in names)
  shown = subprocess.run(
    ['scontrol', 'show', 'job', '-o', number],
    capture_output=True,
    text=True,
    check=False,
  ).stdout
  if ' JobState=RUNNING ' in shown:
    subprocess.run(['scontrol', 'requeue', number], check=True)
