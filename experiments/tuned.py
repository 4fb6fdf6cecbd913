"""The tuned methods: their rows as small files, and table and picture of them.

  python -m experiments.tuned --rows runs/methods_tuned runs/methods_noisy
  python -m experiments.tuned

The first one writes ROWS, a line of JSON for each method that is finished in
the folders of `configs/methods_tuned.py`, few labels and wrong labels; the
second one draws the table in experiments/README.md, the sentence in README.md
and the picture, out of those files alone.
"""

import argparse
import pathlib
import sys
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import pages
from experiments.configs import methods_tuned
from kd_jax import sweep, tasks
from kd_jax.compare import family, results, statistics, verdict
from kd_jax.report import notebook, pictures
from kd_jax.runs import search, sweep_run, tuned

FEW, WRONG = 'few labels', 'wrong labels'
ROWS = {
  FEW: pages.HERE / 'results/methods_tuned.jsonl',
  WRONG: pages.HERE / 'results/methods_noisy.jsonl',
}
SWEEPS = {
  FEW: methods_tuned.sweep_methods_tuned,
  WRONG: methods_tuned.sweep_methods_noisy,
}
PICTURE = pages.HERE / 'methods_tuned.svg'
SECTION = 'methods tuned'
WEIGHT = 'terms.soft.weight'
SOFTNESS = ('terms.soft.temperature', 'terms.soft.t_norm')
BEST = 4  # methods that the sentence names

Tables = Mapping[str, Sequence[pages.Row]]  # {task: rows}


def rows_of(workdir: pathlib.Path, task: str) -> list[dict]:
  """A row for each finished setting of a folder, in the sweep's order.

  Args:
    workdir: of the sweep of the task.
    task: a key of SWEEPS.

  Returns:
    'method'; 'trials', [[values, accuracy on validation or None]]; 'chosen',
    the values of the best; 'validation', the mean over seeds; 'test', 'alone'
    and 'teacher', an accuracy a seed ('teacher' one, or None without);
    'difference', 'low', 'high' and 'p' of test and alone, before Holm's
    correction; 'examples' of the test; 'ms' of a step; 'parameters' and
    'bytes' beside the student.
  """
  return [
    row_of(workdir, name, setting['arg'])
    for name, setting in sweep.expand(SWEEPS[task]()).items()
    if (workdir / name / results.REPORT).exists()
  ]


def row_of(workdir: pathlib.Path, name: str, arg: str) -> dict:
  """The row of a setting; see `rows_of`.

  Args:
    workdir: of the sweep.
    name: of the setting's folder.
    arg: of its config.
  """
  report = results.read_report(workdir / name)
  networks, judged = report['networks'], report['verdict']
  row = sweep_run.row_of(
    name, workdir / name, report, family.correct({name: judged})[name]
  )
  folder = workdir / tuned.TUNING / name
  study = search.open_study(search.require_optuna(), folder)

  def accuracies(network):
    return [round(x, 6) for x in networks[network]['accuracy']['values']]

  return {
    'method': methods_tuned.parts_of(arg)[0],
    'chosen': study.best_trial.params,
    'trials': [[trial.params, trial.value] for trial in study.get_trials()],
    'validation': round(row['validation'], 6),
    'test': accuracies('student'),
    'alone': accuracies('baseline'),
    'teacher': accuracies('teacher')[0] if 'teacher' in networks else None,
    **{key: row[key] for key in ('difference', 'low', 'high', 'p')},
    'examples': judged['examples'],
    'ms': round(1000 * row['seconds_per_step'], 3),
    'parameters': row['extra_parameters'],
    'bytes': row['extra_bytes'],
  }


def read(paths: Mapping[str, pathlib.Path] = ROWS) -> dict[str, list[dict]]:
  """{task: the rows of its file} of the files that are there."""
  tables = {task: pages.read_rows(path) for task, path in paths.items()}
  return {task: rows for task, rows in tables.items() if rows}


def corrected(tables: Tables) -> dict[tuple[str, str], dict]:
  """{(task, method): its comparison, corrected for the number of all}."""
  verdicts = {
    (task, row['method']): pages.judged(row)
    for task, rows in tables.items()
    for row in rows
  }
  return family.correct(verdicts)


def ranked(tables: Tables) -> list[str]:
  """The methods by their mean difference over the tasks, the best first."""
  gains = {}
  for rows in tables.values():
    for row in rows:
      gains.setdefault(row['method'], []).append(row['difference'])
  return sorted(gains, key=lambda name: -np.mean(gains[name]))


def table(tables: Tables) -> str:
  """The Markdown table, the best on average first."""
  heads = ['method']
  for task in tables:
    heads += [f'{task}: points against alone', 'p (Holm)', 'weight, T']
  heads += ['ms/step', 'extra parameters']
  lines = []
  of = {
    (task, row['method']): row for task, rows in tables.items() for row in rows
  }
  comparisons = corrected(tables)
  for name in ranked(tables):
    cells, last = [f'`{name}`'], None
    for task in tables:
      row = of.get((task, name))
      cells += _cells(row, comparisons.get((task, name)))
      last = row or last
    cells += [f'{last["ms"]:.1f}', f'{last["parameters"]:,}']
    lines.append(cells)
  return pages.table(heads, lines)


def _cells(row: pages.Row | None, comparison: Mapping | None) -> list[str]:
  """Difference, p and chosen values of a method on a task."""
  if row is None:
    return ['-', '-', '-']
  chosen = row['chosen']
  shown = [f'{chosen[WEIGHT]:.2g}'] if WEIGHT in chosen else []
  shown += [f'{chosen[key]:.1f}' for key in SOFTNESS if key in chosen]
  return [
    pages.difference(row, comparison),
    family.shown_p(comparison),
    ', '.join(shown) or '-',
  ]


def summary(tables: Tables) -> str:
  """What was compared, and what holds, in words."""
  comparisons = corrected(tables)
  lines = []
  for task, rows in tables.items():
    taught = next(row for row in rows if row['teacher'] is not None)
    seeds, trials = len(taught['alone']), len(taught['trials'])
    lines.append(
      f'On {task} {len(rows)} methods, {trials} trials each of {tuned.SEEDS} '
      f'seeds, then {seeds} other seeds on {taught["examples"]:,} test images: '
      f'teacher {100 * taught["teacher"]:.1f} %, student alone '
      f'{pages.moments(taught["alone"])}; {_holding(comparisons, task)}. '
      f'Differences of {least_told(rows, len(comparisons)):.1f} points and '
      'more can hold at the median spread, with twice the seeds of '
      f'{least_told(rows, len(comparisons), 2):.1f}.'
    )
  return '\n'.join(
    [
      *lines,
      f"In bold: what holds after Holm's correction for all "
      f'{len(comparisons)} comparisons (at most 5 % for any false one).',
    ]
  )


def _holding(comparisons: Mapping, task: str) -> str:
  """'7 help and 2 hurt' of a task."""
  outcomes = [c['outcome'] for (of, _), c in comparisons.items() if of == task]
  helped, hurt = (outcomes.count(outcome) for outcome in verdict.TOLD)
  return f'{helped} help and {hurt} hurt'


def least_told(
  rows: Sequence[pages.Row], comparisons: int, more: int = 1
) -> float:
  """Points of a difference whose p is 5 % over the number of comparisons.

  At the median over rows of the standard deviation of the seeds' differences;
  the spread over test examples comes in addition.

  Args:
    rows: of a task.
    comparisons: of the family.
    more: times the seeds that were taken.
  """
  median = np.median([pages.spread(r['test'], r['alone']) for r in rows])
  seeds = more * len(rows[0]['test'])
  return 100 * pages.half_width(median, seeds, comparisons)


def sentence(tables: Tables) -> str:
  """The point of the front page."""
  comparisons, parts = corrected(tables), []
  for task, rows in tables.items():
    helped = [
      row
      for row in sorted(rows, key=lambda row: -row['difference'])
      if comparisons[task, row['method']]['outcome'] == verdict.HELPED
    ]
    named = ', '.join(
      f'`{row["method"]}` {100 * row["difference"]:+.1f}'
      for row in helped[:BEST]
    )
    count = f'of {len(rows)} on {task} {_holding(comparisons, task)}'
    parts.append(count + (f' ({named} points)' if named else ''))
  whole = (
    '- **Which one to take?** [All tuned alike](experiments/README.md#methods),'
    f' {"; ".join(parts)}.'
  )
  return textwrap.fill(whole, 142, subsequent_indent='  ')


def picture(tables: Tables) -> str:
  """What every method adds or takes on each task, beside each other."""
  order, panels = ranked(tables), []
  for rows in tables.values():
    of = {row['method']: row for row in rows}
    points = [
      _point(name, 'student', of[name]['test']) for name in order if name in of
    ]
    points.append(_point('student alone', 'alone', rows[0]['alone']))
    panels.append(pictures.scores(points, tasks.CLASSIFICATION))
  return notebook.show(*panels).text


def _point(title: str, color: str, values: Sequence[float]) -> pictures.Point:
  low, high = statistics.over_seeds(values)
  return pictures.Point(title, color, float(np.mean(values)), low, high)


def text(tables: Tables) -> str:
  """What the page of the experiments shows."""
  return (
    f'{summary(tables)}\n\n<details><summary>The table, the best on average '
    f'first</summary>\n\n{table(tables)}\n\n</details>'
  )


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0, or 2 for a folder or file that cannot be read."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.tuned', description=__doc__.split('\n')[0]
  )
  parser.add_argument(
    '--rows',
    type=pathlib.Path,
    nargs='+',
    metavar='DIR',
    help='write ROWS of these folders: few labels, then wrong labels',
  )
  options = parser.parse_args(argv)
  try:
    for workdir, task in zip(options.rows or (), ROWS):
      rows = rows_of(workdir, task)
      pages.write_rows(rows, ROWS[task])
      print(f'{ROWS[task]}: {len(rows)} methods')
    tables = read()
  except (OSError, ValueError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  if options.rows is None:
    pages.keep(pages.README, SECTION, text(tables))
    pages.keep(pages.HERE.parent / 'README.md', SECTION, sentence(tables))
    PICTURE.write_text(picture(tables))
  return 0


if __name__ == '__main__':
  sys.exit(main())
