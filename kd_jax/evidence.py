"""What a difference in accuracy can be said to show, and how sure that is."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LEVEL = 0.95
HELPED, HURT, SAME = 'helped', 'hurt', 'no difference'


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
  half = z * math.sqrt(
    share * (1 - share) / count + z * z / (4 * count * count)
  ) / (1 + z * z / count)
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
  from scipy import stats  # half a second

  if not ours + theirs:
    return 1.0
  return float(stats.binomtest(ours, ours + theirs).pvalue)


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
  from scipy import stats

  values = np.asarray(differences, np.float64)
  if values.size < 2:
    raise ValueError(f'an interval over seeds needs two, not {values.size}')
  t = stats.t.ppf((1 + level) / 2, values.size - 1)
  half = t * values.std(ddof=1) / math.sqrt(values.size)
  return float(values.mean() - half), float(values.mean() + half)


def _normal(level: float) -> float:
  """The z with P(|Z| <= z) = level for a standard normal Z."""
  import statistics

  return statistics.NormalDist().inv_cdf((1 + level) / 2)


def of_run(student: np.ndarray, baseline: np.ndarray) -> dict[str, Any]:
  """Whether distillation helped, from one run on one test set.

  It is said to have helped or hurt only where both the exact test and the
  interval tell; a single run says nothing about other seeds.

  Args:
    student: bool [N], where the distilled student is right.
    baseline: bool [N], where the student trained alone is right.

  Returns:
    'outcome', 'text' (one sentence), 'evidence' (what it rests on) and the
    numbers of both; differences in [-1, 1].
  """
  student, baseline = np.asarray(student, bool), np.asarray(baseline, bool)
  only = int((student & ~baseline).sum())
  other = int((baseline & ~student).sum())
  interval = over_examples(student.astype(float) - baseline)
  p = mcnemar(only, other)
  outcome = _outcome(*interval) if p < 1 - LEVEL else SAME
  found = {
    'outcome': outcome,
    'difference': (only - other) / student.size,
    'interval': list(interval),
    'p': p,
    'only_student': only,
    'only_baseline': other,
    'examples': student.size,
    'seeds': 1,
  }
  evidence = (
    f'One training run of each, on the same {student.size} test examples: '
    f'{only} of them only the distilled student got right, {other} only the '
    f"student alone (McNemar's exact test, p = {shown_p(p)}). How far other "
    'seeds would differ, one run cannot tell.'
  )
  scores = float(student.mean()), float(baseline.mean())
  return {**found, 'text': _sentence(found, *scores), 'evidence': evidence}


def of_seeds(
  student: Sequence[float],
  baseline: Sequence[float],
  difference: np.ndarray | None = None,
) -> dict[str, Any]:
  """Whether distillation helped, from several seeds on one test set.

  Seeds and test examples are both drawn; the half width of the interval is
  the root of the sum of squares of the two, over seeds (paired t) and over
  examples (of the mean over seeds), which errs on the wide side.

  Args:
    student: S accuracies of the distilled student, at least two.
    baseline: S accuracies of the student alone with the same seeds.
    difference: f [N], per test example: the mean over seeds of right minus
      right alone; None where the examples are not known.

  Returns:
    As `of_run`, and 'differences' by seed.
  """
  differences = np.subtract(student, baseline)
  mean, seeds = float(differences.mean()), differences.size
  spread = half = _half(over_seeds(differences))
  examples = None
  if difference is not None:
    examples = _half(over_examples(difference))
    half = math.hypot(half, examples)
  found = {
    'outcome': _outcome(mean - half, mean + half),
    'difference': mean,
    'interval': [max(-1.0, mean - half), min(1.0, mean + half)],
    'differences': differences.tolist(),
    'over_seeds': list(over_seeds(differences)),
    'seeds': seeds,
    'examples': None if difference is None else len(difference),
  }
  better = int((differences > 0).sum())
  evidence = (
    f'{seeds} seeds, each paired with the student trained alone with that '
    f'seed: the distilled student is the better in {better}. The spread over '
    f'seeds alone (paired t) leaves ±{100 * spread:.1f} points'
  )
  if examples is not None:
    evidence += (
      f', the {len(difference)} test examples alone ±{100 * examples:.1f}; '
      'the interval allows for both'
    )
  scores = float(np.mean(student)), float(np.mean(baseline))
  text = _sentence(found, *scores)
  return {**found, 'text': text, 'evidence': evidence + '.'}


def _half(interval: tuple[float, float]) -> float:
  return (interval[1] - interval[0]) / 2


def _outcome(low: float, high: float) -> str:
  if low > 0:
    return HELPED
  return HURT if high < 0 else SAME


def _sentence(found, student: float, baseline: float) -> str:
  """The verdict in one sentence."""
  low, high = (100 * x for x in found['interval'])
  several = found['seeds'] > 1
  numbers = (
    f'{100 * found["difference"]:+.1f} points of test accuracy against the '
    f'student trained alone, {100 * student:.1f} % against '
    f'{100 * baseline:.1f} % (95 % interval {low:+.1f} to {high:+.1f}'
    + (f', {found["seeds"]} seeds)' if several else ')')
  )
  lead = '' if several else 'In this run '
  start = {
    HELPED: f'{lead}distillation helped',
    HURT: f'{lead}distillation hurt (negative transfer)',
    SAME: f'{lead}distillation made no difference that the interval can tell',
  }[found['outcome']]
  return f'{start[0].upper()}{start[1:]}: {numbers}.'


def shown_p(p: float) -> str:
  """A p value as one reads it: no more digits than it has."""
  return 'below 0.001' if p < 0.001 else f'{p:.2g}'


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
