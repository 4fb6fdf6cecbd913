"""Updates several lanes by one step, in one of four ways.

A lane is a run of a sweep that trains together with others. 'loop' calls one
compiled update for each lane: it is fast on CPU and equal to separate runs bit
for bit. 'unrolled' and 'map' make one call for all lanes, of a program that
updates one after the other; 'vmap' computes all lanes at once, which groups
their convolutions. XLA's CPU backend runs convolutions under vmap five to ten
times slower than outside of it (https://github.com/jax-ml/jax/issues/12868).
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd_jax import errors, parallel, types
from kd_jax.training import chunks, packed
from kd_jax.training import runtime as runtimes

AXIS = 'lanes'
Devices = Sequence[jax.Device]


class Strategy(NamedTuple):
  """How the states of several lanes are updated by one step.

  Attributes:
    devices: the number over which the lanes are spread.
    pack: [state] -> packed states, in the form that `update` takes.
    unpack: packed -> [state].
    update: (packed, signals, batch) -> (packed, metrics on the devices).
    read: metrics -> [{name: float}], one dict per lane.
    make_chunk: `chunks.Chunks` -> (packed, signals, batches, count) ->
      (packed, metrics on the devices); compiled.
    read_chunk: metrics -> f32 [lanes, N, M].
    lower: (lanes a device, shapes of a state, of signals, of a batch) ->
      `update` lowered; None where its program is that of a single lane.
    over: (function, [variables]) -> batch -> values [lanes, ..], which calls
      function(variables, batch) for all lanes in one program; None where each
      has a call of its own.
  """

  devices: int
  pack: Callable
  unpack: Callable
  update: Callable
  read: Callable
  make_chunk: Callable
  read_chunk: Callable
  lower: Callable | None = None
  over: Callable | None = None


def looped(runtime: runtimes.Runtime, devices: Devices = ()) -> Strategy:
  """Updates the lanes one after the other, by one compiled function.

  On several devices as many lanes as devices at a time, each on its own.
  """
  if len(devices) > 1:
    return _in_rounds(unrolled(runtime, devices))

  def update(packed, signals, batch):
    pairs = [runtime.update(state, signals, batch) for state in packed]
    return [state for state, _ in pairs], [metrics for _, metrics in pairs]

  def read(metrics):
    return [
      {name: float(value) for name, value in row.items()}
      for row in jax.device_get(metrics)
    ]

  @_once
  def make_chunk(programs):
    compiled = jax.jit(programs.update, donate_argnums=0)

    def chunk(packed, signals, batches, count):
      pairs = [compiled(state, signals, batches, count) for state in packed]
      return [state for state, _ in pairs], [rows for _, rows in pairs]

    return chunk

  return Strategy(1, list, list, update, read, make_chunk, jax.device_get)


def _once(make: Callable) -> Callable:
  """`make` of a strategy's chunk, which is compiled once for a stage."""
  compiled = {}

  def make_chunk(programs):
    if programs.update not in compiled:
      compiled[programs.update] = make(programs)
    return compiled[programs.update]

  return make_chunk


def _in_rounds(strategy: Strategy) -> Strategy:
  """A strategy that takes as many lanes at a time as there are devices."""

  def pack(states):
    size = strategy.devices
    parts = [states[at : at + size] for at in range(0, len(states), size)]
    return [strategy.pack(part) for part in parts]

  def over(call):
    def rounds(packed, *shared):
      pairs = [call(part, *shared) for part in packed]
      return [part for part, _ in pairs], [values for _, values in pairs]

    return rounds

  def joined(function):
    return lambda parts: [x for part in parts for x in function(part)]

  return Strategy(
    strategy.devices,
    pack,
    joined(strategy.unpack),
    over(strategy.update),
    joined(strategy.read),
    _once(lambda programs: over(strategy.make_chunk(programs))),
    joined(strategy.read_chunk),
    over=strategy.over,
  )


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
    states, metrics = _unroll(packed.in_row(runtime.halves.update))(
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
  return _stacked(
    _map(packed.in_row(runtime.halves.update)),
    lambda programs: _map(programs.update),
    devices,
  )


def _map(function: Callable) -> Callable:
  """(stacked, *shared) -> values stacked, of (a lane's, *shared) -> values."""

  def many(stacked, *shared):
    return jax.lax.map(lambda own: function(own, *shared), stacked)

  return many


def vmapped(runtime: runtimes.Runtime, devices: Devices = ()) -> Strategy:
  """Updates all lanes at once, their products computed together.

  A lane's numbers differ from those of a separate run by rounding alone. After
  ten updates of a small network by SGD they agree to a relative 1e-4 (a test).
  """
  return _stacked(
    jax.vmap(packed.in_row(runtime.halves.update), (0, None, None)),
    lambda programs: jax.vmap(programs.update, (0, None, None, None)),
    devices,
  )


def _stacked(
  update: Callable, make_chunk: Callable, devices: Devices
) -> Strategy:
  """A strategy whose packed states are one tree with a leading axis.

  Args:
    update: (stacked, signals, batch) -> (stacked, `packed.Row` [lanes, M]).
    make_chunk: `chunks.Chunks` -> (stacked, signals, batches, count) ->
      (stacked, metrics f32 [lanes, N, M]).
    devices: over which the lanes are spread; none: the first of this process.
  """
  devices = devices or jax.local_devices()[:1]
  mesh = Mesh(np.array(devices), (AXIS,))
  split, whole = PartitionSpec(AXIS), PartitionSpec()

  def compile(function, shared, donate=(0,)):
    if len(devices) > 1:
      function = jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(split, *[whole] * shared),
        out_specs=split,
        check_vma=False,
      )
    return jax.jit(function, donate_argnums=donate)

  def counted(compiled):
    def run(packed, *shared):
      count, stacked = packed
      stacked, metrics = compiled(stacked, *shared)
      return (count, stacked), (count, metrics)

    return run

  def pack(states):
    padded = [*states, *[states[-1]] * (-len(states) % len(devices))]
    stacked = jax.jit(_stack)(jax.device_put(padded, devices[0]))
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

  compiled = compile(update, 2)

  def lower(count, state, signals, batch):
    stacked = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((count * len(devices), *x.shape), x.dtype),
      state,
    )
    return compiled.lower(stacked, signals, batch)

  evaluation = functools.cache(lambda function: compile(_map(function), 1, ()))

  def over(function, networks):
    _, stacked = pack(networks)
    return lambda batch: evaluation(function)(stacked, batch)

  return Strategy(
    len(devices),
    pack,
    unpack,
    counted(compiled),
    read,
    _once(lambda programs: counted(compile(make_chunk(programs), 3))),
    read_chunk,
    lower,
    over,
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


def allowed(placement: parallel.Placement) -> tuple[str, ...]:
  """The strategies of lanes that are placed so."""
  return tuple(STRATEGIES) if placement.name == 'one' else ('loop',)


def check(name: str, placement: parallel.Placement) -> None:
  """Refuses a strategy that the placement does not allow.

  Raises:
    errors.UserError: a single program of lanes that take several devices each.
  """
  if name not in ('auto', *allowed(placement)):
    raise errors.UserError(
      f'the strategy {name!r} puts each lane on one device: it needs '
      f"parallel='auto' or 'one', not {placement.name!r}"
    )


def candidates(
  placement: parallel.Placement, lanes: int, steps: int
) -> tuple[str, ...]:
  """The strategies of which 'auto' takes the fastest.

  A CPU has 'loop' alone: there a lane must be its own run bit for bit, which
  only 'loop' is by construction, and one call for all lanes gains nothing.

  Args:
    placement: of the lanes.
    lanes: their number.
    steps: of the stage; where they are few, a trial does not pay.
  """
  spread = len(placement.devices) or 1
  alone = lanes <= spread or steps < chunks.WORTH
  if alone or jax.default_backend() == 'cpu':
    return ('loop',)
  return allowed(placement)
