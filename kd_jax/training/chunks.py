"""Runs many steps in one program, or single steps where they are faster.

A chunk is two programs, as a single step is: the signals of the frozen networks
on N batches, which all lanes share, and N updates of a lane. Both are loops of
a dynamic number of turns over buffers of N, so that a chunk of any length up to
N is the same program: where a run is cut into chunks changes no bit of it.

XLA may fuse a step in a loop differently from a step alone, which changes the
last digits of some networks. So the way of stepping belongs to a run: it is
chosen once, kept with its checkpoints, and used again when the run resumes.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import device, parallel, types
from kd_jax import step as steps
from kd_jax.data import pipeline

SINGLE, CHUNK = 'single', 'chunk'
MOST = 100  # steps in a chunk, where the config has steps_at_once=0
BYTES = 256 << 20  # of the buffers of batches and signals of a chunk
SECONDS = 0.5  # that a chunk lasts at most: a stop is heard after it
WORTH = 400  # steps of a stage for which a trial on CPU pays
TRIAL = 8  # steps of a trial, the fastest of three


class Chunks(NamedTuple):
  """The programs of a stage.

  Attributes:
    size: N, the most steps of a chunk.
    names: of the metrics, in the order of their columns.
    read: (first, count) -> what tells the devices of the steps `first` to
      `first + count` - 1.
    look: (frozen, what `read` returns) -> (signals, batches) of these steps,
      each with a leading axis N; the rest is zero.
    turn: (state, signals, batch) -> (state, metrics f32 [M]); a single update,
      a pure function.
    update: (state, signals, batches, count) -> (state, metrics f32 [N, M]);
      `turn` repeated. The strategies compile one or the other.
  """

  size: int
  names: tuple[str, ...]
  read: Callable
  look: Callable
  turn: Callable
  update: Callable


def make_chunks(
  placement: parallel.Placement,
  halves: steps.Halves,
  split,
  index: Callable[[int], np.ndarray],
  read: Callable | None,
  state: types.PyTree,
  frozen: types.PyTree,
  most: int = MOST,
) -> Chunks:
  """Makes the chunk programs of a stage whose data lie on the devices.

  On several devices each gathers its part of every batch from its own copy of
  the data; on a mesh and under pmap alike the programs are two.

  Args:
    placement: the devices.
    halves: of the step.
    split: training examples as arrays on the device, whole on each of several.
    index: step -> the examples of its batch, i [B].
    read: (step, examples) -> outputs of cached teachers; None: live teachers.
    state: of a lane, or its shapes.
    frozen: {network: variables}.
    most: steps in a chunk.
  """

  def look_at(frozen, data, stored, examples, step):
    batch = pipeline.take(data, examples)
    if stored is not None:
      batch = {**batch, 'signals': stored}
    return halves.look(step, frozen, batch)

  first = index(0)
  stored = None if read is None else read(0, first)
  step_shapes = jax.eval_shape(
    look_at, frozen, split, stored, jnp.asarray(first), jnp.int32(0)
  )
  _, metrics = jax.eval_shape(halves.update, state, *step_shapes)
  size = max(
    min(most, BYTES // max(device.nbytes((step_shapes, stored)), 1)), 1
  )
  names = tuple(sorted(metrics))

  def look(frozen, data, stored, examples, first, count, axis_name=None):
    del axis_name

    def turn(i, buffers):
      outputs = jax.tree.map(lambda x: x[i], stored)
      values = look_at(frozen, data, outputs, examples[i], first + i)
      return jax.tree.map(lambda b, x: b.at[i].set(x), buffers, values)

    outputs = jax.tree.map(lambda x: x[0], stored)
    shapes = jax.eval_shape(look_at, frozen, data, outputs, examples[0], first)
    buffers = jax.tree.map(
      lambda x: jnp.zeros((size, *x.shape), x.dtype), shapes
    )
    return jax.lax.fori_loop(0, count, turn, buffers)

  def turn(state, signals, batch, axis_name=None):
    state, values = halves.update(state, signals, batch, axis_name)
    return state, jnp.stack([values[name] for name in names])

  look = jax.jit(placement.spread(look, (None, None, 1, 1, None, None), 1))
  update = placement.spread(
    repeat(turn, size), (None, 1, 1, None), (None, None)
  )

  def read_many(first, count):
    indices = [index(first + i) for i in range(count)]
    examples = _stack([i.astype(np.int32) for i in indices], size)
    outputs = None
    if read is not None:
      outputs = [read(first + i, indices[i]) for i in range(count)]
      outputs = jax.tree.map(lambda *x: _stack(x, size), *outputs)
    where = np.int32(first), np.int32(count)
    return *placement.put((outputs, examples), 1), *placement.put(where)

  def looked(frozen, told):
    return look(frozen, split, *told)

  return Chunks(size, names, read_many, looked, turn, update)


def repeat(turn: Callable, size: int) -> Callable:
  """Repeats an update over the batches of a chunk.

  Args:
    turn: (state, signals, batch) -> (state, row).
    size: N.

  Returns:
    (state, signals, batches, count) -> (state, rows [N, ..]), whose rows from
    `count` on are zero. Signals and batches have a leading axis N. Options by
    name are those of `turn`.
  """

  def update(state, signals, batches, count, **options):
    each = functools.partial(turn, **options)

    def body(i, carried):
      state, rows = carried
      now = jax.tree.map(lambda x: x[i], (signals, batches))
      state, row = each(state, *now)
      return state, rows.at[i].set(row)

    now = jax.tree.map(lambda x: x[0], (signals, batches))
    _, row = jax.eval_shape(each, state, *now)
    rows = jnp.zeros((size, *row.shape), row.dtype)
    return jax.lax.fori_loop(0, count, body, (state, rows))

  return update


def _stack(arrays, size: int) -> np.ndarray:
  """Arrays of one shape as [size, ...], filled up with zeros."""
  stacked = np.zeros((size, *np.shape(arrays[0])), np.asarray(arrays[0]).dtype)
  stacked[: len(arrays)] = arrays
  return stacked


def choose(
  at_once: int,
  chunks: Callable[[], Chunks | None],
  single: Callable,
  state: types.PyTree,
  frozen: Mapping[str, Any],
  steps: int,
) -> Chunks | None:
  """Chooses how a new run takes its steps.

  Args:
    at_once: `steps_at_once` of the config; 0: chunks on a GPU, the faster of
      both on a CPU.
    chunks: () -> the programs of at most `at_once` steps (0: `MOST`), or None
      where the data do not lie on the devices.
    single: (state, frozen, step) -> state, a single step.
    state: of a lane; it is not donated.
    frozen: {network: variables}.
    steps: of the stage.

  Returns:
    The programs of chunks; None for single steps.
  """
  if at_once == 1:
    return None
  if at_once > 1:
    return chunks()
  if jax.default_backend() != 'cpu':
    return chunks()
  # A convolution in a loop can be slower on CPU: both ways are tried.
  programs = chunks() if steps >= WORTH else None
  if programs is None:
    return None
  update = jax.jit(programs.update)

  def by_chunk():
    count = min(TRIAL, programs.size)
    batches = programs.look(frozen, programs.read(0, count))
    return update(state, *batches, jax.device_put(np.int32(count)))

  def by_step():
    moved = jax.tree.map(jnp.copy, state)
    for step in range(min(TRIAL, programs.size)):
      moved = single(moved, frozen, step)
    return moved

  return programs if seconds(by_chunk) < seconds(by_step) else None


def seconds(function: Callable) -> float:
  """Seconds of a call, the least of three after the call that compiles."""
  times = []
  for _ in range(4):
    begun = time.perf_counter()
    jax.block_until_ready(function())
    times.append(time.perf_counter() - begun)
  return min(times[1:])
