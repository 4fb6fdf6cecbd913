"""Updates several lanes by one step, in one of two ways.

A lane is a run of a sweep that trains together with others. 'loop' calls one
compiled update for each lane: it is fast on CPU and equal to separate runs bit
for bit. 'vmap' updates all lanes at once, for accelerators. XLA's CPU backend
runs convolutions under vmap five to ten times slower than outside of it
(https://github.com/jax-ml/jax/issues/12868).
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
# Copies of a state in memory: it, its update, the best one, the one to save.
COPIES = 4


class Strategy(NamedTuple):
  """How the states of several lanes are updated by one step.

  Attributes:
    pack: [state] -> packed states, in the form that `update` takes.
    unpack: packed -> [state].
    update: (packed, signals, batch) -> (packed, metrics on the devices).
    read: metrics -> [{name: float}], one dict per lane.
    make_chunk: the update of `chunks.Chunks` -> (packed, signals, batches,
      count) -> (packed, metrics on the devices); compiled.
    read_chunk: metrics -> f32 [lanes, N, M].
  """

  pack: Callable
  unpack: Callable
  update: Callable
  read: Callable
  make_chunk: Callable
  read_chunk: Callable


def looped(runtime: runtimes.Runtime) -> Strategy:
  """Updates the lanes one after the other, by one compiled function."""

  def update(packed, signals, batch):
    pairs = [runtime.update(state, signals, batch) for state in packed]
    return [state for state, _ in pairs], [metrics for _, metrics in pairs]

  def read(metrics):
    return [
      {name: float(value) for name, value in row.items()}
      for row in jax.device_get(metrics)
    ]

  def make_chunk(pure):
    compiled = jax.jit(pure, donate_argnums=0)

    def chunk(packed, signals, batches, count):
      pairs = [compiled(state, signals, batches, count) for state in packed]
      return [state for state, _ in pairs], [rows for _, rows in pairs]

    return chunk

  return Strategy(list, list, update, read, make_chunk, jax.device_get)


def vmapped(runtime: runtimes.Runtime) -> Strategy:
  """Updates all lanes at once, spread over the devices of this process.

  A lane's numbers differ from those of a separate run by rounding alone: the
  products of several lanes are computed together. After ten updates of a
  small network by SGD they agree to a relative 1e-4 (a test).
  """
  devices = jax.local_devices()
  mesh = Mesh(np.array(devices), (AXIS,))
  split, whole = (NamedSharding(mesh, PartitionSpec(*x)) for x in ([AXIS], []))
  compiled = jax.jit(
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

  def update(packed, signals, batch):
    count, stacked = packed
    if len(devices) > 1:
      signals, batch = jax.device_put((signals, batch), whole)
    stacked, metrics = compiled(stacked, signals, batch)
    return (count, stacked), (count, metrics)

  def read(metrics):
    count, columns = metrics[0], jax.device_get(metrics[1])
    return [
      {name: float(column[i]) for name, column in columns.items()}
      for i in range(count)
    ]

  def make_chunk(pure):
    many = jax.vmap(pure, (0, None, None, None))
    compiled = jax.jit(many, donate_argnums=0)

    def chunk(packed, signals, batches, steps):
      count, stacked = packed
      if len(devices) > 1:
        signals, batches, steps = jax.device_put(
          (signals, batches, steps), whole
        )
      stacked, rows = compiled(stacked, signals, batches, steps)
      return (count, stacked), (count, rows)

    return chunk

  def read_chunk(metrics):
    return jax.device_get(metrics[1])[: metrics[0]]

  return Strategy(pack, unpack, update, read, make_chunk, read_chunk)


STRATEGIES = {'loop': looped, 'vmap': vmapped}


def choose(name: str, placement: parallel.Placement, lanes: int) -> str:
  """The key of `STRATEGIES`; 'auto' is resolved.

  Raises:
    ValueError: 'vmap' with lanes that take several devices each.
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
  name: str, runtime: runtimes.Runtime, entries, frozen, limit: int
) -> int:
  """The number of lanes that are trained at the same time.

  Args:
    name: of the strategy.
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
  signals, batch = jax.eval_shape(
    runtime.signals, np.int32(0), dict(frozen), runtime.feed(0)
  )
  bytes_each = _bytes(state)
  free = _free() - _bytes((signals, batch))
  if name == 'vmap':
    lowered = jax.jit(runtime.halves.update).lower(state, signals, batch)
    bytes_each += lowered.compile().memory_analysis().temp_size_in_bytes
    free *= len(jax.local_devices())
  room = max(int(free // (COPIES * bytes_each)), 0)
  if limit > room or not room:
    raise errors.LanesError(
      f'{limit or len(entries)} lanes do not fit the free memory '
      f'({free / 1e6:.0f} MB, {COPIES * bytes_each / 1e6:.0f} MB a lane); at '
      f'most {room} do: --lanes {max(room, 1)}'
    )
  return min(limit or room, len(entries))


def _bytes(tree) -> int:
  """Bytes of arrays, or of their shapes; a key counts as 16 bytes."""

  def size(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return x.size * (16 if is_key else x.dtype.itemsize)

  return sum(size(x) for x in jax.tree.leaves(tree))


def _free() -> int:
  """Free bytes on the first device of this process."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats['bytes_in_use']
  table = pathlib.Path('/proc/meminfo')
  if table.exists():
    lines = dict(x.split(':') for x in table.read_text().splitlines())
    return int(lines['MemAvailable'].split()[0]) * 1024
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
