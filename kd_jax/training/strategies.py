"""Two ways to update several lanes by one step.

'loop': one compiled update called for each lane, which is fast on a CPU and
equal to a run of its own bit for bit. 'vmap': one update of all at once, for
accelerators. XLA's CPU backend runs convolutions under vmap five to ten times
slower than outside of it (https://github.com/jax-ml/jax/issues/12868).
"""

import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd_jax import errors, parallel
from kd_jax.training import runtime as runtimes

AXIS = 'lanes'
# Of a state: itself, what it becomes, the best so far, the one being saved.
COPIES = 4


class Strategy(NamedTuple):
  """How the states of several lanes are moved by one step.

  Attributes:
    pack: [state] -> what is moved.
    unpack: its inverse.
    move: (packed, signals, batch) -> (packed, metrics, to be `read`).
    read: metrics -> [{name: float}], a dict a lane.
  """

  pack: Callable
  unpack: Callable
  move: Callable
  read: Callable


def looped(runtime: runtimes.Runtime) -> Strategy:
  """One lane after the other, each by the one compiled update."""

  def move(packed, signals, batch):
    moved = [runtime.update(state, signals, batch) for state in packed]
    return [state for state, _ in moved], [values for _, values in moved]

  def read(values):
    return [
      {name: float(v) for name, v in row.items()}
      for row in jax.device_get(values)
    ]

  return Strategy(list, list, move, read)


def vmapped(runtime: runtimes.Runtime) -> Strategy:
  """All lanes by one update, spread over the devices of this process.

  A lane's numbers differ from those of a run of its own by rounding alone:
  the products of several lanes are computed together. After ten updates of a
  small network by SGD they agree to a relative 1e-4 (a test).
  """
  devices = jax.local_devices()
  mesh = Mesh(np.array(devices), (AXIS,))
  split, whole = (NamedSharding(mesh, PartitionSpec(*x)) for x in ([AXIS], []))
  update = jax.jit(
    jax.vmap(runtime.halves.update, (0, None, None)), donate_argnums=0
  )

  def pack(states):
    padded = [*states, *[states[-1]] * (-len(states) % len(devices))]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *padded)
    return len(states), jax.device_put(stacked, split)

  def unpack(packed):
    count, stacked = packed
    stacked = jax.device_put(stacked, devices[0])
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)]

  def move(packed, signals, batch):
    count, stacked = packed
    if len(devices) > 1:
      signals, batch = jax.device_put((signals, batch), whole)
    stacked, values = update(stacked, signals, batch)
    return (count, stacked), (count, values)

  def read(values):
    count, columns = values[0], jax.device_get(values[1])
    return [
      {name: float(column[i]) for name, column in columns.items()}
      for i in range(count)
    ]

  return Strategy(pack, unpack, move, read)


STRATEGIES = {'loop': looped, 'vmap': vmapped}


def choose(name: str, placement: parallel.Placement, lanes: int) -> str:
  """The key of `STRATEGIES` that a name means.

  Raises:
    ValueError: 'vmap' of lanes that are on several devices each.
  """
  if name == 'auto':
    cpu = jax.default_backend() == 'cpu'
    return 'loop' if cpu or lanes == 1 or placement.name != 'one' else 'vmap'
  if name == 'vmap' and placement.name != 'one':
    raise ValueError(
      f"the strategy 'vmap' spreads lanes over devices, each on one: it needs "
      f"parallel='one', not {placement.name!r}"
    )
  return name


def fit(
  name: str, runtime: runtimes.Runtime, entries, frozen, asked: int
) -> int:
  """How many lanes are trained at the same time.

  Args:
    name: of the strategy.
    runtime: of the stage.
    entries, frozen: as in `loop.train`.
    asked: at most so many; 0: as many as fit.

  Raises:
    errors.LanesError: more are asked for than fit; it says how many do.
  """
  if len(entries) == 1:
    return 1
  state = jax.eval_shape(
    lambda: runtime.init(entries[0].stage, entries[0].starts)
  )
  signals, batch = jax.eval_shape(
    runtime.signals, np.int32(0), dict(frozen), runtime.feed(0)
  )
  held = _bytes(state)
  free = _free() - _bytes((signals, batch))
  if name == 'vmap':
    lowered = jax.jit(runtime.halves.update).lower(state, signals, batch)
    held += lowered.compile().memory_analysis().temp_size_in_bytes
    free *= len(jax.local_devices())
  room = max(int(free // (COPIES * held)), 0)
  if asked > room or not room:
    raise errors.LanesError(
      f'{asked or len(entries)} lanes do not fit the memory that is free '
      f'({free / 1e6:.0f} MB, {COPIES * held / 1e6:.0f} MB a lane); at most '
      f'{room} do: --lanes {max(room, 1)}'
    )
  return min(asked or room, len(entries))


def _bytes(tree) -> int:
  """Bytes of arrays, or of their shapes; a key counts as sixteen."""

  def size(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return x.size * (16 if is_key else x.dtype.itemsize)

  return sum(size(x) for x in jax.tree.leaves(tree))


def _free() -> int:
  """Bytes that are free on a device of this process."""
  found = jax.local_devices()[0].memory_stats()
  if found and 'bytes_limit' in found:
    return found['bytes_limit'] - found['bytes_in_use']
  table = pathlib.Path('/proc/meminfo')
  if table.exists():
    lines = dict(x.split(':') for x in table.read_text().splitlines())
    return int(lines['MemAvailable'].split()[0]) * 1024
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
