"""Whether distillation helped, in words, and the evidence for it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kd_jax import tasks
from kd_jax.compare import resampling, statistics

HELPED, HURT, SAME = 'helped', 'hurt', 'no difference'
TOLD = HELPED, HURT
UNKNOWN = 'one run'  # no verdict: other seeds are unknown
UNDEFINED = 'no score'  # no verdict: there is nothing to compare
_OTHERS = (
  'Other seeds would change both, and one run cannot tell by how much: train '
  'with seeds=3 or more for a verdict.'
)


def of_run(student: np.ndarray, baseline: np.ndarray) -> dict[str, Any]:
  """What one run on one test set says of distillation: no verdict.

  Interval and p are over the test examples of these two networks alone;
  networks of other seeds may differ more than that.

  Args:
    student: bool [N], where the distilled student is right.
    baseline: bool [N], where the student trained alone is right.

  Returns:
    'outcome' (always `UNKNOWN`), 'text' (one sentence), 'evidence' (what it
    rests on), 'difference' and 'interval' in [-1, 1], and 'p_examples' of
    McNemar's test.
  """
  student, baseline = np.asarray(student, bool), np.asarray(baseline, bool)
  only = int((student & ~baseline).sum())
  other = int((baseline & ~student).sum())
  p = statistics.mcnemar(only, other)
  numbers = {
    'outcome': UNKNOWN,
    'difference': (only - other) / student.size,
    'interval': list(
      statistics.over_examples(student.astype(float) - baseline)
    ),
    'p_examples': p,
    'only_student': only,
    'only_baseline': other,
    'examples': student.size,
    'seeds': 1,
  }
  evidence = (
    f'One training run of each, on the same {student.size} test examples: '
    f'{only} of them only the distilled student got right, {other} only the '
    f"student alone (McNemar's exact test, p {shown_p(p)}). {_OTHERS}"
  )
  text = _sentence(numbers, tasks.CLASSIFICATION)
  return {**numbers, 'text': text, 'evidence': evidence}


def of_drawn_run(
  student: resampling.Resampled,
  baseline: resampling.Resampled,
  task: tasks.Task,
) -> dict[str, Any]:
  """As `of_run`, of scores that are no means of independent predictions.

  Args:
    student: the score of the distilled student.
    baseline: that of the student trained alone, on the same draws.
    task: of the labels.

  Returns:
    As `of_run`; as `without_score` where one of them has none.
  """
  difference = student.minus(baseline)
  if not np.isfinite(difference.value):
    values = [student.value], [baseline.value]
    return without_score(*values, task, difference.count)
  numbers = {
    'outcome': UNKNOWN,
    'difference': difference.value,
    'interval': list(difference.interval(statistics.LEVEL)),
    'p_examples': difference.p(),
    'examples': difference.count,
    'seeds': 1,
  }
  evidence = (
    f'One training run of each, on the same {difference.count} test examples: '
    f'{difference.how}, the same ones for both networks (p '
    f'{shown_p(numbers["p_examples"])}). {_OTHERS}'
  )
  text = _sentence(numbers, task)
  return {**numbers, 'text': text, 'evidence': evidence}


def of_seeds(
  student: Sequence[float],
  baseline: Sequence[float],
  difference: np.ndarray | resampling.Resampled | None = None,
  task: tasks.Task = tasks.CLASSIFICATION,
) -> dict[str, Any]:
  """Whether distillation helped, from several seeds on one test set.

  Seeds and test examples both vary: the interval is `statistics.over_both`
  and p is the one at which that interval would end at zero.

  Args:
    student: S scores of the distilled student, at least two.
    baseline: S scores of the student alone with the same seeds.
    difference: f [N], per test example: the mean over seeds of right minus
      right alone; or that of scores with draws; None where the examples are
      unknown.
    task: of the labels.

  Returns:
    As `of_run`, with 'p' in place of 'p_examples', and 'differences' by seed;
    as `without_score` where a seed of one of them has none.
  """
  examples = None if difference is None else statistics.size(difference)
  differences = np.subtract(student, baseline)
  if not np.isfinite(differences).all():
    return without_score(student, baseline, task, examples)
  over_seeds = statistics.over_seeds(differences)
  low, high = statistics.over_both(differences, difference)
  numbers = {
    'outcome': outcome(*sorted(task.better * end for end in (low, high))),
    'difference': float(differences.mean()),
    'interval': [low, high],
    'p': statistics.p_over_both(differences, difference),
    'differences': differences.tolist(),
    'over_seeds': list(over_seeds),
    'seeds': differences.size,
    'examples': examples,
  }
  seeds = differences.size
  better = int((task.better * differences > 0).sum())
  evidence = (
    f'{seeds} seeds, each paired with the student trained alone with that '
    f'seed: the distilled student is better in {better} of {seeds}. Variation '
    'between seeds (paired t) alone gives '
    f'±{_plain(_half(over_seeds), task)}{_points(task)}'
  )
  if difference is not None:
    half = _half(statistics.over_examples(difference))
    evidence += (
      f', the {examples} test examples alone ±{_plain(half, task)}; '
      'the interval covers both'
    )
  evidence += f' (p {shown_p(numbers["p"])}).'
  text = _sentence(numbers, task)
  return {**numbers, 'text': text, 'evidence': evidence}


def without_score(
  student: Sequence[float],
  baseline: Sequence[float],
  task: tasks.Task,
  examples: int | None,
) -> dict[str, Any]:
  """The verdict where a score is not defined: that there is none.

  Args:
    student: S scores of the distilled student, NaN where there is none.
    baseline: likewise, of the student alone.
    task: of the labels.
    examples: of the test set; None where they are unknown.

  Returns:
    As `of_run`, of outcome `UNDEFINED`; 'difference', 'interval' and 'p' are
    None.
  """
  lacks = ~np.isfinite([student, baseline])
  named = ('the distilled student', 'the student alone')
  whose = ' and '.join(x for x, lack in zip(named, lacks) if lack.any())
  seeds = len(student)
  where = f' in {lacks.any(0).sum()} of {seeds} seeds' if seeds > 1 else ''
  return {
    'outcome': UNDEFINED,
    'difference': None,
    'interval': None,
    'p': None,
    'examples': examples,
    'seeds': seeds,
    'text': (
      f'No score, so no verdict: test {task.title} is not defined for {whose}'
      f'{where}, because {task.undefined}.'
    ),
    'evidence': (
      'Without a score there is no difference and no p; the comparison does '
      'not count where several are corrected for their number.'
    ),
  }


def _points(task: tasks.Task) -> str:
  """The unit of a difference."""
  return ' points' if task.unit == '%' else ''


def _plain(value: float, task: tasks.Task) -> str:
  """Half the width of an interval as text."""
  return tasks.changed(value, task.unit).removeprefix('+')


def _half(interval: tuple[float, float]) -> float:
  return (interval[1] - interval[0]) / 2


def outcome(low: float, high: float) -> str:
  """What an interval says of a difference where more is better."""
  if low > 0:
    return HELPED
  return HURT if high < 0 else SAME


def _sentence(numbers, task: tasks.Task) -> str:
  """The verdict in one sentence."""
  low, high = (tasks.changed(x, task.unit) for x in numbers['interval'])
  change = (
    f'{tasks.changed(numbers["difference"], task.unit)}{_points(task)} of test '
    f'{task.title} against the student trained alone'
  )
  ends = f'{low} to {high}'
  if numbers['outcome'] == UNKNOWN:
    return (
      f'One run, so no verdict: {change} (95 % interval over the '
      f'{numbers["examples"]} test examples {ends}; other seeds are unknown).'
    )
  start = {
    HELPED: 'Distillation helped',
    HURT: 'Distillation hurt (negative transfer)',
    SAME: 'Distillation made no measurable difference',
  }[numbers['outcome']]
  seeds = numbers['seeds']
  return f'{start}: {change} (95 % interval {ends}, {seeds} seeds).'


def shown_p(p: float) -> str:
  """A p value as text, with no more digits than are known."""
  return '< 0.001' if p < 0.001 else f'= {p:.2g}'
