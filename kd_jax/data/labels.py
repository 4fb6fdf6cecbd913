"""A training set of which few examples have a label, or none: a transfer set.

A teacher needs no labels to speak of an image. Validation and test keep theirs:
they measure. Whoever trains on the data sees the same labels, teacher and
student alone too: load a teacher that was trained on all of them.
"""

import numpy as np

from kd_jax import tasks
from kd_jax.data import checks, splits

ALL, NONE = 'all', 'none'
# Apart from the draws of `checks.stratify` for what is held out, and of noise.
_STREAM = 2


def few(data: splits.Data, labels: object, seed: int) -> splits.Data:
  """The data set with labels on some of its training examples alone.

  The labels of the others are taken out: a class 0, a uniform distribution or
  a map of zeros is in their place, and `labelled` is false. What reads
  labels counts the labelled examples, all else counts every one.

  Args:
    data: in memory.
    labels: 'all'; 'none'; a number of examples, at least as many as there are
      classes; or a fraction of the training set, in (0, 1). Every class is in
      proportion, and the examples of a smaller number are among those of a
      larger one.
    seed: which ones.

  Raises:
    ValueError: labels that are nothing of these, or a stream.
  """
  where = f"'{data.name}'"
  if isinstance(labels, str) and labels == ALL:
    return data
  number = _number(labels, len(data.train.labels), data.classes, where)
  if not isinstance(data.train, splits.Split):
    raise ValueError(
      f'labels={labels!r} of {where} needs images in memory; raise '
      'memory_limit (in MB)'
    )
  strata = tasks.make_task(data.task).strata(data.train.labels)
  _, chosen = checks.stratify(strata, number, (seed, _STREAM))
  labelled = np.zeros(len(strata), bool)
  labelled[chosen] = True
  train = _without(data.train, labelled, data.classes)
  fingerprint = checks.fingerprint(
    [train.labels, labelled], of=data.fingerprint, labels=number
  )
  return data._replace(train=train, fingerprint=fingerprint)


def _number(labels: object, size: int, classes: int, where: str) -> int:
  """How many of `size` examples keep their label."""
  if isinstance(labels, str) and labels == NONE:
    return 0
  fraction = isinstance(labels, float) and 0 < labels < 1
  whole = isinstance(labels, int | np.integer) and type(labels) is not bool
  number = round(labels * size) if fraction else labels if whole else 0
  if not classes <= number <= size:
    raise ValueError(
      f"labels={labels!r} of {where}; legal: 'all', 'none', a number of "
      f'examples in {classes}..{size}, or a fraction of {size} that is at '
      f'least one of each of {classes} classes'
    )
  return int(number)


def _without(
  train: splits.Split, labelled: np.ndarray, classes: int
) -> splits.Partly:
  """A split, from which the labels of the other examples are taken out."""
  fill = 1 / classes if tasks.is_soft(train.labels) else 0
  shape = (-1, *[1] * (train.labels.ndim - 1))
  labels = np.where(labelled.reshape(shape), train.labels, fill)
  labels = labels.astype(train.labels.dtype)
  return splits.Partly(train.inputs, labels, labelled)
