"""Splits a data set in memory into train and validation, and measures it."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kd_jax import tasks
from kd_jax.data import checks


class Split(NamedTuple):
  """Examples: images uint8 or f32 [N, H, W, C], and the labels of a task.

  Labels are i32 [N], probabilities f32 [N, K], or maps i [N, H, W] in which
  `tasks.VOID` does not count.
  """

  inputs: np.ndarray
  labels: np.ndarray
  labelled = None  # every example has a label


class Partly(NamedTuple):
  """A `Split` where `labelled`, bool [N], says which examples have a label."""

  inputs: np.ndarray
  labels: np.ndarray
  labelled: np.ndarray


class Data(NamedTuple):
  """A data set.

  Splits are in memory; those too large for it are streams (`stream.Stream`).
  mean and std are per channel, of pixels / 255 where images are uint8; they
  are the published ones of a data set that has them, else those of the whole
  training set (that `more_test` leaves), so they depend neither on what is
  held out to validate nor on `limit`.
  fingerprint is a sha256 over train, validation and how they were cut.
  task is a key of `tasks.TASKS`, ignore the value that did not count where the
  labels came from. palette is the color (red, green, blue) of each class in a
  picture, or (). sequences() are the films that the test examples are frames
  of, i32 [N], in the order of time within a film; None: all stand alone.
  """

  name: str
  train: Split
  validation: Split
  test: Callable[[], Split]
  classes: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  fingerprint: str
  label_names: tuple[str, ...] = ()
  task: str = tasks.CLASSIFICATION.name
  ignore: int | None = None
  palette: tuple[tuple[int, int, int], ...] = ()
  sequences: Callable[[], np.ndarray] | None = None


def finish(
  name: str,
  train: tuple,
  test: Callable[[], tuple],
  classes: int,
  *,
  held: tuple | None = None,
  label_names: tuple[str, ...] = (),
  validation: float = 0.1,
  split_seed: int = 0,
  more_test: float = 0,
  limit: int = 0,
  mean: tuple = (),
  std: tuple = (),
  task: str = tasks.CLASSIFICATION.name,
  ignore: int | None = None,
) -> Data:
  """Makes the Data of any data set: checks, holds out, limits, measures.

  Args:
    name: of the data set, for messages too.
    train: images and labels.
    test: function that returns images and labels; not called here.
    classes: K.
    held: images and labels to validate on; None holds out of `train`.
    label_names: of the K classes, or none.
    validation, split_seed, more_test, limit, mean, std, task, ignore: see
      `sources.make_data`.
  """
  asked = {'task': tasks.make_task(task), 'ignore': ignore}
  split_seed = checks.whole('split_seed', split_seed, name)
  limit = checks.whole('limit', limit, name)
  train = check(*train, classes, f"'{name}' train", **asked)
  cut = functools.partial(_cut, name, split_seed, asked['task'])
  train, more = cut(train, 'more_test', more_test)
  if held is None:
    used, held_out = cut(train, 'validation', validation)
  else:
    where = f"'{name}' validation"
    used = train
    held_out = check(*held, classes, where, train.inputs, **asked)
  mean, std = normalization(name, mean, std, lambda: train.inputs, train.inputs)
  used = _take(used, slice(limit or None))

  def read_test():
    where = f"'{name}' test"
    return _join(check(*test(), classes, where, used.inputs, **asked), more)

  return Data(
    name, used, held_out, read_test, classes, mean, std,
    checks.fingerprint(
      [*used, *held_out], classes=classes, split_seed=split_seed, limit=limit,
      validation=len(held_out.labels),
      # A set that was not cut keeps the fingerprint that it always had.
      **({'more_test': len(more.labels)} if len(more.labels) else {}),
    ),
    label_names, task, ignore,
  )  # fmt: skip


def _cut(
  name: str,
  seed: int,
  task: tasks.Task,
  train: Split,
  option: str,
  value: float,
) -> tuple[Split, Split]:
  """What the option leaves of a training set, and what it takes out."""
  number = checks.count(option, value, len(train.labels), f"'{name}'")
  if not number:
    return train, _take(train, slice(0))
  kept, out = checks.stratify(task.strata(train.labels), number, seed)
  return _take(train, kept), _take(train, out)


def _take(split: Split, rows: np.ndarray | slice) -> Split:
  return Split(*(array[rows] for array in split))


def _join(split: Split, more: Split) -> Split:
  """The examples of both; `split` itself where there are no more."""
  if not len(more.labels):
    return split
  if tasks.is_soft(split.labels) != tasks.is_soft(more.labels):
    raise ValueError(
      'more_test joins soft labels and integers; legal: both of one kind'
    )
  return Split(*(np.concatenate(pair) for pair in zip(split, more)))


def check(
  inputs,
  labels,
  classes: int,
  where: str,
  like: np.ndarray | None = None,
  *,
  task: tasks.Task,
  ignore: int | None = None,
) -> Split:
  """Images and labels as a Split, or a ValueError that names `where`.

  With `like`, images must have its height, width, channels and type.
  """
  inputs = checks.images(inputs, where)
  if like is not None:
    given, legal = (f'{list(x.shape[1:])} {x.dtype}' for x in (inputs, like))
    if given != legal:
      raise ValueError(
        f'images of {where} are {given}; legal: {legal}, as in training'
      )
  return Split(
    inputs, task.labels(labels, inputs.shape, classes, ignore, where)
  )


def normalization(name, mean, std, sample, images) -> tuple[tuple, tuple]:
  """`mean` and `std` as floats, one per channel; measures those not given.

  Args:
    name: of the data set.
    mean, std: given, or ().
    sample: () -> images to measure.
    images: with the shape of the training images.

  Raises:
    ValueError: they are not one per channel, or a deviation is not positive.
  """
  if not (len(mean) and len(std)):
    measured_mean, measured_std = checks.statistics(sample())
    mean, std = mean or measured_mean, std or measured_std
  mean, std = (tuple(float(x) for x in values) for values in (mean, std))
  if not len(mean) == len(std) == images.shape[-1] or min(std) <= 0:
    raise ValueError(
      f"mean={mean}, std={std} of '{name}'; legal: {images.shape[-1]} numbers "
      'each, one per channel, std > 0'
    )
  return mean, std
