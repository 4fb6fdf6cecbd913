"""Splits a data set in memory into train and validation, and measures it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from kd_jax import tasks
from kd_jax.data import checks


class Split(NamedTuple):
  """Examples: images uint8 or f32 [N, H, W, C], and the labels of a task.

  Text is a dict of i32 [N, L] by the names of `checks.TEXT`. Labels are i32
  [N], probabilities f32 [N, K], maps i [N, H, W] or of tokens i32 [N, L] in
  which `tasks.VOID` does not count, or as another task has them.
  """

  inputs: np.ndarray | Mapping[str, np.ndarray]
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

  Of text: mean and std are (), vocabulary is the number of tokens (0: no text),
  bytes_per_token of the test set's labels (None: not known), pieces(ids) the
  text of each token, tokenizer its file (tokenizer.json), or '', buckets the
  lengths that its batches are cut to (see `buckets`), or (). label_names may be
  () where classes are tokens.
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
  vocabulary: int = 0
  bytes_per_token: float | None = None
  pieces: Callable[[Sequence[int]], list[str]] | None = None
  tokenizer: str = ''
  buckets: tuple[int, ...] = ()


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
  vocabulary: int = 0,
) -> Data:
  """Makes the Data of any data set: checks, holds out, limits, measures.

  Args:
    name: of the data set, for messages too.
    train: images, or text, and labels.
    test: function that returns images and labels; not called here.
    classes: K.
    held: images and labels to validate on; None holds out of `train`.
    label_names: of the K classes, or none.
    validation, split_seed, more_test, limit, mean, std, task, ignore: see
      `sources.make_data`.
    vocabulary: number of tokens; 0: as many as the training text shows.
  """
  vocabulary = vocabulary or shown_tokens(train[0])
  asked = {
    'task': tasks.make_task(task),
    'ignore': ignore,
    'vocabulary': vocabulary,
  }
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
  used = take(used, slice(limit or None))

  def read_test():
    where = f"'{name}' test"
    return _join(check(*test(), classes, where, used.inputs, **asked), more)

  return Data(
    name, used, held_out, read_test, classes, mean, std,
    checks.fingerprint(
      jax.tree.leaves((used, held_out)), classes=classes,
      split_seed=split_seed, limit=limit,
      validation=len(held_out.labels),
      # Left out where nothing was cut: it is part of no fingerprint then.
      **({'more_test': len(more.labels)} if len(more.labels) else {}),
      **({'text': sorted(used.inputs)} if vocabulary else {}),
    ),
    label_names, task, ignore, vocabulary=vocabulary,
  )  # fmt: skip


def shown_tokens(inputs) -> int:
  """How many tokens a text shows; 0 of images."""
  if not isinstance(inputs, Mapping):
    return 0
  ids = [x for name, x in inputs.items() if name.endswith('input_ids')]
  return 1 + max((int(np.max(x, initial=0)) for x in ids), default=0)


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
    return train, take(train, slice(0))
  kept, out = checks.stratify(task.strata(train.labels), number, seed)
  return take(train, kept), take(train, out)


def take(split: Split, rows: np.ndarray | slice) -> Split:
  """The examples `rows` of a split."""
  return jax.tree.map(lambda array: array[rows], split)


def _join(split: Split, more: Split) -> Split:
  """The examples of both; `split` itself where there are no more."""
  if not len(more.labels):
    return split
  if tasks.is_soft(split.labels) != tasks.is_soft(more.labels):
    raise ValueError(
      'more_test joins soft labels and integers; legal: both of one kind'
    )
  return jax.tree.map(lambda *pair: np.concatenate(pair), split, more)


def check(
  inputs,
  labels,
  classes: int,
  where: str,
  like: np.ndarray | Mapping[str, np.ndarray] | None = None,
  *,
  task: tasks.Task,
  ignore: int | None = None,
  vocabulary: int = 0,
) -> Split:
  """Images or text, and labels, as a Split, or a ValueError naming `where`.

  With `like`, images must have its height, width, channels and type, and text
  its names and lengths.
  """
  inputs = checks.inputs(inputs, where, vocabulary)
  if like is not None:
    given, legal = map(_form, (inputs, like))
    if given != legal:
      what = 'text' if isinstance(like, Mapping) else 'images'
      raise ValueError(
        f'{what} of {where} are {given}; legal: {legal}, as in training'
      )
  shape = checks.shape(inputs)
  return Split(inputs, task.labels(labels, shape, classes, ignore, where))


def _form(inputs) -> str:
  """The shape of an example and its type, in words."""
  if isinstance(inputs, Mapping):
    return ', '.join(f'{name} {_form(x)}' for name, x in inputs.items())
  return f'{list(inputs.shape[1:])} {inputs.dtype}'


def normalization(name, mean, std, sample, images) -> tuple[tuple, tuple]:
  """`mean` and `std` as floats, one per channel; measures those not given.

  Both are () of text.

  Args:
    name: of the data set.
    mean, std: given, or ().
    sample: () -> images to measure.
    images: with the shape of the training images.

  Raises:
    ValueError: they are not one per channel, or a deviation is not positive.
  """
  if isinstance(images, Mapping):
    if len(mean) or len(std):
      raise ValueError(f"mean={mean}, std={std} of '{name}', which is text")
    return (), ()
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
