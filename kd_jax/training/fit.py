"""How many lanes fit the memory at the same time."""

import jax
import numpy as np

from kd_jax import device, errors
from kd_jax.training import runtime as runtimes
from kd_jax.training import strategies

# Copies of a state beside the one that is updated: the lane's as it was
# looked at last, the best one, the one to save.
COPIES = 3


def fit(
  strategy: strategies.Strategy,
  runtime: runtimes.Runtime,
  entries,
  frozen,
  limit: int,
) -> int:
  """The number of lanes that are trained at the same time.

  What a program takes for all lanes is compiled for one and for two lanes a
  device; a line through both sizes gives any other. A program of a single lane
  must fit anyway, so that only the states count.

  Args:
    strategy: of the lanes.
    runtime: of the stage.
    entries, frozen: as in `loop.train`.
    limit: the most lanes; 0: as many as fit the memory.

  Raises:
    errors.LanesError: `limit` lanes do not fit; it says how many do.
  """
  if len(entries) == 1:
    return 1
  state = jax.eval_shape(
    lambda: runtime.init(entries[0].stage, entries[0].starts)
  )
  shapes = jax.eval_shape(
    runtime.signals, np.int32(0), dict(frozen), runtime.feed(0)
  )
  whole, each = device.nbytes(shapes), device.nbytes(state)
  if strategy.lower is not None:
    one, two = (_needed(strategy.lower(k, state, *shapes)) for k in (1, 2))
    each = max(two - one, each) / strategy.devices
    whole = max(2 * one - two, 0)
  each += COPIES * device.nbytes(state)
  free = device.free() - whole
  room = max(int(free // each), 0)
  if limit > room or not room:
    raise errors.LanesError(
      f'{limit or len(entries)} lanes do not fit the free memory '
      f'({free / 1e6:.0f} MB, {each / 1e6:.0f} MB a lane); at '
      f'most {room} do: --lanes {max(room, 1)}'
    )
  return min(limit or room, len(entries))


def exhausted(error: Exception) -> bool:
  """Whether a device ran out of memory."""
  return 'RESOURCE_EXHAUSTED' in str(error)


def _needed(lowered: jax.stages.Lowered) -> int:
  """Bytes that a program needs on a device at its most."""
  sizes = lowered.compile().memory_analysis()
  return (
    sizes.argument_size_in_bytes
    + sizes.output_size_in_bytes
    + sizes.temp_size_in_bytes
    - sizes.alias_size_in_bytes
  )
