"""Processes that train one run together, as `srun -n N` starts them."""

import os
from collections.abc import Callable


def find() -> None:
  """Finds the other processes of this job step, if there are any.

  Before anything asks JAX for its devices. JAX reads from Slurm's variables
  who the others are; SLURM_NTASKS alone says only what the job was given, the
  step's count is there under `srun` alone.
  """
  if int(os.environ.get('SLURM_STEP_NUM_TASKS') or 1) > 1:
    import jax

    if not jax.distributed.is_initialized():
      jax.distributed.initialize()


def agreed(stop: Callable[[], bool], every: int = 10) -> Callable[[], bool]:
  """A `stop` that says the same to all processes at the same step.

  A signal reaches them at different steps, and one that leaves alone would
  let the others wait for it for ever. So they ask each other.

  Args:
    stop: of this process.
    every: calls between questions; all processes call equally often.
  """
  import jax

  if jax.process_count() == 1:
    return stop
  calls, heard = [0], [False]

  def ask() -> bool:
    calls[0] += 1
    if not heard[0] and calls[0] % every == 0:
      from jax.experimental import multihost_utils

      with jax.transfer_guard('allow'):
        said = multihost_utils.process_allgather(stop())
      heard[0] = bool(said.any())
    return heard[0]

  return ask
