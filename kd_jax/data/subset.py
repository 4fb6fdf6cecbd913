"""Removes classes from a training set, to make a transfer set without them.

Validation and test keep every class, which measures what a student learns of
classes that it never saw.
"""

from collections.abc import Sequence

import jax
import numpy as np

from kd_jax import tasks
from kd_jax.data import checks, splits


def only(data: splits.Data, classes: Sequence[int]) -> splits.Data:
  """The data set with the training examples of these classes alone.

  A teacher that is trained on it misses the other classes too: load a teacher
  that was trained on all of them.

  Args:
    data: in memory.
    classes: training labels that stay; () keeps all.

  Raises:
    ValueError: the data set lacks a class or has no training example of it,
      or is streamed.
  """
  if not len(classes):
    return data
  where = f"train_only of '{data.name}'"
  classes = sorted({checks.whole('a class', x, where) for x in classes})
  if classes[-1] >= data.classes:
    raise ValueError(
      f'{where} has the class {classes[-1]}; legal: 0..{data.classes - 1}'
    )
  if not isinstance(data.train, splits.Split):
    raise ValueError(
      f'{where} needs images in memory; raise memory_limit (in MB)'
    )
  if data.task != tasks.CLASSIFICATION.name:
    raise ValueError(f'{where} needs a label an image')
  labels = tasks.CLASSIFICATION.strata(data.train.labels)
  lacking = sorted({*classes} - {*labels.tolist()})
  if lacking:
    raise ValueError(f'{where} has no training example of {lacking}')
  chosen = np.isin(labels, classes)
  train = splits.take(data.train, chosen)
  fingerprint = checks.fingerprint(
    jax.tree.leaves(train), of=data.fingerprint, only=classes
  )
  return data._replace(train=train, fingerprint=fingerprint)
