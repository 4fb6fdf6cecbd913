"""The tuned methods: their rows as a small file, and table and picture of it.

  python -m experiments.tuned --rows runs/methods_tuned
  python -m experiments.tuned

The first one writes ROWS, a line of JSON for each method that is finished in
the folder of `configs/methods_tuned.py`; the second one draws the table in
experiments/README.md, the sentence in README.md and the picture, out of that
file alone.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.benchmarks import timing
from experiments.configs import methods_tuned
from kd_jax import sweep
from kd_jax.compare import family, results, statistics, verdict
from kd_jax.report import notebook, pictures
from kd_jax.runs import search, sweep_run, tuned

HERE = pathlib.Path(__file__).resolve().parent
ROWS = HERE / 'results/methods_tuned.jsonl'
PICTURE = HERE / 'methods_tuned.svg'
SECTION = 'methods tuned'
WEIGHT, SOFTNESS = 'terms.soft.weight', ('terms.soft.temperature',)
SOFTNESS += ('terms.soft.t_norm',)
BEST = 5  # methods that the sentence names


def rows_of(workdir: pathlib.Path) -> list[dict]:
  """A row for each finished setting of a folder, in the sweep's order.

  Returns:
    'method'; 'trials', [[values, accuracy on validation or None]]; 'chosen',
    the values of the best; 'validation', 'test', 'alone' and 'teacher', an
    accuracy a seed ('teacher' None without one); 'difference', 'low', 'high'
    and 'p' of test and alone, before Holm's correction; 'ms' of a step;
    'parameters' and 'bytes' beside the student.
  """
  settings = sweep.expand(methods_tuned.sweep_methods_tuned())
  return [
    row_of(workdir, name, setting['arg'])
    for name, setting in settings.items()
    if (workdir / name / results.REPORT).exists()
  ]


def row_of(workdir: pathlib.Path, name: str, method: str) -> dict:
  """The row of a setting; see `rows_of`.

  Args:
    workdir: of the sweep.
    name: of the setting's folder.
    method: that it trains.
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
    'method': method,
    'chosen': study.best_trial.params,
    'trials': [[trial.params, trial.value] for trial in study.get_trials()],
    'validation': round(row['validation'], 6),
    'test': accuracies('student'),
    'alone': accuracies('baseline'),
    'teacher': accuracies('teacher')[0] if 'teacher' in networks else None,
    **{key: row[key] for key in ('difference', 'low', 'high', 'p')},
    'ms': round(1000 * row['seconds_per_step'], 3),
    'parameters': row['extra_parameters'],
    'bytes': row['extra_bytes'],
  }


def read(path: pathlib.Path = ROWS) -> list[dict]:
  """The rows of the file."""
  return [json.loads(line) for line in path.read_text().splitlines()]


def write(rows: Sequence[Mapping], path: pathlib.Path = ROWS) -> None:
  """Writes rows, one a line."""
  path.parent.mkdir(exist_ok=True)
  path.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))


def corrected(rows: Sequence[Mapping]) -> dict[str, dict]:
  """{method: its comparison, corrected for their number}, the best first."""
  verdicts = {
    row['method']: {'p': row['p'], 'outcome': _outcome(row)}
    for row in sorted(rows, key=lambda row: -row['difference'])
  }
  return family.correct(verdicts)


def _outcome(row: Mapping) -> str:
  """What the interval of a row says before the correction."""
  if row['low'] > 0:
    return verdict.HELPED
  return verdict.HURT if row['high'] < 0 else verdict.SAME


def table(rows: Sequence[Mapping]) -> str:
  """The Markdown table, the best on test first."""
  lines = [
    '| method | weight | T | validation, % | test, % | against the student '
    'alone, points | p (Holm) | ms/step | extra parameters |',
    '|---|---:|---:|---:|---:|---:|---:|---:|---:|',
  ]
  of = {row['method']: row for row in rows}
  for name, comparison in corrected(rows).items():
    row = of[name]
    softness = [row['chosen'][k] for k in SOFTNESS if k in row['chosen']]
    weight = row['chosen'].get(WEIGHT)
    held = comparison['outcome'] in (verdict.HELPED, verdict.HURT)
    title = f'**`{name}`**' if held else f'`{name}`'
    difference, low, high = (
      f'{100 * row[key]:+.1f}' for key in ('difference', 'low', 'high')
    )
    cells = [
      title,
      '-' if weight is None else f'{weight:.2g}',
      f'{softness[0]:.1f}' if softness else '-',
      f'{100 * row["validation"]:.1f}',
      moments(row['test']),
      f'{difference} ({low} to {high})',
      family.shown_p(comparison),
      f'{row["ms"]:.1f}',
      f'{row["parameters"]:,}',
    ]
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)


def moments(values: Sequence[float]) -> str:
  """'mean ± standard deviation' of accuracies, in %."""
  return f'{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}'


def summary(rows: Sequence[Mapping]) -> str:
  """What the table shows and what it cannot, in words."""
  first = next(row for row in rows if row['teacher'] is not None)
  seeds, least = len(first['alone']), least_told(rows)
  trials = len(first['trials'])
  return (
    f'{len(rows)} rivals, each tuned by {trials} trials of {tuned.SEEDS} seeds '
    f'on 500 images, then {seeds} other seeds on 1,097 test images. Teacher '
    f'{100 * first["teacher"]:.1f} %, student alone {moments(first["alone"])}. '
    f'{family.sentence(corrected(rows))} '
    f'Told at all after the correction are differences of {least:.1f} points '
    'and more at the median spread; twice the seeds would tell '
    f'{least_told(rows, 2):.1f}.'
  )


def least_told(rows: Sequence[Mapping], more: int = 1) -> float:
  """Points of a difference whose p is 5 % over the number of rows.

  At the median over rows of the standard deviation of the seeds' differences.

  Args:
    rows: of the file.
    more: times the seeds that were taken.
  """
  seeds = len(rows[0]['test'])
  spread = np.median(
    [np.std(np.subtract(r['test'], r['alone']), ddof=1) for r in rows]
  )
  level = 1 - (1 - statistics.LEVEL) / len(rows)
  unit = np.zeros(more * seeds)
  unit[: len(unit) // 2], unit[len(unit) // 2 :] = 1, -1
  low, high = statistics.over_seeds(unit, level)
  return 100 * spread * (high - low) / 2 / unit.std(ddof=1)


def sentence(rows: Sequence[Mapping]) -> str:
  """The sentence of the front page."""
  comparisons = corrected(rows)
  better = [k for k, c in comparisons.items() if c['outcome'] == verdict.HELPED]
  worse = [k for k, c in comparisons.items() if c['outcome'] == verdict.HURT]
  of = {row['method']: row for row in rows}
  named = ', '.join(
    f'`{name}` {100 * of[name]["difference"]:+.1f}' for name in better[:BEST]
  )
  best = f', at most {named} points' if named else ''
  return (
    f'Of {len(rows)} methods with tuned weights on 200 labelled digits, '
    f'{len(better)} beat the student alone{best}, and {len(worse)} hurt it '
    f"(Holm's correction, {len(rows[0]['test'])} seeds)."
  )


def picture(rows: Sequence[Mapping]) -> str:
  """Test accuracy of every method with its interval over seeds, as an SVG."""
  ranked = sorted(rows, key=lambda row: -row['difference'])
  points = [_point(row['method'], 'student', row['test']) for row in ranked]
  points.append(_point('student alone', 'alone', rows[0]['alone']))
  return notebook.show(pictures.scores(points)).text


def _point(title: str, color: str, values: Sequence[float]) -> pictures.Point:
  low, high = statistics.over_seeds(values)
  return pictures.Point(title, color, float(np.mean(values)), low, high)


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0, or 2 for a folder or file that cannot be read."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.tuned', description=__doc__.split('\n')[0]
  )
  parser.add_argument(
    '--rows', type=pathlib.Path, metavar='DIR', help='write ROWS of this folder'
  )
  options = parser.parse_args(argv)
  try:
    if options.rows is not None:
      rows = rows_of(options.rows)
      write(rows)
      print(f'{ROWS}: {len(rows)} methods')
      return 0
    rows = read()
  except (OSError, ValueError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  timing.keep(HERE / 'README.md', SECTION, f'{summary(rows)}\n\n{table(rows)}')
  timing.keep(HERE.parent / 'README.md', SECTION, sentence(rows))
  PICTURE.write_text(picture(rows))
  return 0


if __name__ == '__main__':
  sys.exit(main())
