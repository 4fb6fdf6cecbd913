"""Intervals and tests of scores and of their differences.

Accuracies are means of independent predictions; other scores come with draws
from their examples (see `resampling`).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from kd_jax.compare import resampling

LEVEL = 0.95
LEAST_LOG_P = -700.0  # exp of less is 0


def wilson(
  correct: int, count: int, level: float = LEVEL
) -> tuple[float, float]:
  """The Wilson score interval of a proportion.

  The p with |correct/count - p| <= z sqrt(p (1 - p) / count); unlike
  p +- z se it stays within [0, 1] and has a width at 0 and at 1.

  Args:
    correct: successes.
    count: trials, at least 1.
    level: of confidence.

  Returns:
    (low, high) in [0, 1].

  Source: Wilson (1927), Journal of the American Statistical Association 22,
    209; https://doi.org/10.1080/01621459.1927.10502953; as in SciPy.
  """
  test = _stats().binomtest(int(correct), int(count))
  interval = test.proportion_ci(level, method='wilson')
  return float(interval.low), float(interval.high)


def mcnemar(ours: int, theirs: int) -> float:
  """The exact two-sided p of McNemar's test.

  Args:
    ours: examples that only the first network gets right.
    theirs: examples that only the second one gets right.

  Returns:
    Probability of a split at least this uneven if both are equally likely.

  Source: McNemar (1947), Psychometrika 12, 153;
    https://doi.org/10.1007/BF02295996; the binomial in place of its chi^2.
  """
  if not ours + theirs:
    return 1.0
  return float(_stats().binomtest(int(ours), int(ours + theirs)).pvalue)


def _stats():
  """scipy.stats, which takes a second to import: only where it is needed."""
  from scipy import stats

  return stats


def of_accuracy(
  accuracies: Sequence[float], count: int, level: float = LEVEL
) -> tuple[float, float]:
  """The interval of an accuracy over both seeds and test examples.

  Each end lies sqrt((t se_seeds)^2 + w^2) from the mean, w the distance from
  there to that end of Wilson's interval; for one seed this is Wilson's.

  Args:
    accuracies: one per seed.
    count: test examples.
    level: of confidence.

  Returns:
    (low, high) in [0, 1].
  """
  mean = float(np.mean(accuracies))
  ends = wilson(round(mean * count), count, level)
  low, high = _with_seeds(accuracies, ends, level)
  return max(0.0, low), min(1.0, high)


def of_score(
  scores: Sequence[float],
  drawn: resampling.Resampled | None,
  level: float = LEVEL,
) -> tuple[float, float]:
  """As `of_accuracy`, of any score.

  Args:
    scores: one per seed.
    drawn: their mean over seeds and draws of it; None where the examples are
      unknown, which leaves the interval over seeds.
    level: of confidence.
  """
  mean = float(np.mean(scores))
  ends = (mean, mean) if drawn is None else drawn.interval(level)
  return _with_seeds(scores, ends, level)


def _with_seeds(scores, ends, level) -> tuple[float, float]:
  """Widens an interval over examples by the variation of seeds."""
  mean, half = float(np.mean(scores)), 0.0
  if len(scores) > 1:
    _, error, freedom = _moments_over_seeds(scores)
    half = _t(1 - level, freedom) * error
  low, high = ends
  low, high = math.hypot(half, mean - low), math.hypot(half, high - mean)
  return mean - low, mean + high


def over_examples(
  difference: np.ndarray | resampling.Resampled, level: float = LEVEL
) -> tuple[float, float]:
  """The interval of a mean difference over examples seen by both networks.

  With d_i in [-1, 1] the difference on example i and n' = N + 2:
  m = sum d_i / n', m +- z sqrt(((sum d_i^2 + 1) / n' - m^2) / n').
  For differences of right and wrong this is Agresti and Min's: half an
  example is added to each of the four cells, so that the interval has a
  width even where the networks never differ.

  Args:
    difference: f [N]; or of scores that are no means, with draws: then the
      percentile interval of those.
    level: of confidence.

  Returns:
    (low, high) in [-1, 1].

  Source: Agresti and Min (2005), Statistics in Medicine 24, 729, section 3;
    https://doi.org/10.1002/sim.1781
  """
  if isinstance(difference, resampling.Resampled):
    return difference.interval(level)
  middle, error = _moments_over_examples(difference)
  half = _z(1 - level) * error
  return max(-1.0, middle - half), min(1.0, middle + half)


def _moments_over_examples(difference) -> tuple[float, float]:
  """Agresti and Min's mean of a difference f [N], and its standard error.

  Of a difference with draws: its own.
  """
  if isinstance(difference, resampling.Resampled):
    return difference.value, difference.error()
  difference = np.asarray(difference, np.float64)
  count = difference.size + 2
  middle = float(difference.sum()) / count
  square = (float(np.square(difference).sum()) + 1) / count
  return middle, math.sqrt((square - middle * middle) / count)


def over_seeds(
  differences: Sequence[float], level: float = LEVEL
) -> tuple[float, float]:
  """Student's interval of the mean of paired differences, one per seed.

  mean +- t sd / sqrt(S), t the quantile at S - 1 degrees of freedom.

  Raises:
    ValueError: for fewer than two seeds.
  """
  mean, error, freedom = _moments_over_seeds(differences)
  half = _t(1 - level, freedom) * error
  return mean - half, mean + half


def _moments_over_seeds(differences) -> tuple[float, float, int]:
  """Mean over seeds, its standard error, and the degrees of freedom."""
  values = np.asarray(differences, np.float64)
  if values.size < 2:
    raise ValueError(f'an interval over seeds needs two, not {values.size}')
  error = float(values.std(ddof=1)) / math.sqrt(values.size)
  return float(values.mean()), error, values.size - 1


def over_both(
  differences: Sequence[float],
  difference: np.ndarray | resampling.Resampled | None = None,
  level: float = LEVEL,
) -> tuple[float, float]:
  """The interval of a mean difference over both seeds and test examples.

  mean +- sqrt((t se_seeds)^2 + (z se_examples)^2), with the half widths of
  `over_seeds` and `over_examples`. A t quantile on the root of both variances
  would be narrower: this errs on the wide side.

  Args:
    differences: one per seed, at least two.
    difference: f [N], per test example: the mean over seeds; or that of
      scores with draws; None where the examples are unknown, which leaves the
      interval over seeds.
    level: of confidence.

  Returns:
    (low, high), in [-1, 1] but for scores with draws; NaN where a seed has no
    difference.
  """
  mean, error, freedom = _moments_over_seeds(differences)
  half = _t(1 - level, freedom) * error
  if difference is not None:
    _, other = _moments_over_examples(difference)
    half = math.hypot(half, _z(1 - level) * other)
  low, high = mean - half, mean + half
  if isinstance(difference, resampling.Resampled) or math.isnan(mean):
    return low, high  # of a score that may be any number, a perplexity
  return max(-1.0, low), min(1.0, high)


def p_over_both(
  differences: Sequence[float],
  difference: np.ndarray | resampling.Resampled | None = None,
) -> float:
  """The two-sided p that belongs to the interval of `over_both`.

  The p at which the interval of level 1 - p ends at zero:
  mean^2 = (t_{1-p/2} se_seeds)^2 + (z_{1-p/2} se_examples)^2. It is below
  0.05 exactly where the interval of 95 % excludes zero.

  Args:
    differences, difference: as in `over_both`.

  Returns:
    In [0, 1]; without examples the p of the paired t test. NaN where a seed
    has no difference.
  """
  mean, error, freedom = _moments_over_seeds(differences)
  other = 0.0 if difference is None else _moments_over_examples(difference)[1]
  mean = abs(mean)
  if math.isnan(mean):
    return mean
  if not mean:
    return 1.0

  def beyond(log_p: float) -> float:
    p = math.exp(log_p)
    # Of differences that are all equal no part is from seeds: not 0 x inf.
    of_seeds = _t(p, freedom) * error if error else 0.0
    return math.hypot(of_seeds, _z(p) * other) - mean

  if beyond(LEAST_LOG_P) <= 0:
    return 0.0
  return math.exp(optimize.brentq(beyond, LEAST_LOG_P, 0.0))


def holm(p_values: Sequence[float]) -> list[float]:
  """Holm's adjusted p of a family of tests.

  With p sorted, p_(i) becomes max_{j <= i} min(1, (m - j + 1) p_(j)). Where
  those at most 0.05 are called differences, the probability of any false one
  among all m is at most 5 %, whatever the dependence of the tests.

  Args:
    p_values: m of them, in any order.

  Returns:
    The adjusted ones in the same order.

  Source: Holm (1979), Scandinavian Journal of Statistics 6, 65;
    https://www.jstor.org/stable/4615733
  """
  p = np.asarray(p_values, np.float64)
  order = np.argsort(p, kind='stable')
  factors = p.size - np.arange(p.size)
  adjusted = np.empty_like(p)
  adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
  return adjusted.tolist()


def _z(p: float) -> float:
  """The z with P(|Z| > z) = p for a standard normal Z."""
  return -float(special.ndtri(p / 2))


def _t(p: float, freedom: int) -> float:
  """The t with P(|T| > t) = p for Student's T."""
  return -float(special.stdtrit(freedom, p / 2))


def size(difference: np.ndarray | resampling.Resampled) -> int:
  """How many test examples a difference rests on."""
  drawn = isinstance(difference, resampling.Resampled)
  return difference.count if drawn else len(difference)


def minus(ours, theirs) -> np.ndarray | resampling.Resampled:
  """The difference of two networks: f or bool [N] each, or with draws."""
  if isinstance(ours, resampling.Resampled):
    return ours.minus(theirs)
  return np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)


def over_runs(of_seeds: Sequence):
  """The mean over seeds: of f or bool [N], or of scores with draws."""
  if isinstance(of_seeds[0], resampling.Resampled):
    return resampling.mean(of_seeds)
  return np.mean(of_seeds, 0)


def gap_closed(teacher, baseline, student, better: int = 1) -> float | None:
  """The part of the gap between baseline and teacher that is closed.

  (student - baseline) / (teacher - baseline), of scores: 1 if as good as
  the teacher, below 0 for negative transfer.

  Args:
    teacher, baseline, student: f or bool [N], where each is right; or scores
      with draws.
    better: 1 where more is better, -1 where less is.

  Returns:
    The fraction; None where the interval of the gap reaches zero, since a
    quotient by a gap that may be zero has no meaning.
  """
  gap, ours = minus(teacher, baseline), minus(student, baseline)
  ends = [better * end for end in over_examples(gap)]
  # Written so that NaN is refused too.
  if not min(ends) > 0:
    return None
  if isinstance(gap, resampling.Resampled):
    return ours.value / gap.value
  teacher, baseline, student = (
    np.asarray(x, np.float64) for x in (teacher, baseline, student)
  )
  gap = teacher.mean() - baseline.mean()
  return float((student.mean() - baseline.mean()) / gap)
