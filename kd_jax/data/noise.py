"""A training set some of whose labels are wrong, as those of cheap labels are.

Validation and test keep the right labels. They are held out of training, so
they teach nothing; a student and its rival are chosen by what is true, as by
the small set that somebody has looked through with care.
"""

import numpy as np

from kd_jax import tasks
from kd_jax.data import checks, splits

# Apart from the draws of `checks.stratify`, which the same seed begins.
_STREAM = 1


def wrong_labels(data: splits.Data, share: float, seed: int) -> splits.Data:
  """The data set with a wrong label on a share of its training examples.

  round(share * N) examples, drawn whatever their class, get another class,
  each of the K - 1 others alike: symmetric noise. Whoever trains on the data,
  teacher or student, sees the same wrong labels in every epoch.

  Args:
    data: in memory or streamed; soft labels are turned, p_k -> p_(k+d).
    share: of the N training examples (after `limit`), in [0, 1); 0: none.
    seed: which ones, and what they are called instead.

  Raises:
    ValueError: a share out of its range, or data of a single class.
  """
  where = f"'{data.name}'"
  share = checks.share('wrong_labels', share, where)
  if not share:
    return data
  if data.task != tasks.CLASSIFICATION.name:
    raise ValueError(f'wrong_labels of {where} needs a label an image')
  if data.classes < 2:
    raise ValueError(f'wrong_labels of {where} needs two classes')
  turns = _turns(len(data.train.labels), share, data.classes, seed)
  fingerprint = checks.fingerprint([turns], of=data.fingerprint)
  return data._replace(
    train=_turned(data.train, turns, data.classes), fingerprint=fingerprint
  )


def _turns(size: int, share: float, classes: int, seed: int) -> np.ndarray:
  """By how much each label moves on, i64 [N]: 0 where it stays."""
  rng = np.random.default_rng((seed, _STREAM))
  turns = np.zeros(size, np.int64)
  wrong = rng.permutation(size)[: round(share * size)]
  turns[wrong] = rng.integers(1, classes, len(wrong))
  return turns


def _turned(train, turns: np.ndarray, classes: int):
  """A split, or a stream of one, whose labels have moved on."""
  if isinstance(train, splits.Split):
    return train._replace(labels=_turn(train.labels, turns, classes))

  def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, labels = train.read(index)
    return images, _turn(labels, turns[index], classes)

  return train._replace(read=read)


def _turn(labels: np.ndarray, turns: np.ndarray, classes: int) -> np.ndarray:
  """Labels [B] or [B, K], each moved on by its turn, modulo K."""
  if tasks.is_soft(labels):
    columns = (np.arange(classes) - turns[:, None]) % classes
    return np.take_along_axis(labels, columns, axis=1)
  return ((labels + turns) % classes).astype(labels.dtype)
