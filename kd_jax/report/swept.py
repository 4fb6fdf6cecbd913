"""The page of a sweep: the table, and accuracy over what was varied."""

import pathlib
from collections.abc import Mapping, Sequence

from kd_jax import metrics, report
from kd_jax.report import curves, maps, pictures

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
    rows: as `settings.launch` makes them, in the order to be shown.
    baseline: test accuracy of the student alone, or None.
    commands: {setting: the command that trains it alone}.
    failed: {setting: why it went no further}.
  """
  best = max(rows, key=lambda row: row['validation'])
  return report.save(
    workdir / PAGE,
    'sweep.html.jinja',
    {
      'title': f'{len(rows)} settings',
      'rows': rows,
      'best': best,
      'command': commands.get(best['setting']),
      'failed': failed,
      'heats': maps.heats(rows),
      'parallel': maps.parallel(rows),
      'curves': learning(workdir, rows),
      'accuracies': pictures.accuracies(points(rows, baseline)),
    },
  )


def points(rows, baseline) -> list[pictures.Point]:
  """The settings' test accuracies, and that of the student alone."""
  found = [
    pictures.Point(
      row['setting'],
      'student',
      row['test'],
      row['test'] - (row['test_sd'] or 0),
      row['test'] + (row['test_sd'] or 0),
    )
    for row in rows
  ]
  if baseline is not None:
    found.append(
      pictures.Point('student alone', 'alone', baseline, baseline, baseline)
    )
  return found


def learning(workdir: pathlib.Path, rows) -> str | None:
  """Accuracy on validation by epoch, of the best settings."""
  best = sorted(rows, key=lambda row: -row['validation'])[:LINES]
  lines = []
  for i, row in enumerate(best):
    folder = workdir / row['setting']
    seeds = sorted(folder.glob('seed_*')) or [folder]
    line = curves.curve(
      [metrics.read_rows(seed) for seed in seeds],
      'student',
      'validation_accuracy/student',
      row['setting'],
      f'other{i}',
      scale=100,
    )
    if line.x:
      lines.append(line)
  if not lines:
    return None
  name = 'Accuracy on validation of the best settings'
  return pictures.curves(lines, 'learning', name, '%')
