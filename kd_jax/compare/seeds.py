"""Combines the reports of one config's seeds into one."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import tasks
from kd_jax.compare import fidelity, resampling, results, statistics, verdict
from kd_jax.compare import table as tables

# Those of every task beside its score.
NUMBERS = (
  'kept',
  'nll',
  'calibration_error',
  'agreement',
  'agreement_top5',
  'kl',
)


def over_seeds(
  reports: Sequence[Mapping[str, Any]],
  right: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
  """Makes one report of several that differ only in their seed.

  Args:
    reports: from `compare.compare`, in the order of the seeds.
    right: per seed {row: bool [N]}, where each network is right, or its score
      with draws; without them, or where the test sets differ, the verdict
      rests on the seeds.

  Returns:
    A report whose numbers are {'mean', 'sd', 'values'}; what a network costs
    is the same for all seeds, its latency the median over them.
  """
  first = reports[0]
  rows = [
    row
    for row in first['networks']
    if all(row in other['networks'] for other in reports)
  ]
  task, mean = tasks.task_of(first), None
  if right is not None:
    mean = {
      row: statistics.over_runs([seed[row] for seed in right]) for row in rows
    }
  same = ('data', 'select', 'teacher', 'means', 'students', 'device')
  named = ('task',) if 'task' in first else ()
  verdicts = {
    row: judged(reports, mean, row, alone)
    for row, alone in first['students'].items()
  }
  return {
    'kind': 'seeds',
    'rows': rows,
    'seeds': len(reports),
    **{key: first[key] for key in (*named, *same)},
    'stages': first.get('stages', []),
    'networks': {
      row: together(
        [report['networks'][row] for report in reports],
        first['data']['test'],
        task,
        mean and mean[row],
      )
      for row in rows
    },
    'verdicts': verdicts,
    'verdict': next(iter(verdicts.values())),
    'gap_closed': {
      row: gap(mean, first['teacher'], alone, row, task)
      for row, alone in first['students'].items()
    },
    'examples': summary([report['examples'] for report in reports]),
    'alike': summary([report['alike'] for report in reports]),
  }


def judged(reports, mean, row: str, alone: str | None) -> dict | None:
  """The verdict on a student; None where it was not trained alone."""
  if alone is None:
    return None
  if len(reports) == 1:
    return reports[0]['verdicts'][row]
  task = tasks.task_of(reports[0])
  ours, theirs = (
    [_known(report['networks'][name][task.score]) for report in reports]
    for name in (row, alone)
  )
  difference = mean and statistics.minus(mean[row], mean[alone])
  return verdict.of_seeds(ours, theirs, difference, task)


def _known(score: float | None) -> float:
  """A score as read from JSON, NaN where there is none."""
  return np.nan if score is None else score


def gap(
  mean, teacher: str | None, alone: str | None, row: str, task: tasks.Task
) -> float | None:
  """The part of the gap that is closed, of the mean over seeds."""
  if mean is None or teacher is None or alone is None:
    return None
  return statistics.gap_closed(
    mean[teacher], mean[alone], mean[row], task.better
  )


def together(
  rows: Sequence[Mapping[str, Any]],
  count: int,
  task: tasks.Task,
  drawn: Any = None,
) -> dict[str, Any]:
  """Combines one network's seeds.

  Args:
    rows: of the network in each seed's report.
    count: test examples.
    task: of the labels.
    drawn: the mean over seeds of its score with draws, where the task has
      such scores; None where the examples are unknown.
  """
  first = rows[0]
  moments = {}
  for moment in ('last', 'best'):
    scores = [row[moment] and row[moment][task.score] for row in rows]
    score = summary(scores)
    moments[moment] = None if score is None else {task.score: score}
  scores = [_known(row[task.score]) for row in rows]
  if task.single:
    interval = statistics.of_accuracy(scores, count)
  else:
    interval = statistics.of_score(scores, drawn)
  if not np.isfinite([*scores, *interval]).all():
    interval = None
  elif task.unit == '%':
    interval = [max(0.0, interval[0]), min(1.0, interval[1])]
  keys = (task.score, *(name for name, *_ in task.also), *NUMBERS)
  return {
    'network': first['network'],
    'ratio': first['ratio'],
    'per_class': per_class(rows),
    **{key: summary([row.get(key) for row in rows]) for key in keys},
    'interval': interval and list(interval),
    **moments,
    'cost': {
      **first['cost'],
      'latency': {
        size: middle([row['cost']['latency'][size] for row in rows])
        for size in first['cost']['latency']
      },
    },
  }


def per_class(rows: Sequence[Mapping[str, Any]]) -> list[float] | None:
  """The mean over seeds of the score of each class; None without any."""
  if rows[0]['per_class'] is None:
    return None
  known = [[_known(x) for x in row['per_class']] for row in rows]
  return np.mean(known, 0).tolist()


def middle(times: Sequence[Mapping[str, float]]) -> dict[str, float]:
  """The median over seeds of a latency's numbers."""
  return {key: float(np.median([t[key] for t in times])) for key in times[0]}


def summary(values: Sequence[Any]) -> Any:
  """Numbers -> {'mean', 'sd', 'values'}, within mappings and lists.

  sd has S - 1 in the denominator, and is 0 for one seed. If any value is None
  the summary is None; of texts it is the first.
  """
  first = values[0]
  if any(value is None for value in values):
    return None
  if isinstance(first, Mapping):
    return {key: summary([v[key] for v in values]) for key in first}
  if isinstance(first, list):
    return [summary(list(v)) for v in zip(*values)]
  if isinstance(first, str):
    return first
  # Equal values must not differ by the rounding of their mean.
  sd = float(np.std(values, ddof=1)) if len(set(values)) > 1 else 0.0
  return {'mean': float(np.mean(values)), 'sd': sd, 'values': list(values)}


def combine(
  workdir: pathlib.Path, folders: Sequence[pathlib.Path]
) -> dict[str, Any]:
  """Writes the report of a folder of seeds: report.json.

  Args:
    workdir: where it is written.
    folders: the run folders of the seeds, within it.

  Returns:
    The report over the seeds.

  Raises:
    ValueError: where one of them is not finished.
  """
  runs = [results.read(folder).runs[0] for folder in folders]
  right = [scores_of(run) for run in runs]
  if not all(same_examples(run, runs[0]) for run in runs):
    right = None
  names = [str(pathlib.Path(f).relative_to(workdir)) for f in folders]
  report = over_seeds([run.report for run in runs], right)
  report = results.finite({**report, 'runs': names})
  results.write_report(workdir, report)
  return report


def scores_of(run: results.Run) -> dict[str, Any]:
  """{row: bool [N], where it is right, or its score with draws}."""
  task = tasks.task_of(run.report)
  if task.single:
    return {r: fidelity.right(x, run.labels) for r, x in run.logits.items()}
  data = run.report['data']
  draws = resampling.make_draws(
    data['test'], run.sequences, tables.example(run.report)
  )
  return {row: resampling.score(task, x, draws) for row, x in run.sums.items()}


def same_examples(run: results.Run, other: results.Run) -> bool:
  """Whether two runs were tested on the same examples."""
  keys = ('fingerprint', 'test', 'counts')
  if tasks.task_of(run.report).single:
    return np.array_equal(run.labels, other.labels)
  return all(run.report['data'][k] == other.report['data'][k] for k in keys)
