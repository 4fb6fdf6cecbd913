"""A training set without some of its classes: a transfer set that lacks them.

Validation and test keep every class, so what a student learns of a class that
it never saw can be measured.
"""

from collections.abc import Sequence

import numpy as np

from kd_jax.data import checks, splits


def only(data: splits.Data, classes: Sequence[int]) -> splits.Data:
  """The data set, its training examples of these classes alone.

  A teacher that is trained on it misses the others too: load one that was
  trained on all of them.

  Args:
    data: in memory.
    classes: which training labels stay; none of them means all.

  Raises:
    ValueError: a class that the data set does not have, one that has no
      training example, or data that is streamed.
  """
  if not len(classes):
    return data
  where = f"train_only of '{data.name}'"
  wanted = sorted({checks.whole('a class', x, where) for x in classes})
  if wanted[-1] >= data.classes:
    raise ValueError(
      f'{where} has the class {wanted[-1]}; legal: 0..{data.classes - 1}'
    )
  if not isinstance(data.train, splits.Split):
    raise ValueError(
      f'{where} needs images in memory; raise memory_limit (in MB)'
    )
  labels = data.train.labels
  labels = labels.argmax(-1) if labels.ndim == 2 else labels
  lacking = sorted({*wanted} - {*labels.tolist()})
  if lacking:
    raise ValueError(f'{where} has no training example of {lacking}')
  kept = np.isin(labels, wanted)
  train = splits.Split(*(array[kept] for array in data.train))
  fingerprint = checks.fingerprint(train, of=data.fingerprint, only=wanted)
  return data._replace(train=train, fingerprint=fingerprint)
