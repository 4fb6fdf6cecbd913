"""What pages of results share: rows as small files, tables, sections.

Accuracies and differences are fractions in the rows and % or points on a page.
What judges them is imported late: it imports JAX, which benchmarks set up.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
README = HERE / 'README.md'

Row = Mapping[str, Any]


def read_rows(path: pathlib.Path) -> list[dict]:
  """The rows of a file, one a line; none where it is not there yet."""
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(rows: Sequence[Row], path: pathlib.Path) -> None:
  """Writes rows, one a line."""
  path.parent.mkdir(exist_ok=True)
  path.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A markdown table; all columns but the first to the right."""
  lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def keep(path: pathlib.Path, name: str, text: str) -> None:
  """Puts the text between the markers of that name in a markdown file.

  Raises:
    ValueError: where the file has no such markers.
  """
  whole = path.read_text()
  first, last = f'<!-- {name} -->', f'<!-- end of {name} -->'
  if not 0 <= whole.find(first) < whole.find(last):
    raise ValueError(f'{path} has no markers {first} and {last}')
  before, rest = whole.split(first, 1)
  after = rest.split(last, 1)[1]
  path.write_text(f'{before}{first}\n{text}\n{last}{after}')


def judged(row: Row) -> dict[str, Any]:
  """A row's p, and what its interval says before a correction."""
  from kd_jax.compare import verdict

  return {'p': row['p'], 'outcome': verdict.outcome(row['low'], row['high'])}


def difference(row: Row, comparison: Mapping) -> str:
  """'difference (low to high)' in points, bold where it holds.

  Args:
    row: 'difference', 'low' and 'high'.
    comparison: its 'outcome' after the correction.
  """
  from kd_jax.compare import verdict

  middle, low, high = (
    f'{100 * row[key]:+.1f}' for key in ('difference', 'low', 'high')
  )
  if comparison['outcome'] in verdict.TOLD:
    middle = f'**{middle}**'
  return f'{middle} ({low} to {high})'


def moments(values: Sequence[float]) -> str:
  """'mean ± standard deviation' of accuracies, in %."""
  return f'{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}'


def spread(ours: Sequence[float], theirs: Sequence[float]) -> float:
  """The standard deviation over seeds of paired differences."""
  return float(np.std(np.subtract(ours, theirs), ddof=1))


def half_width(spread: float, seeds: int, comparisons: int) -> float:
  """Half of an interval over seeds, at 5 % over the number of comparisons.

  The spread over test examples comes in addition.

  Args:
    spread: see `spread`.
    seeds: at least two.
    comparisons: of the family.
  """
  from kd_jax.compare import statistics

  level = 1 - (1 - statistics.LEVEL) / comparisons
  unit = np.arange(seeds) % 2.0
  low, high = statistics.over_seeds(unit, level)
  return spread * (high - low) / 2 / unit.std(ddof=1)
