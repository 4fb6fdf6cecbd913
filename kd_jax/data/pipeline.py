"""Makes batches from (seed, step): orders, gathers and normalizes examples.

The order is a pure function of (seed, epoch), so a resumed run needs no
iterator state: step n of a run always has the same examples.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import memoize, tasks, types
from kd_jax.data import splits, stream

Split = splits.Split | splits.Partly | stream.Stream


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, size: int) -> np.ndarray:
  """The order of an epoch: a permutation i64 [size], read-only."""
  permutation = np.random.default_rng((seed, epoch)).permutation(size)
  permutation.setflags(write=False)
  return permutation


def indices(seed: int, step: int, size: int, batch_size: int) -> np.ndarray:
  """The examples of step `step`, i64 [batch_size].

  The last examples of an epoch, too few for a batch, are dropped; every epoch
  drops others.

  Args:
    seed: of the order, an integer >= 0.
    step: counted from 0 over the whole run.
    size: N, the number of examples.
    batch_size: B.

  Raises:
    ValueError: batch_size is not within 1..size.
  """
  per_epoch = steps_per_epoch(size, batch_size)
  epoch, number = divmod(step, per_epoch)
  start = number * batch_size
  return order(seed, epoch, size)[start : start + batch_size]


def steps_per_epoch(size: int, batch_size: int) -> int:
  """The number of full batches in an epoch of `size` examples."""
  if not 1 <= batch_size <= size:
    compared = 'larger than' if batch_size > size else 'too small for'
    what = f'{size} training example{"s" if size > 1 else ""}'
    raise ValueError(
      f'batch_size={batch_size} is {compared} the {what}; legal: 1..{size}'
    )
  return size // batch_size


def draw(step, per_epoch: int, views: int):
  """The number that a step's augmentation keys are folded from.

  Args:
    step: counted from 0, an integer or an array.
    per_epoch: steps of an epoch.
    views: V; the number is epoch % V, so an example has V images. 0: the
      number is the step, so every image is new.
  """
  return step // per_epoch % views if views else step


def shard(index: np.ndarray, process: int, count: int) -> np.ndarray:
  """The part of a global batch that process `process` of `count` reads."""
  if len(index) % count:
    raise ValueError(
      f'batch of {len(index)} over {count} processes; legal: a multiple of '
      f'{count}'
    )
  part = len(index) // count
  return index[process * part : (process + 1) * part]


def to_device(split: Split, device=None) -> Split:
  """The split as arrays on a device (or a sharding; default: JAX's first).

  A stream is returned as it is.
  """
  if isinstance(split, stream.Stream):
    return split
  return jax.device_put(split, device)


def take(split: Split, index) -> types.Batch:
  """The examples `index` i [B] of a split as a batch, with their mask.

  A split on a device gives a batch on that device (jit-able; indices beyond
  the end are clipped). NumPy arrays and streams give a batch of NumPy arrays.

  Returns:
    'inputs' [B, H, W, C], or i32 [B, L] by name, 'labels' [B], [B, K] or in
    range [B, ...], 'index' i32 [B], 'mask' f32 [B] or [B, ...], 0 where a label
    is void; 'labelled' f32 [B], 0 where an example has no label, of a split
    that has such.
  """
  if isinstance(split, stream.Stream):
    index = np.asarray(index, np.int32)
    return _batch(*split.read(index), index, np)
  if isinstance(split.labels, np.ndarray):
    index = np.asarray(index, np.int32)
    some = splits.take(split, index)
    return _batch(some.inputs, some.labels, index, np, some.labelled)
  if isinstance(index, np.ndarray):
    # Explicit, so that it passes a transfer guard.
    index = jax.device_put(index.astype(np.int32))
  return _gather(split, index)


@jax.jit
def _gather(split, index):
  pick = functools.partial(jnp.take, indices=index, axis=0, mode='clip')
  picked = jax.tree.map(pick, split)
  index = index.astype(jnp.int32)
  return _batch(picked.inputs, picked.labels, index, jnp, picked.labelled)


def _batch(inputs, labels, index, module, labelled=None) -> types.Batch:
  labels, mask = tasks.counted(labels, module)
  batch = {'inputs': inputs, 'labels': labels, 'index': index, 'mask': mask}
  if labelled is None:
    return batch
  return {**batch, 'labelled': labelled.astype(module.float32)}


def head(split: Split, count: int) -> splits.Split:
  """The first `count` examples (at most all of them), in memory."""
  index = np.arange(min(count, len(split.labels)))
  if isinstance(split, stream.Stream):
    return splits.Split(*split.read(index))
  return splits.take(split, index)


def eval_batches(split: Split, batch_size: int) -> Iterator[types.Batch]:
  """Yields every example once, in order, in batches of equal shape.

  The last batch is filled up with copies of the last example, with mask 0.
  """
  for number in range(eval_count(split, batch_size)):
    yield eval_batch_at(split, batch_size, number)


def eval_count(split: Split, batch_size: int) -> int:
  """The number of batches that `eval_batches` yields."""
  return -(-len(split.labels) // batch_size)


def eval_batch_at(
  split: Split, batch_size: int, number: int, process: int = 0, count: int = 1
) -> types.Batch:
  """A batch of `eval_batches`.

  Args:
    split: data set.
    batch_size: B, of all processes together.
    number: of the batch, from 0.
    process, count: the part of process `process` of `count`, which alone is
      read.
  """
  size, start = len(split.labels), number * batch_size
  index = np.arange(start, start + batch_size, dtype=np.int32)
  index = shard(index, process, count)
  batch = dict(take(split, np.minimum(index, size - 1)))
  mask = (index < size).astype(np.float32)
  if not isinstance(batch['mask'], np.ndarray):
    mask = jax.device_put(mask, batch['labels'].sharding)
  if batch['mask'].ndim > 1:
    mask = batch['mask'] * mask.reshape(-1, *[1] * (batch['mask'].ndim - 1))
  return {**batch, 'mask': mask}


def evaluate(
  split: Split,
  batch_size: int,
  step: Callable[[types.Batch], Any],
  put: Callable[[types.Batch], types.Batch],
  limit: int = 0,
  process: int = 0,
  count: int = 1,
) -> list:
  """Calls a compiled function on every batch of `eval_batches`.

  Threads read the batches and bring them to the devices in advance; the
  results come to the host once, at the end.

  Args:
    split, batch_size, process, count: see `eval_batch_at`.
    step: batch on the devices -> arrays there.
    put: batch -> the same on the devices.
    limit: the number of batches; 0: all.

  Returns:
    The results of all batches, in order, as NumPy arrays.
  """
  number, results = eval_count(split, batch_size), []
  number = min(limit or number, number)
  feed = stream.Feed(
    lambda n: eval_batch_at(split, batch_size, n, process, count)
  )
  if isinstance(split, stream.Stream):
    feed = stream.ahead(feed, number)
  feed = stream.ahead_on_device(feed, put, number)
  try:
    for n in range(number):
      results.append(step(feed(n)))
      # Few batches at a time lie on the devices.
      jax.block_until_ready(results[-stream.AHEAD :][0])
  finally:
    feed.close()
  return jax.device_get(results)


@memoize.memoize
def make_prepare(
  mean: Sequence[float], std: Sequence[float]
) -> Callable[[types.PyTree], types.PyTree]:
  """Makes the function that normalizes raw images for a network.

  prepare(x) = (x / 255 - mean) / std for uint8, (x - mean) / std for floats,
  per channel, in f32. Text, a dict, stays as it is.

  Args:
    mean: per channel, of pixels in [0, 1] for uint8.
    std: per channel, likewise.

  Returns:
    prepare: [..., H, W, C] -> f32 of the same shape; jit-able.

  Raises:
    ValueError: from prepare, for images with another number of channels.
  """
  mean, std = (np.asarray(x, np.float32) for x in (mean, std))

  def prepare(inputs: types.PyTree) -> types.PyTree:
    if isinstance(inputs, Mapping):
      return inputs
    if inputs.shape[-1] != mean.size:
      raise ValueError(
        f'images of {inputs.shape[-1]} channels, normalized for {mean.size}'
      )
    scale = 255.0 if inputs.dtype == jnp.uint8 else 1.0
    shape = (1,) * (inputs.ndim - 1) + (-1,)
    pixels = inputs.astype(jnp.float32) / scale
    return (pixels - mean.reshape(shape)) / std.reshape(shape)

  return prepare
