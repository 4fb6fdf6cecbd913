"""Intervals and tests of accuracies and of their differences."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

LEVEL = 0.95


def wilson(
  correct: int, count: int, level: float = LEVEL
) -> tuple[float, float]:
  """The Wilson score interval of a proportion.

  The p with |correct/count - p| <= z sqrt(p (1 - p) / count); unlike
  p +- z se it keeps within [0, 1] and is no point at 0 and 1.

  Args:
    correct: successes.
    count: trials, at least 1.
    level: of confidence.

  Returns:
    (low, high) in [0, 1].

  Source: Wilson (1927), Journal of the American Statistical Association 22,
    209; https://doi.org/10.1080/01621459.1927.10502953
  """
  z = _normal(level)
  share = correct / count
  middle = (share + z * z / (2 * count)) / (1 + z * z / count)
  half = (
    z
    * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    / (1 + z * z / count)
  )
  # Rounding must not leave the proportion outside its interval.
  return max(0.0, min(middle - half, share)), min(
    1.0, max(middle + half, share)
  )


def mcnemar(ours: int, theirs: int) -> float:
  """The exact two-sided p of McNemar's test.

  Args:
    ours: examples that only the first network has right.
    theirs: examples that only the second one has right.

  Returns:
    Probability of a split at least so uneven where either is as likely.

  Source: McNemar (1947), Psychometrika 12, 153;
    https://doi.org/10.1007/BF02295996; the binomial in place of its chi^2.
  """
  tail = special.bdtr(min(ours, theirs), ours + theirs, 0.5)
  return min(1.0, 2 * float(tail))


def over_examples(
  difference: np.ndarray, level: float = LEVEL
) -> tuple[float, float]:
  """The interval of a mean difference over examples seen by both networks.

  With d_i in [-1, 1] the difference on example i and n' = N + 2:
  m = sum d_i / n', m +- z sqrt(((sum d_i^2 + 1) / n' - m^2) / n').
  For differences of right and wrong this is Agresti and Min's: half an
  example more in each of the four cells, so that it is no point where the
  networks differ nowhere.

  Args:
    difference: f [N].
    level: of confidence.

  Returns:
    (low, high) in [-1, 1].

  Source: Agresti and Min (2005), Statistics in Medicine 24, 729, section 3;
    https://doi.org/10.1002/sim.1781
  """
  difference = np.asarray(difference, np.float64)
  count = difference.size + 2
  middle = difference.sum() / count
  square = (np.square(difference).sum() + 1) / count
  half = _normal(level) * math.sqrt((square - middle * middle) / count)
  return float(max(-1.0, middle - half)), float(min(1.0, middle + half))


def over_seeds(
  differences: Sequence[float], level: float = LEVEL
) -> tuple[float, float]:
  """Student's interval of the mean of paired differences, one a seed.

  mean +- t sd / sqrt(S), t the quantile at S - 1 degrees of freedom.

  Raises:
    ValueError: for less than two seeds.
  """
  values = np.asarray(differences, np.float64)
  if values.size < 2:
    raise ValueError(f'an interval over seeds needs two, not {values.size}')
  t = special.stdtrit(values.size - 1, (1 + level) / 2)
  half = t * values.std(ddof=1) / math.sqrt(values.size)
  return float(values.mean() - half), float(values.mean() + half)


def _normal(level: float) -> float:
  """The z with P(|Z| <= z) = level for a standard normal Z."""
  return float(special.ndtri((1 + level) / 2))


def gap_closed(
  teacher: np.ndarray, baseline: np.ndarray, student: np.ndarray
) -> float | None:
  """The part of the gap between baseline and teacher that is closed.

  (student - baseline) / (teacher - baseline), of accuracies: 1 as good as the
  teacher, below 0 negative transfer.

  Args:
    teacher, baseline, student: bool [N], where each is right.

  Returns:
    The fraction; None where the interval cannot tell the gap from none, since
    a quotient by what may be nothing says nothing.
  """
  teacher, baseline, student = (
    np.asarray(x, np.float64) for x in (teacher, baseline, student)
  )
  if over_examples(teacher - baseline)[0] <= 0:
    return None
  gap = teacher.mean() - baseline.mean()
  return float((student.mean() - baseline.mean()) / gap)
