"""The ladder of CIFAR-100: its rows as a small file, and their table.

  python -m experiments.ladder --rows runs/ladder
  python -m experiments.ladder

The first one writes ROWS, a line of JSON for each comparison of the sweep of
`configs/cifar100_ladder.py`: every method with the student alone, and any two
methods, the one first whose published number is higher. The second one draws
the tables in experiments/README.md out of those alone.
"""

import argparse
import itertools
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import pages
from experiments.configs import cifar100_ladder, published
from kd_jax import sweep
from kd_jax.compare import family, results, verdict

ROWS = pages.HERE / 'results/cifar100_ladder.jsonl'
SECTION = 'ladder'
ALONE, TEACHER = cifar100_ladder.ALONE, 'teacher'
UNMEASURED = 'Not measured yet.'
MOST = 1000  # seeds that are tried
OUTCOMES = (verdict.HELPED, verdict.HURT, verdict.SAME)


def rows_of(workdir: pathlib.Path) -> list[dict]:
  """A row for each comparison, of methods in the published order.

  Args:
    workdir: of `--sweep methods`; settings that are not finished are left out.

  Returns:
    'method' and 'rival'; 'test' and 'alone', an accuracy a seed of the one and
    the other; 'teacher'; 'difference', 'low', 'high' and 'p' before Holm's
    correction, over seeds and 'examples'.
  """
  right = {}
  for name, setting in sweep.expand(cifar100_ladder.sweep_methods()).items():
    if not (workdir / name / results.REPORT).exists():
      continue
    runs = results.read(workdir / name).runs
    rows = {setting['arg']: 'student', ALONE: 'baseline', TEACHER: TEACHER}
    right |= {
      network: np.array([r.logits[row].argmax(-1) == r.labels for r in runs])
      for network, row in rows.items()
    }
  methods = [method for method in ranked() if method in right]
  pairs = [(method, ALONE) for method in methods]
  pairs += itertools.combinations(methods, 2)
  return [compare(right, *pair) for pair in pairs]


def read() -> list[dict]:
  """The rows of the file; none where it is not there yet."""
  return pages.read_rows(ROWS)


def ranked() -> list[str]:
  """The methods by their published number, the best first."""
  return sorted(cifar100_ladder.METHODS, key=lambda name: -known(name))


def known(name: str) -> float:
  """The published accuracy in % of the pair whose weights the rungs have."""
  row = 'student' if name == ALONE else name
  return published.expected(row, *cifar100_ladder.SOURCE)


def compare(right: Mapping[str, np.ndarray], method: str, rival: str) -> dict:
  """The row of two methods; see `rows_of`.

  Args:
    right: {method: bool [S, N], where a seed's student is right}.
    method, rival: keys of it.
  """
  ours, theirs = right[method], right[rival]
  judged = verdict.of_seeds(
    ours.mean(1), theirs.mean(1), ours.mean(0) - theirs.mean(0)
  )
  low, high = judged['interval']
  return {
    'method': method,
    'rival': rival,
    'test': ours.mean(1).tolist(),
    'alone': theirs.mean(1).tolist(),
    'teacher': float(right[TEACHER][0].mean()),
    'difference': judged['difference'],
    'low': low,
    'high': high,
    'p': judged['p'],
    'examples': judged['examples'],
  }


def corrected(rows: Sequence[pages.Row]) -> dict[tuple[str, str], dict]:
  """{(method, rival): its comparison, corrected for the number of all}."""
  return family.correct(
    {(row['method'], row['rival']): pages.judged(row) for row in rows}
  )


def seeds_needed(row: pages.Row, comparisons: int) -> int | None:
  """The seeds at which a difference as seen would hold; None over MOST.

  At the spread seen over seeds; that over test examples comes in addition.
  """
  spread = pages.spread(row['test'], row['alone'])
  for seeds in range(2, MOST + 1):
    if pages.half_width(spread, seeds, comparisons) < abs(row['difference']):
      return seeds
  return None


def levels(rows: Sequence[pages.Row]) -> str:
  """The table of accuracies, beside the published ones."""
  student = known(ALONE)
  alone = [row for row in rows if row['rival'] == ALONE]
  teacher = f'{100 * rows[0]["teacher"]:.1f}'
  lines = [
    ['teacher', f'{known(TEACHER):.2f}', teacher, '', ''],
    [
      'student alone',
      f'{student:.2f}',
      pages.moments(alone[0]['alone']),
      '',
      '',
    ],
  ]
  comparisons = corrected(rows)
  for row in alone:
    gain = known(row['method']) - student
    lines.append(
      [
        f'`{row["method"]}`',
        f'{known(row["method"]):.2f} ({gain:+.2f})',
        pages.moments(row['test']),
        *_cells(row, comparisons),
      ]
    )
  source = ' teaches '.join(cifar100_ladder.SOURCE)
  rung = cifar100_ladder.RUNGS['minutes']
  here = f'{rung.teacher} teaches {rung.student}, here'
  header = [
    '',
    f'{source}, published',
    here,
    'points against alone',
    'p (Holm)',
  ]
  return pages.table(header, lines)


def order(rows: Sequence[pages.Row]) -> str:
  """The table of the published order and what becomes of it."""
  comparisons, lines = corrected(rows), []
  for row in rows:
    if row['rival'] == ALONE:
      continue
    gap = known(row['method']) - known(row['rival'])
    seeds = seeds_needed(row, len(comparisons))
    lines.append(
      [
        f'`{row["method"]}` over `{row["rival"]}`',
        f'{gap:+.2f}',
        *_cells(row, comparisons),
        f'{seeds}' if seeds else f'over {MOST:,}',
      ]
    )
  header = ['', 'published', 'here', 'p (Holm)', 'seeds that would tell it']
  return pages.table(header, lines)


def _cells(row: pages.Row, comparisons: Mapping) -> list[str]:
  """Difference with its interval, bold where it holds, and p."""
  comparison = comparisons[row['method'], row['rival']]
  return [pages.difference(row, comparison), family.shown_p(comparison)]


def summary(rows: Sequence[pages.Row]) -> str:
  """What was compared, and what holds, in words."""
  comparisons = corrected(rows)
  outcomes = [
    c['outcome'] for (_, rival), c in comparisons.items() if rival != ALONE
  ]
  as_published, otherwise, untold = map(outcomes.count, OUTCOMES)
  return (
    f'{len(rows[0]["test"])} seeds, {rows[0]["examples"]:,} test images, '
    f'{len(comparisons)} comparisons, corrected together by Holm. Of the '
    f'{len(outcomes)} pairs of methods {as_published} come out in the '
    f'published order, {otherwise} the other way round, {untold} are not told '
    'apart.'
  )


def text(rows: Sequence[pages.Row]) -> str:
  """What the page of the experiments shows."""
  if not rows:
    return UNMEASURED
  return f'{levels(rows)}\n\n{order(rows)}\n\n{summary(rows)}'


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0, or 2 for a folder or file that cannot be read."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.ladder', description=__doc__.split('\n')[0]
  )
  parser.add_argument(
    '--rows', type=pathlib.Path, metavar='DIR', help='write ROWS of this sweep'
  )
  options = parser.parse_args(argv)
  try:
    if options.rows:
      pages.write_rows(rows_of(options.rows), ROWS)
      return 0
    rows = read()
  except (OSError, ValueError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  pages.keep(pages.README, SECTION, text(rows))
  return 0


if __name__ == '__main__':
  sys.exit(main())
