"""Connects the processes that train one run together, as `srun -n N` starts."""

import os
from collections.abc import Callable


def find() -> None:
  """Connects to the other processes of this job step, if there are any.

  Must be called before anything asks JAX for its devices. JAX reads the other
  processes from Slurm's variables. SLURM_NTASKS is set in every job; the count
  of the step is set under `srun` alone.
  """
  if int(os.environ.get('SLURM_STEP_NUM_TASKS') or 1) > 1:
    import jax

    if not jax.distributed.is_initialized():
      jax.distributed.initialize()


def agreed(stop: Callable[[], bool], every: int = 10) -> Callable[[], bool]:
  """A `stop` that returns the same in all processes at the same step.

  A signal reaches the processes at different steps, and a process that left
  alone would leave the others waiting for ever. So they gather their answers.

  Args:
    stop: of this process.
    every: calls between two gatherings; all processes call equally often.
  """
  import jax

  if jax.process_count() == 1:
    return stop
  calls, stopping = [0], [False]

  def ask() -> bool:
    calls[0] += 1
    if not stopping[0] and calls[0] % every == 0:
      from jax.experimental import multihost_utils

      with jax.transfer_guard('allow'):
        answers = multihost_utils.process_allgather(stop())
      stopping[0] = bool(answers.any())
    return stopping[0]

  return ask
