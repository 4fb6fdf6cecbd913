"""The page of a sweep: its table, and the accuracy of every setting."""

import pathlib
from collections.abc import Mapping, Sequence

from kd_jax import report
from kd_jax.report import pictures

PAGE = 'sweep.html'


def write(
  workdir: pathlib.Path, rows: Sequence[Mapping], baseline: float | None
) -> pathlib.Path:
  """Writes sweep.html beside the folders of the settings.

  Args:
    workdir: of the sweep.
    rows: as `settings.launch` makes them, in the order to be shown.
    baseline: test accuracy of the student alone, or None.
  """
  points = [
    pictures.Point(
      row['setting'], 'student', row['test'],
      row['test'] - (row['test_sd'] or 0), row['test'] + (row['test_sd'] or 0),
    )
    for row in rows
  ]
  if baseline is not None:
    points.append(
      pictures.Point('student alone', 'alone', baseline, baseline, baseline)
    )
  return report.save(workdir / PAGE, 'sweep.html.jinja', {
    'title': f'{len(rows)} settings',
    'rows': rows,
    'best': max(rows, key=lambda row: row['validation']),
    'accuracies': pictures.accuracies(points),
  })
