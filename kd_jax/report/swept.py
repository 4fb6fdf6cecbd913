"""The page of a sweep: the table, and accuracy over what was varied."""

import math
import pathlib
from collections.abc import Mapping, Sequence

from kd_jax import metrics, report
from kd_jax.compare import family
from kd_jax.report import curves, maps, page, pictures

PAGE = 'sweep.html'
LINES = 6  # settings that have a learning curve: the best


def write(
  workdir: pathlib.Path,
  rows: Sequence[Mapping],
  baseline: float | None,
  commands: Mapping[str, str] = {},
  failed: Mapping[str, str] = {},
) -> pathlib.Path:
  """Writes sweep.html beside the folders of the settings.

  Args:
    workdir: of the sweep.
    rows: as `sweep_run.launch` makes them, in the order to be shown.
    baseline: test accuracy of the student alone, or None.
    commands: {setting: the command that trains it anew, alone}.
    failed: {setting: why it went no further}.
  """
  best = best_of(rows)
  several = max(row['seeds'] for row in rows) > 1
  return report.save(
    workdir / PAGE,
    'sweep.html.jinja',
    {
      'title': f'{workdir.resolve().name}: {len(rows)} settings of one config',
      'headline': page.typeset(best_in_words(rows)),
      'family': page.typeset(family_in_words(rows)),
      'lines': [cells(row) for row in rows],
      'best': best and best['setting'],
      'command': best and commands.get(best['setting']),
      'failed': failed,
      'heats': maps.heats(rows),
      'parallel': maps.parallel(rows),
      'curves': learning(workdir, rows),
      'several': several,
      'accuracies': pictures.accuracies(points(rows, baseline)),
    },
  )


def best_of(rows: Sequence[Mapping]) -> Mapping | None:
  """The best setting on validation; None without a validation set."""
  scored = [r for r in rows if math.isfinite(r['validation'] or math.nan)]
  return max(scored, key=lambda row: row['validation'], default=None)


def best_in_words(rows: Sequence[Mapping]) -> str:
  """Which setting is best on validation, in one sentence."""
  best = best_of(rows)
  if best is None:
    return 'No setting is called best: there is no validation set to choose by.'
  return (
    f'Best of {len(rows)} settings on validation: {best["setting"]}, '
    f'{100 * best["validation"]:.1f} % (test {100 * best["test"]:.1f} %; the '
    'test set was not used to choose it).'
  )


def family_in_words(rows: Sequence[Mapping]) -> str:
  """How many comparisons of the sweep hold, in words."""
  return family.sentence({row['setting']: row for row in rows})


def cells(row: Mapping) -> dict[str, object]:
  """The texts of a setting's line in the table."""

  def score(key):
    spread = row[f'{key}_sd']
    text = f'{100 * row[key]:.1f}'
    return text if spread is None else f'{text} ± {100 * spread:.1f}'

  def interval(low, high, sign=''):
    if row[low] is None:
      return ''
    ends = (f'{100 * row[end]:{sign}.1f}' for end in (low, high))
    return page.typeset(' to '.join(ends))

  difference = row['difference']
  return {
    'setting': row['setting'],
    'seeds': row['seeds'],
    'validation': score('validation'),
    'test': score('test'),
    'test_interval': interval('test_low', 'test_high'),
    'difference': '-'
    if difference is None
    else page.typeset(f'{100 * difference:+.1f}'),
    'interval': interval('low', 'high', '+'),
    'p': family.shown_p(row),
    'outcome': row['outcome'] or '',
    'ms': f'{1000 * row["seconds_per_step"]:.1f}',
    'parameters': f'{row["extra_parameters"]:,}',
    'kilobytes': f'{row["extra_bytes"] / 1000:.1f}',
  }


def points(rows, baseline) -> list[pictures.Point]:
  """The settings' test accuracies, and that of the student alone."""
  dots = []
  for row in rows:
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


def _watched(runs) -> tuple[str, str]:
  """The last stage of runs, and the score of its first student."""
  rows = [row for rows in runs for row in rows]
  stage = rows[-1]['stage'] if rows else ''
  keys = [key for row in rows if row['stage'] == stage for key in row]
  scores = [key for key in keys if key.startswith('validation_accuracy/')]
  return stage, next(iter(scores), '')


def learning(workdir: pathlib.Path, rows) -> str | None:
  """Accuracy on validation by epoch, of the best settings."""
  best = sorted(rows, key=lambda row: -row['validation'])[:LINES]
  lines = []
  for i, row in enumerate(best):
    folder = workdir / row['setting']
    seeds = sorted(folder.glob('seed_*')) or [folder]
    runs = [metrics.read_rows(seed) for seed in seeds]
    line = curves.curve(
      runs, *_watched(runs), row['setting'], f'other{i}', scale=100
    )
    if line.x:
      lines.append(line)
  if not lines:
    return None
  name = 'Accuracy on validation of the best settings'
  return pictures.curves(lines, 'learning', name, '%')
