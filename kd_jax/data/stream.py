"""Streams data sets that are too large for memory from disk.

A `Stream` takes the place of a `splits.Split`. It has shapes and reads any
examples by number, so `pipeline.indices` and `pipeline.take` treat it like
arrays: a batch is a pure function of (seed, step), and a resumed run needs no
iterator state. `ahead` reads batches in advance, with grain; `ahead_on_device`
also brings them to the devices in advance.
"""

import pathlib
from collections.abc import Callable
from concurrent import futures
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import tasks
from kd_jax.data import checks, splits
from kd_jax.data.readers import records, sizes

# Number of training images of which mean and std are measured.
_SAMPLE = 2048
AHEAD = 2  # batches that wait on the devices


class Stream(NamedTuple):
  """A split on disk.

  Attributes:
    inputs: shape and type of the images, [N, H, W, C].
    labels: shape and type of the labels, [N, ...].
    read: numbers i [B] -> images and labels [B] as NumPy arrays.
  """

  inputs: jax.ShapeDtypeStruct
  labels: jax.ShapeDtypeStruct
  read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
  labelled = None  # as of `splits.Split`: every example has a label


def open_split(
  path: pathlib.Path,
  split: str,
  keys: tuple[str, str],
  classes: int,
  size: sizes.Size,
  task: str = tasks.CLASSIFICATION.name,
  ignore: int | None = None,
) -> Stream:
  """Opens a split of a prepared TFDS folder; reads one example of it.

  Args:
    path: the folder.
    split: a TFDS split.
    keys: names of the image and of the label feature.
    classes: K; labels are checked as they are read.
    size: to which images are scaled and cut.
    task, ignore: see `sources.make_data`.
  """
  legal = tasks.make_task(task).labels
  rows, decode = records.source(path, split, keys, size)
  where = f"'{path.parent.name}' {split}"
  shape, dtype = records.shape(path, keys[0], size)
  if None in shape:
    raise ValueError(f"images of {where} differ in shape; give 'size'")

  def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, labels = decode(rows.__getitems__([int(i) for i in index]))
    images = checks.images(sizes.stack(images, where), where)
    return images, legal(labels, images.shape, classes, ignore, where)

  _, label = read(np.zeros(1, int))  # its shape and type
  return Stream(
    jax.ShapeDtypeStruct((len(rows), *shape), dtype),
    jax.ShapeDtypeStruct((len(rows), *label.shape[1:]), label.dtype),
    read,
  )


def subset(stream: Stream, rows: np.ndarray) -> Stream:
  """The examples `rows` of a stream, renumbered from 0."""
  inputs, labels = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((len(rows), *x.shape[1:]), x.dtype),
    (stream.inputs, stream.labels),
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
  task: str = tasks.CLASSIFICATION.name,
  ignore: int | None = None,
) -> splits.Data:
  """Makes the Data of a streamed data set, as `splits.finish` does in memory.

  Three things differ, since they would need every example: validation is held
  out at random and not by class, mean and std are those of some training
  images, and the fingerprint is of the prepared files' description
  (`identity`).
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
  some = np.unique(np.linspace(0, size - 1, _SAMPLE).astype(int))
  mean, std = splits.normalization(
    name, mean, std, lambda: train.read(some)[0], train.inputs
  )
  return splits.Data(
    name, used, held, test, classes, mean, std,
    checks.fingerprint(
      [rows], identity=identity, classes=classes, split_seed=split_seed,
      limit=limit, validation=len(held.labels),
    ),
    label_names, task, ignore,
  )  # fmt: skip


class Feed(NamedTuple):
  """Gives batches; call it as `read`.

  Attributes:
    read: step -> batch, a pure function.
    close: () -> None: ends the threads that read in advance; the next `read`
      starts them again.
  """

  read: Callable[[int], Any]
  close: Callable[[], None] = lambda: None

  def __call__(self, step: int) -> Any:
    """The batch of a step."""
    return self.read(step)


def ahead(
  feed: Callable[[int], Any], stop: int, threads: int = 4, batches: int = 8
) -> Feed:
  """`feed` with read-ahead: threads read the next batches in advance.

  Consecutive steps come from grain's threads. Any other step restarts them
  there, so the result always equals that of `feed`.

  Args:
    feed: step -> batch, a pure function.
    stop: steps from this one on are not read in advance.
    threads: number of reading threads.
    batches: number of batches that wait ready.
  """
  grain = require_grain()
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=batches)
  running, following = None, -1

  def read(step: int) -> Any:
    nonlocal running, following
    if step >= stop:
      return feed(step)
    if step != following:
      close()
      steps = grain.MapDataset.range(step, stop).map(feed)
      running = iter(steps.to_iter_dataset(options))
    following = step + 1
    return next(running)

  def close() -> None:
    nonlocal running, following
    if running is not None:
      running.close()
    running, following = None, -1

  return Feed(read, close)


def ahead_on_device(feed: Feed, put: Callable, stop: int) -> Feed:
  """`feed` with its batches on the devices, where two of them wait ready.

  A thread of its own reads and puts them there. What it raises is raised at
  the step that it belongs to. Any step may be asked for; one that is not the
  next restarts the thread, so the result always equals that of `put(feed)`.

  Args:
    feed: step -> batch.
    put: batch -> the same on the devices.
    stop: steps from this one on are not read in advance.
  """
  pool, waiting = None, {}

  def read(step: int) -> Any:
    nonlocal pool
    if step not in waiting:
      close()
      pool = futures.ThreadPoolExecutor(1, 'ahead_on_device')
    for n in range(step, max(min(step + 1 + AHEAD, stop), step + 1)):
      if n not in waiting:
        waiting[n] = pool.submit(lambda n: put(feed(n)), n)
    return waiting.pop(step).result()

  def close() -> None:
    if pool is not None:
      pool.shutdown(cancel_futures=True)
    waiting.clear()
    feed.close()

  return Feed(read, close)


def require_grain() -> Any:
  """Imports grain; without it, a ValueError says what to do."""
  try:
    import grain
  except ImportError as error:
    raise ValueError(
      'data larger than memory_limit are streamed by grain: pip install '
      'grain, or raise memory_limit (in MB)'
    ) from error
  return grain
