"""Draws learning curves from rows of metrics."""

from collections.abc import Mapping, Sequence

import numpy as np

from kd_jax import tasks
from kd_jax.compare import results
from kd_jax.report import pictures


def draw(
  result: results.Result, names: Mapping[str, str], colors: Mapping[str, str]
) -> list[str]:
  """The score on validation of every stage, and the losses of each."""
  task = tasks.task_of(result.report)
  return draw_rows([run.rows for run in result.runs], names, colors, task)


def draw_rows(
  runs: Sequence[Sequence[Mapping]],
  names: Mapping[str, str] = {},
  colors: Mapping[str, str] = {},
  task: tasks.Task = tasks.CLASSIFICATION,
) -> list[str]:
  """`draw`, of the rows of metrics of every run."""
  stages = dict.fromkeys(row['stage'] for rows in runs for row in rows)
  spare = iter([f'other{k}' for k in range(6)] * 20)
  paint = {s: colors.get(s) or next(spare) for s in stages}
  lines = []
  for stage in stages:
    keys = _keys(runs, stage, f'validation_{task.score}/')
    for key, style in zip(keys, ('-', '--', ':', '-.') * 9):
      who = key.split('/')[1]
      text = names.get(stage, stage) + (f', {who}' if len(keys) > 1 else '')
      lines.append(
        curve(runs, stage, key, text, paint[stage], style, task.factor)
      )
  panels = []
  if lines:
    panels.append(
      pictures.curves(lines, 'validation', on_validation(task), task.unit)
    )
  for k, stage in enumerate(stages):
    keys = _keys(runs, stage, 'loss')
    terms = [key for key in keys if key != 'loss']
    if not keys:
      continue
    # Of a single term the total is nothing new.
    shown = terms if len(terms) == 1 else keys
    panels.append(
      pictures.curves(
        [
          curve(
            runs,
            stage,
            key,
            term_title(key, len(shown) > 1),
            f'other{i % 6}' if '/' in key else 'ink',
          )
          for i, key in enumerate(sorted(shown, key=lambda x: x == 'loss'))
        ],
        f'loss{k}',
        f'Losses: {names.get(stage, stage)}',
        'nats',
        log=True,
      )
    )
  return panels


def on_validation(task: tasks.Task) -> str:
  """The title of a picture of scores on validation."""
  return f'{task.title[0].upper()}{task.title[1:]} on validation'


def term_title(key: str, several: bool) -> str:
  """A loss in a legend: terms are logged without their weight, the sum with."""
  if '/' not in key:
    return 'total (weighted sum)'
  name = key.removeprefix('loss/')
  return f'{name} (unweighted)' if several else name


def _keys(runs, stage: str, start: str) -> list[str]:
  """The metrics of a stage that begin with `start`, in the file's order."""
  return list(
    dict.fromkeys(
      key
      for rows in runs
      for row in rows
      if row['stage'] == stage
      for key in row
      if key.startswith(start)
    )
  )


def curve(
  runs, stage, key, text, color, style='-', scale=1.0
) -> pictures.Curve:
  """The mean over runs of a metric by epoch, with the smallest and largest."""
  by_epoch = {}
  for rows in runs:
    for row in rows:
      if row['stage'] == stage and key in row and 'epoch' in row:
        by_epoch.setdefault(row['epoch'], []).append(scale * row[key])
  # A seed that has no such row must not bend the mean.
  full = max((len(v) for v in by_epoch.values()), default=0)
  x = sorted(e for e, values in by_epoch.items() if len(values) == full)
  mean, low, high = (
    [float(f(by_epoch[epoch])) for epoch in x] for f in (np.mean, min, max)
  )
  return pictures.Curve(text, color, x, mean, low, high, style)
