"""How much a student agrees with its teacher, and how often it is right.

Logits in, numbers out, NumPy in float64: no networks or runs in here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import tasks

BINS = 15


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Logits [N, K] -> log-probabilities f64 [N, K], in nats."""
  logits = np.asarray(logits, np.float64)
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def hard(labels: np.ndarray) -> np.ndarray:
  """Labels i [N], or probabilities [N, K], -> classes i64 [N]."""
  return tasks.CLASSIFICATION.strata(np.asarray(labels))


def right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Where the largest logit is the label's: bool [N]."""
  return np.asarray(logits).argmax(-1) == hard(labels)


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
  """Mean of -sum_k y_k log p_k, in nats, over hard or soft labels."""
  logs, labels = log_softmax(logits), np.asarray(labels)
  if tasks.is_soft(labels):
    return float(-(labels * logs).sum(-1).mean())
  return float(-logs[np.arange(len(logs)), labels].mean())


def agreement(
  student: np.ndarray, teacher: np.ndarray, top: int = 1
) -> float | None:
  """How often the teacher's first class is among the student's first `top`.

  Args:
    student: logits [N, K].
    teacher: logits [N, K].
    top: how many of the student's classes count.

  Returns:
    Fraction in [0, 1]; None where top >= K, which any student fulfills.
  """
  student, teacher = np.asarray(student), np.asarray(teacher)
  if top > 1 and top >= student.shape[-1]:
    return None
  first = np.argsort(-student, -1, kind='stable')[:, :top]
  return float((first == teacher.argmax(-1)[:, None]).any(-1).mean())


def kl(teacher: np.ndarray, student: np.ndarray) -> float:
  """Mean over examples of KL(teacher || student) at T = 1, in nats.

  sum_k p_k (log p_k - log q_k), p the teacher's probabilities, q the
  student's.
  """
  p, q = log_softmax(teacher), log_softmax(student)
  return float((np.exp(p) * (p - q)).sum(-1).mean())


def reliability(
  logits: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> dict[str, list]:
  """Accuracy by confidence, in bins.

  Args:
    logits: [N, K].
    labels: i [N] or [N, K].
    bins: of equal width on (0, 1], closed above.

  Returns:
    'count' of each bin, and its mean 'confidence' and 'accuracy' (None in an
    empty bin).
  """
  sure = np.exp(log_softmax(logits).max(-1))
  place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
  hits = right(logits, labels)
  count = np.bincount(place, minlength=bins)

  def means(values):
    sums = np.bincount(place, values, minlength=bins)
    return [float(s / n) if n else None for s, n in zip(sums, count)]

  return {
    'count': count.tolist(),
    'confidence': means(sure),
    'accuracy': means(hits),
  }


def joined(several: Sequence[Mapping[str, Sequence]]) -> dict[str, list]:
  """The bins of several networks, or seeds of one, as those of one."""
  counts = np.array([bins['count'] for bins in several])
  total = counts.sum(0)

  def means(key):
    values = [[x or 0.0 for x in bins[key]] for bins in several]
    sums = (counts * np.array(values)).sum(0)
    return [float(s / n) if n else None for s, n in zip(sums, total)]

  return {
    'count': total.tolist(),
    **{key: means(key) for key in several[0] if key != 'count'},
  }


def calibration_error(bins: dict[str, list]) -> float:
  """Expected calibration error: sum_b n_b / N |accuracy_b - confidence_b|.

  Args:
    bins: from `reliability`.

  Returns:
    In [0, 1]; 0 where confidence equals accuracy in every bin.

  Source: Guo, Pleiss, Sun, Weinberger (2017), equation 3;
    https://arxiv.org/abs/1706.04599; 15 bins as there.
  """
  gaps = [
    n * abs(a - c)
    for n, a, c in zip(bins['count'], bins['accuracy'], bins['confidence'])
    if n
  ]
  return float(sum(gaps) / sum(bins['count']))


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """How often class i (row) was taken for class j: i64 [K, K]."""
  count = np.shape(logits)[-1]
  matrix = np.zeros((count, count), np.int64)
  np.add.at(matrix, (hard(labels), np.argmax(logits, -1)), 1)
  return matrix


def per_class(logits: np.ndarray, labels: np.ndarray) -> list[float | None]:
  """Accuracy on the examples of each class; None where there are none."""
  matrix = confusion(logits, labels)
  return [
    float(matrix[k, k] / n) if n else None for k, n in enumerate(matrix.sum(-1))
  ]


def cka(x: np.ndarray, y: np.ndarray) -> float | None:
  """Linear CKA: how similarly two layers place the same examples.

  With X and Y centered over the examples:
  |Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F). Rotating or scaling a layer does not
  change it. With fewer examples than dimensions it is too high.

  Args:
    x: [N, ...] activations of a layer, flattened to [N, D].
    y: [N, ...] of another layer on the same examples; D may differ.

  Returns:
    In [0, 1]; None where a layer is constant.

  Source: Kornblith, Norouzi, Lee, Hinton (2019), section 3;
    https://arxiv.org/abs/1905.00414
  """
  x, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (x, y))
  x, y = (a - a.mean(0) for a in (x, y))
  if max(x.shape[1], y.shape[1]) > len(x):
    # The same in terms of the N x N matrices of inner products.
    x, y = x @ x.T, y @ y.T
    cross, ours, theirs = (x * y).sum(), np.linalg.norm(x), np.linalg.norm(y)
  else:
    cross = np.square(y.T @ x).sum()
    ours, theirs = np.linalg.norm(x.T @ x), np.linalg.norm(y.T @ y)
  return float(cross / (ours * theirs)) if ours * theirs else None


def mean_of(teachers: list[np.ndarray]) -> np.ndarray:
  """Logits [N, K] of the mean of several teachers' probabilities."""
  logs = np.stack([log_softmax(logits) for logits in teachers])
  top = logs.max(0)
  return top + np.log(np.exp(logs - top).mean(0))


def measure(
  logits: np.ndarray, labels: np.ndarray, teacher: np.ndarray | None = None
) -> dict[str, Any]:
  """Every number about a network that its test logits give.

  Args:
    logits: [N, K].
    labels: i [N] or [N, K].
    teacher: logits [N, K] of what it is compared with, or None.

  Returns:
    JSON-like; fractions in [0, 1], 'nll' and 'kl' in nats.
  """
  bins = reliability(logits, labels)
  numbers = {
    tasks.CLASSIFICATION.score: float(right(logits, labels).mean()),
    'correct': int(right(logits, labels).sum()),
    'nll': nll(logits, labels),
    'calibration_error': calibration_error(bins),
    'reliability': bins,
    'per_class': per_class(logits, labels),
  }
  if teacher is None:
    return {**numbers, 'agreement': None, 'agreement_top5': None, 'kl': None}
  return {
    **numbers,
    'agreement': agreement(logits, teacher),
    'agreement_top5': agreement(logits, teacher, 5),
    'kl': kl(teacher, logits),
  }


def examples(
  labels: np.ndarray,
  teacher: np.ndarray,
  baseline: np.ndarray,
  student: np.ndarray,
) -> dict[str, list[int]]:
  """The examples that the student learned from its teacher, and those lost.

  Args:
    labels: i [N] or [N, K].
    teacher, baseline, student: logits [N, K].

  Returns:
    'learned': the examples that teacher and student have right and the
    baseline has not; 'lost': those that the baseline has right and the
    student has not. The largest change of the label's probability first.
  """
  label = hard(labels)
  taught, alone, ours = (right(x, label) for x in (teacher, baseline, student))
  rows = np.arange(len(label))
  change = (
    np.exp(log_softmax(student))[rows, label]
    - np.exp(log_softmax(baseline))[rows, label]
  )

  def ordered(where, by):
    index = np.flatnonzero(where)
    return index[np.argsort(-by[index], kind='stable')].tolist()

  return {
    'learned': ordered(ours & taught & ~alone, change),
    'lost': ordered(alone & ~ours, -change),
  }
