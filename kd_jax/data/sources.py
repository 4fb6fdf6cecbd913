"""Data sets by name: SOURCES is the one table, make_data the one door.

A validation set is held out of the training set unless told otherwise, the
same one in every process and at every `limit`. The test set is a function: it
is read when called, once, at the end.
"""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kd_jax import types
from kd_jax.data import checks, store


class Split(NamedTuple):
  """Examples: images uint8 or f32 [N, H, W, C]; labels i32 [N] or f32 [N, K].

  Labels of rank two are probabilities.
  """

  inputs: np.ndarray
  labels: np.ndarray


class Data(NamedTuple):
  """A data set in memory, as a run needs it.

  mean and std are per channel, of pixels / 255 where images are uint8; they
  are the published ones of a data set that has them, else those of the whole
  training set, so they depend neither on the split nor on `limit`.
  fingerprint is a sha256 over train, validation and how they were cut.
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


# What every data set takes; those that have no use for a folder ignore it.
COMMON = (
  'validation', 'split_seed', 'limit', 'mean', 'std', 'raw_dir', 'data_dir',
)  # fmt: skip


def make_data(name: str, **options) -> Data:
  """Reads the data set `name`, preparing it first where that is needed.

  Args:
    name: a key of SOURCES.
    **options: those of every data set, and those of the one named (see its
      maker). For every one:
      validation: fraction (float) or number (int) of training examples to
        hold out, every class in proportion; default 0.1; 0 holds out none.
      split_seed: which ones to hold out.
      limit: train on the first so many examples only (counted after holding
        out); 0 is all.
      mean, std: per channel, in place of the data set's.
      raw_dir: folder of raw files; '' is KD_JAX_RAW_DIR in the environment.
      data_dir: TFDS data folder; '' is TFDS's own.

  Raises:
    ValueError: an unknown name or option, or data that is not as it must be.
  """
  if name not in SOURCES:
    raise types.unknown('data set', name, SOURCES)
  maker = SOURCES[name]
  own = [
    p
    for p in inspect.signature(maker).parameters.values()
    if p.kind is p.KEYWORD_ONLY
  ]
  legal = {*COMMON, *(p.name for p in own)}
  for option in options:
    if option not in legal:
      raise types.unknown(f"option of data set '{name}'", option, legal)
  for p in own:
    if p.default is p.empty and p.name not in options:
      raise ValueError(f"data set '{name}' needs the option '{p.name}'")
  return maker(**options)


def _finish(
  name: str,
  train: tuple,
  test: Callable[[], tuple],
  classes: int,
  *,
  held: tuple | None = None,
  label_names: tuple[str, ...] = (),
  validation: float = 0.1,
  split_seed: int = 0,
  limit: int = 0,
  mean: tuple = (),
  std: tuple = (),
) -> Data:
  """Checks, holds out, limits, measures: the same for every data set."""
  split_seed = checks.whole('split_seed', split_seed, name)
  limit = checks.whole('limit', limit, name)
  train = check(*train, classes, f"'{name}' train")
  if held is None:
    number = checks.count(validation, len(train.labels), f"'{name}'")
    kept, out = checks.stratify(train.labels, number, split_seed)
    held_out = Split(train.inputs[out], train.labels[out])
  else:
    kept, held_out = slice(None), check(*held, classes, f"'{name}' validation")
  own_mean, own_std = _normalization(name, train.inputs, mean, std)
  used = Split(train.inputs[kept], train.labels[kept])
  used = Split(*(a[: limit or None] for a in used))
  return Data(
    name, used, held_out,
    lambda: check(*test(), classes, f"'{name}' test"),
    classes, own_mean, own_std,
    checks.fingerprint(
      [*used, *held_out], classes=classes, split_seed=split_seed, limit=limit,
      validation=len(held_out.labels),
    ),
    label_names,
  )  # fmt: skip


def check(inputs, labels, classes: int, where: str) -> Split:
  """Images and labels as a Split, or a ValueError that names `where`."""
  inputs = checks.images(inputs, where)
  return Split(inputs, checks.labels(labels, len(inputs), classes, where))


def _normalization(name, inputs, mean, std) -> tuple[tuple, tuple]:
  """`mean` and `std` where given, else those of `inputs`, one per channel."""
  mean, std = (tuple(float(x) for x in values) for values in (mean, std))
  if not (mean and std):
    measured = checks.statistics(inputs)
    mean, std = mean or measured[0], std or measured[1]
  if not len(mean) == len(std) == inputs.shape[-1] or min(std) <= 0:
    raise ValueError(
      f"mean={mean}, std={std} of '{name}'; legal: {inputs.shape[-1]} numbers "
      'each, one per channel, std > 0'
    )
  return mean, std


def _prepared(name, path, *, image_key='image', label_key='label', **rest):
  """Data from the splits train and test of a prepared TFDS folder."""
  read = functools.partial(
    store.read, path, image_key=image_key, label_key=label_key
  )
  names = tuple(store.builder(path).info.features[label_key].names)
  return _finish(
    name, read('train'), lambda: read('test'), len(names),
    label_names=names, **rest,
  )  # fmt: skip


def _digits(*, raw_dir: str = '', data_dir: str = '', **common) -> Data:
  """scikit-learn's 1,797 handwritten digits, 8x8x1; nothing is downloaded."""
  from kd_jax.data import digits

  path = store.prepare(digits.KdDigits, data_dir)
  return _prepared('digits', path, **common)


SOURCES = {'digits': _digits}
