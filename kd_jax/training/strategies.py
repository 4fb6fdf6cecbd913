"""Updates several lanes by one step, in one of four ways.

A lane is a run of a sweep that trains together with others. 'loop' calls one
compiled update for each lane: it is fast on CPU and equal to separate runs bit
for bit. 'unrolled' and 'map' make one call for all lanes, of a program that
updates one after the other; 'vmap' computes all lanes at once, which groups
their convolutions. XLA's CPU backend runs convolutions under vmap five to ten
times slower than outside of it (https://github.com/jax-ml/jax/issues/12868).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd_jax import device, errors, parallel, types
from kd_jax import step as steps
from kd_jax.training import chunks
from kd_jax.training import runtime as runtimes

AXIS = 'lanes'
# Copies of a state in memory: it, its update, the best one, the one to save.
COPIES = 4
Devices = Sequence[jax.Device]


class Strategy(NamedTuple):
  """How the states of several lanes are updated by one step.

  Attributes:
    pack: [state] -> packed states, in the form that `update` takes.
    unpack: packed -> [state].
    update: (packed, signals, batch) -> (packed, metrics on the devices).
    read: metrics -> [{name: float}], one dict per lane.
    make_chunk: `chunks.Chunks` -> (packed, signals, batches, count) ->
      (packed, metrics on the devices); compiled.
    read_chunk: metrics -> f32 [lanes, N, M].
  """

  pack: Callable
  unpack: Callable
  update: Callable
  read: Callable
  make_chunk: Callable
  read_chunk: Callable


def looped(runtime: runtimes.Runtime, devices: Devices = ()) -> Strategy:
  """Updates the lanes one after the other, by one compiled function."""

  def update(packed, signals, batch):
    pairs = [runtime.update(state, signals, batch) for state in packed]
    return [state for state, _ in pairs], [metrics for _, metrics in pairs]

  def read(metrics):
    return [
      {name: float(value) for name, value in row.items()}
      for row in jax.device_get(metrics)
    ]

  def make_chunk(programs):
    compiled = jax.jit(programs.update, donate_argnums=0)

    def chunk(packed, signals, batches, count):
      pairs = [compiled(state, signals, batches, count) for state in packed]
      return [state for state, _ in pairs], [rows for _, rows in pairs]

    return chunk

  return Strategy(list, list, update, read, make_chunk, jax.device_get)


def unrolled(runtime: runtimes.Runtime, devices: Devices = ()) -> Strategy:
  """Updates the lanes one after the other inside one program, written out.

  The device may run several of them at once. Compiling takes time by the
  number of lanes. What the lanes compute alike is not shared among them, so
  that each is compiled as it would be alone: a lane equals its own run bit for
  bit where XLA also fuses both alike, and to rounding elsewhere.
  """

  def make_chunk(programs):
    each = _unroll(programs.turn)

    def many(stacked, signals, batches, count):
      turns = chunks.repeat(each, programs.size)
      states, rows = turns(_split(stacked), signals, batches, count)
      return _stack(states), rows.swapaxes(0, 1)

    return many

  def update(stacked, signals, batch):
    states, metrics = _unroll(steps.in_row(runtime.halves.update))(
      _split(stacked), signals, batch
    )
    return _stack(states), metrics

  return _stacked(update, make_chunk, devices)


def _unroll(function: Callable) -> Callable:
  """([state], *shared) -> ([state], values stacked) of a lane's function."""

  def each(states, *shared):
    # Behind a barrier no operation of a lane is one of another lane as well.
    pairs = [
      function(*jax.lax.optimization_barrier((state, *shared)))
      for state in states
    ]
    return [state for state, _ in pairs], _stack([x for _, x in pairs])

  return each


def mapped(runtime: runtimes.Runtime, devices: Devices = ()) -> Strategy:
  """Updates the lanes one after the other inside one program, by a loop.

  Compiling takes as long for many lanes as for one. A lane equals its own run
  as with `unrolled`.
  """

  def over(function):
    def many(stacked, *shared):
      return jax.lax.map(lambda state: function(state, *shared), stacked)

    return many

  return _stacked(
    over(steps.in_row(runtime.halves.update)),
    lambda programs: over(programs.update),
    devices,
  )


def vmapped(runtime: runtimes.Runtime, devices: Devices = ()) -> Strategy:
  """Updates all lanes at once, their products computed together.

  A lane's numbers differ from those of a separate run by rounding alone. After
  ten updates of a small network by SGD they agree to a relative 1e-4 (a test).
  """
  return _stacked(
    jax.vmap(steps.in_row(runtime.halves.update), (0, None, None)),
    lambda programs: jax.vmap(programs.update, (0, None, None, None)),
    devices,
  )


def _stacked(
  update: Callable, make_chunk: Callable, devices: Devices
) -> Strategy:
  """A strategy whose packed states are one tree with a leading axis.

  Args:
    update: (stacked, signals, batch) -> (stacked, `steps.Row` [lanes, M]).
    make_chunk: `chunks.Chunks` -> (stacked, signals, batches, count) ->
      (stacked, metrics f32 [lanes, N, M]).
    devices: over which the lanes are spread; none: the first of this process.
  """
  devices = devices or jax.local_devices()[:1]
  mesh = Mesh(np.array(devices), (AXIS,))
  split, whole = PartitionSpec(AXIS), PartitionSpec()

  def compile(function, shared):
    if len(devices) > 1:
      function = jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(split, *[whole] * shared),
        out_specs=split,
        check_vma=False,
      )
    compiled = jax.jit(function, donate_argnums=0)

    def run(packed, *shared):
      count, stacked = packed
      if len(devices) > 1:
        shared = jax.device_put(shared, NamedSharding(mesh, whole))
      stacked, metrics = compiled(stacked, *shared)
      return (count, stacked), (count, metrics)

    return run

  def pack(states):
    padded = [*states, *[states[-1]] * (-len(states) % len(devices))]
    stacked = jax.jit(_stack)(padded)
    return len(states), jax.device_put(stacked, NamedSharding(mesh, split))

  def unpack(packed):
    count, stacked = packed
    return jax.jit(_split)(jax.device_put(stacked, devices[0]))[:count]

  def read(metrics):
    count, columns = metrics[0], jax.device_get(metrics[1])
    return [
      {name: float(column[i]) for name, column in columns.items()}
      for i in range(count)
    ]

  def read_chunk(metrics):
    return jax.device_get(metrics[1])[: metrics[0]]

  return Strategy(
    pack,
    unpack,
    compile(update, 2),
    read,
    lambda programs: compile(make_chunk(programs), 3),
    read_chunk,
  )


def _stack(trees: Sequence[types.PyTree]) -> types.PyTree:
  """Trees of one structure as one tree, with a leading axis."""
  return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def _split(stacked: types.PyTree) -> list[types.PyTree]:
  """The trees that `_stack` stacked."""
  count = jax.tree.leaves(stacked)[0].shape[0]
  return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)]


STRATEGIES = {
  'loop': looped,
  'unrolled': unrolled,
  'map': mapped,
  'vmap': vmapped,
}


def choose(name: str, placement: parallel.Placement, lanes: int) -> str:
  """The key of `STRATEGIES`; 'auto' is resolved.

  Raises:
    ValueError: a single program of lanes that take several devices each.
  """
  if name == 'auto':
    cpu = jax.default_backend() == 'cpu'
    return 'loop' if cpu or lanes == 1 or placement.name != 'one' else 'vmap'
  if name != 'loop' and placement.name != 'one':
    raise ValueError(
      f'the strategy {name!r} puts each lane on one device: it needs '
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
  free = device.free() - _bytes((signals, batch))
  if name == 'vmap':
    lowered = jax.jit(runtime.halves.update).lower(state, signals, batch)
    bytes_each += lowered.compile().memory_analysis().temp_size_in_bytes
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
