"""Data sets too large for memory: the same contract, read from disk.

A `Stream` stands where a `splits.Split` does. It knows shapes and reads any
examples by number, so `pipeline.indices` and `pipeline.take` serve it as they
serve arrays: a batch is a pure function of (seed, step), and a resumed run
needs no iterator state. `ahead` hides the time that reading takes, with grain.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax.data import checks, records, splits

# Training images that mean and std are measured on.
_SAMPLE = 2048


class Stream(NamedTuple):
  """A split on disk.

  Attributes:
    inputs: shape and type of the images, [N, H, W, C].
    labels: shape and type of the labels, [N].
    read: numbers i [B] -> images and labels [B] as NumPy arrays.
  """

  inputs: jax.ShapeDtypeStruct
  labels: jax.ShapeDtypeStruct
  read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def open_split(
  path: pathlib.Path, split: str, keys: tuple[str, str], classes: int, size: int
) -> Stream:
  """Opens a split of a prepared TFDS folder; reads nothing.

  Args:
    path: the folder.
    split: a TFDS split.
    keys: names of the image and of the label feature.
    classes: K; labels are checked as they are read.
    size: side that images are brought to; 0 leaves them.
  """
  rows, decode = records.source(path, split, keys, size)
  where = f"'{path.parent.name}' {split}"
  shape, dtype = records.shape(path, keys[0], size)
  if None in shape:
    raise ValueError(f"images of {where} differ in shape; give 'size'")

  def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, labels = decode(rows.__getitems__([int(i) for i in index]))
    images = checks.images(records.stack(images, where), where)
    return images, checks.labels(labels, len(images), classes, where)

  return Stream(
    jax.ShapeDtypeStruct((len(rows), *shape), dtype),
    jax.ShapeDtypeStruct((len(rows),), np.int32),
    read,
  )


def subset(stream: Stream, rows: np.ndarray) -> Stream:
  """The examples `rows` of a stream, numbered anew from 0."""
  inputs, labels = (
    jax.ShapeDtypeStruct((len(rows), *x.shape[1:]), x.dtype)
    for x in (stream.inputs, stream.labels)
  )
  return Stream(inputs, labels, lambda index: stream.read(rows[index]))


def finish(
  name: str,
  train: Stream,
  test: Callable[[], Stream],
  classes: int,
  *,
  identity: str,
  held: Stream | None = None,
  label_names: tuple[str, ...] = (),
  validation: float = 0.1,
  split_seed: int = 0,
  more_test: float = 0,
  limit: int = 0,
  mean: tuple = (),
  std: tuple = (),
) -> splits.Data:
  """As `splits.finish`, without reading it all.

  Three things differ, since each needs every example: validation is held out
  at random and not by class, mean and std are those of some training images,
  and the fingerprint is of the prepared files' description (`identity`).
  """
  split_seed = checks.whole('split_seed', split_seed, name)
  limit = checks.whole('limit', limit, name)
  size = len(train.labels)
  if checks.count('more_test', more_test, size, f"'{name}'"):
    raise ValueError(
      f"more_test of '{name}' needs images in memory; raise memory_limit "
      '(in MB)'
    )
  rows = np.arange(size)
  if held is None:
    number = checks.count('validation', validation, size, f"'{name}'")
    shuffled = np.random.default_rng(split_seed).permutation(size)
    rows, out = np.sort(shuffled[number:]), np.sort(shuffled[:number])
    held = subset(train, out)
  used = subset(train, rows[: limit or None])
  if not (len(mean) and len(std)):
    some = np.unique(np.linspace(0, size - 1, _SAMPLE).astype(int))
    own_mean, own_std = checks.statistics(train.read(some)[0])
    mean, std = mean or own_mean, std or own_std
  mean, std = splits.normalization(name, train.inputs, mean, std)
  return splits.Data(
    name, used, held, test, classes, mean, std,
    checks.fingerprint(
      [rows], identity=identity, classes=classes, split_seed=split_seed,
      limit=limit, validation=len(held.labels),
    ),
    label_names,
  )  # fmt: skip


def ahead(
  feed: Callable[[int], Any], stop: int, threads: int = 4, batches: int = 8
) -> Callable[[int], Any]:
  """`feed`, reading the next batches while the last one is in use.

  Steps asked for in order come from grain's threads; any other step starts
  them anew from there, so that the result is `feed`'s whatever is asked for.

  Args:
    feed: step -> batch, a pure function.
    stop: no step from this one on is read before it is asked for.
    threads: how many read.
    batches: how many are kept ready.

  Returns:
    step -> batch.
  """
  grain = require_grain()
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=batches)
  running, following = iter(()), -1

  def read(step: int) -> Any:
    nonlocal running, following
    if step >= stop:
      return feed(step)
    if step != following:
      steps = grain.MapDataset.range(step, stop).map(feed)
      running = iter(steps.to_iter_dataset(options))
    following = step + 1
    return next(running)

  return read


def require_grain() -> Any:
  """grain, or a ValueError that says what to do without it."""
  try:
    import grain
  except ImportError as error:
    raise ValueError(
      'data larger than memory_limit are streamed by grain: pip install '
      'grain, or raise memory_limit (in MB)'
    ) from error
  return grain
