"""The page of a sweep: the table, and scores over what was varied."""

import math
import pathlib
from collections.abc import Mapping, Sequence

from kd_jax import metrics, report, tasks
from kd_jax.compare import family
from kd_jax.compare import table as tables
from kd_jax.report import curves, maps, page, pictures

PAGE = 'sweep.html'
LINES = 6  # settings that have a learning curve: the best


def write(
  workdir: pathlib.Path,
  rows: Sequence[Mapping],
  baseline: float | None,
  commands: Mapping[str, str] = {},
  failed: Mapping[str, str] = {},
  task: tasks.Task = tasks.CLASSIFICATION,
) -> pathlib.Path:
  """Writes sweep.html beside the folders of the settings.

  Args:
    workdir: of the sweep.
    rows: as `sweep_run.launch` makes them, in the order to be shown.
    baseline: test score of the student alone, or None.
    commands: {setting: the command that trains it anew, alone}.
    failed: {setting: why it went no further}.
    task: of the labels.
  """
  best = best_of(rows, task)
  several = max(row['seeds'] for row in rows) > 1
  return report.save(
    workdir / PAGE,
    'sweep.html.jinja',
    {
      'title': f'{workdir.resolve().name}: {len(rows)} settings of one config',
      'headline': page.typeset(best_in_words(rows, task)),
      'family': page.typeset(family_in_words(rows)),
      'heads': heads(task),
      'lines': [cells(row, task) for row in rows],
      'best': best and best['setting'],
      'command': best and commands.get(best['setting']),
      'failed': failed,
      'heats': maps.heats(rows, task),
      'parallel': maps.parallel(rows, task),
      'curves': learning(workdir, rows, task),
      'several': several,
      'scores': pictures.scores(points(rows, baseline), task),
      'task': task,
      'on_validation': curves.on_validation(task),
    },
  )


def best_of(
  rows: Sequence[Mapping], task: tasks.Task = tasks.CLASSIFICATION
) -> Mapping | None:
  """The best setting on validation; None without a validation set."""
  scored = [r for r in rows if math.isfinite(r['validation'] or math.nan)]
  return max(
    scored, key=lambda row: task.better * row['validation'], default=None
  )


def best_in_words(
  rows: Sequence[Mapping], task: tasks.Task = tasks.CLASSIFICATION
) -> str:
  """Which setting is best on validation, in one sentence."""
  best = best_of(rows, task)
  if best is None:
    return 'No setting is called best: there is no validation set to choose by.'
  validation, test = (
    'not defined' if best[key] is None else tasks.shown(best[key], task.unit)
    for key in ('validation', 'test')
  )
  return (
    f'Best of {len(rows)} settings on validation: {best["setting"]}, '
    f'{validation} (test {test}; the test set was not used to choose it).'
  )


def family_in_words(rows: Sequence[Mapping]) -> str:
  """How many comparisons of the sweep hold, in words."""
  return family.sentence({row['setting']: row for row in rows})


def heads(task: tasks.Task = tasks.CLASSIFICATION) -> tuple[str, ...]:
  """The columns of the table of settings."""
  points = ', points' if task.unit == '%' else ''
  return (
    'setting',
    *(f'{on}, {task.unit}'.rstrip(', ') for on in ('validation', 'test')),
    f'against the student alone{points}',
    'p (Holm)',
    'ms/step',
    'extra parameters',
  )


def score(row: Mapping, key: str, task: tasks.Task) -> str:
  """A score of a setting, with its deviation over seeds where it has one."""
  number, spread = tables.number(tables.valued(task)), row[f'{key}_sd']
  text = number(row[key])
  return text if spread is None else f'{text} ± {number(spread)}'


def cells(
  row: Mapping, task: tasks.Task = tasks.CLASSIFICATION
) -> dict[str, object]:
  """The texts of a setting's line in the table."""
  number = tables.valued(task)

  def interval(low, high, show):
    if row[low] is None:
      return ''
    return page.typeset(' to '.join(show(row[end]) for end in (low, high)))

  def change(value):
    return tasks.changed(value, task.unit)

  difference = row['difference']
  return {
    'setting': row['setting'],
    'seeds': row['seeds'],
    'validation': score(row, 'validation', task),
    'test': score(row, 'test', task),
    'test_interval': interval('test_low', 'test_high', number),
    'difference': '-'
    if difference is None
    else page.typeset(change(difference)),
    'interval': interval('low', 'high', change),
    'p': family.shown_p(row),
    'outcome': row['outcome'] or '',
    'ms': f'{1000 * row["seconds_per_step"]:.1f}',
    'parameters': f'{row["extra_parameters"]:,}',
    'kilobytes': f'{row["extra_bytes"] / 1000:.1f}',
  }


def points(rows, baseline) -> list[pictures.Point]:
  """The settings' test scores, and that of the student alone."""
  dots = []
  for row in rows:
    if row['test'] is None:  # it is not defined
      continue
    low, high = (
      row['test'] if row[end] is None else row[end]
      for end in ('test_low', 'test_high')
    )
    dots.append(
      pictures.Point(row['setting'], 'student', row['test'], low, high)
    )
  if baseline is not None:
    dots.append(
      pictures.Point('student alone', 'alone', baseline, baseline, baseline)
    )
  return dots


def _watched(runs, task: tasks.Task) -> tuple[str, str]:
  """The last stage of runs, and the score of its first student."""
  rows = [row for rows in runs for row in rows]
  stage = rows[-1]['stage'] if rows else ''
  keys = [key for row in rows if row['stage'] == stage for key in row]
  start = f'validation_{task.score}/'
  scores = [key for key in keys if key.startswith(start)]
  return stage, next(iter(scores), '')


def learning(
  workdir: pathlib.Path, rows, task: tasks.Task = tasks.CLASSIFICATION
) -> str | None:
  """The score on validation by epoch, of the best settings."""
  best = sorted(rows, key=lambda row: -task.better * row['validation'])[:LINES]
  lines = []
  for i, row in enumerate(best):
    folder = workdir / row['setting']
    seeds = sorted(folder.glob('seed_*')) or [folder]
    runs = [metrics.read_rows(seed) for seed in seeds]
    watched = _watched(runs, task)
    line = curves.curve(
      runs, *watched, row['setting'], f'other{i}', scale=task.factor
    )
    if line.x:
      lines.append(line)
  if not lines:
    return None
  name = f'{curves.on_validation(task)} of the best settings'
  return pictures.curves(lines, 'learning', name, task.unit)
