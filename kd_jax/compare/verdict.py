"""Whether distillation helped, in words, and what that rests on."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kd_jax.compare import statistics

HELPED, HURT, SAME = 'helped', 'hurt', 'no difference'


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
  interval = statistics.over_examples(student.astype(float) - baseline)
  p = statistics.mcnemar(only, other)
  outcome = _outcome(*interval) if p < 1 - statistics.LEVEL else SAME
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
  basis = (
    f'One training run of each, on the same {student.size} test examples: '
    f'{only} of them only the distilled student got right, {other} only the '
    f"student alone (McNemar's exact test, p {shown_p(p)}). How far other "
    'seeds would differ, one run cannot tell.'
  )
  scores = float(student.mean()), float(baseline.mean())
  return {**found, 'text': _sentence(found, *scores), 'evidence': basis}


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
  spread = half = _half(statistics.over_seeds(differences))
  examples = None
  if difference is not None:
    examples = _half(statistics.over_examples(difference))
    half = math.hypot(half, examples)
  found = {
    'outcome': _outcome(mean - half, mean + half),
    'difference': mean,
    'interval': [max(-1.0, mean - half), min(1.0, mean + half)],
    'differences': differences.tolist(),
    'over_seeds': list(statistics.over_seeds(differences)),
    'seeds': seeds,
    'examples': None if difference is None else len(difference),
  }
  better = int((differences > 0).sum())
  basis = (
    f'{seeds} seeds, each paired with the student trained alone with that '
    f'seed: the distilled student is the better in {better}. The spread over '
    f'seeds alone (paired t) leaves ±{100 * spread:.1f} points'
  )
  if examples is not None:
    basis += (
      f', the {len(difference)} test examples alone ±{100 * examples:.1f}; '
      'the interval allows for both'
    )
  scores = float(np.mean(student)), float(np.mean(baseline))
  text = _sentence(found, *scores)
  return {**found, 'text': text, 'evidence': basis + '.'}


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
  return '< 0.001' if p < 0.001 else f'= {p:.2g}'
