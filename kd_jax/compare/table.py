"""The comparison as a table: the cells, and how a terminal shows them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kd_jax.compare import verdict

WIDTH = 120
NONE = '-'


def percent(x: float) -> str:
  """A fraction in per cent."""
  return f'{100 * x:.1f}'


def count(x: float) -> str:
  """A number with its thousands apart."""
  return f'{x:,.0f}'


def decimal(x: float) -> str:
  """Three figures, none of them for show."""
  return f'{x:.3f}' if x < 10 else f'{x:.1f}'


def size(x: float) -> str:
  """Bytes in a unit that one can read."""
  for unit in ('B', 'kB', 'MB'):
    if x < 1000:
      return f'{x:.3g} {unit}'
    x /= 1000
  return f'{x:.3g} GB'


def operations(x: float) -> str:
  """Operations in a unit that one can read."""
  for unit in ('', ' k', ' M', ' G'):
    if x < 1000:
      return f'{x:.3g}{unit}'
    x /= 1000
  return f'{x:.3g} T'


def times(x: float) -> str:
  """A ratio."""
  return f'{x:.1f}x' if x < 100 else f'{x:.0f}x'


def number(show: Callable[[float], str]) -> Callable[[Any], str]:
  """The cell of a number, or of its mean and standard deviation."""

  def cell(x) -> str:
    if x is None:
      return NONE
    if not isinstance(x, Mapping):
      return show(x)
    spread = f' ± {show(x["sd"])}' if x['sd'] else ''
    return f'{show(x["mean"])}{spread}'

  return cell


def interval(x: Sequence[float] | None) -> str:
  """The cell of an interval of fractions, in per cent."""
  return NONE if x is None else f'{percent(x[0])} to {percent(x[1])}'


def milliseconds(x: Mapping[str, float] | None) -> str:
  """The cell of a time: the median, and the quartiles."""
  if x is None:
    return NONE
  return f'{x["median"]:.3g} ({x["low"]:.2g} to {x["high"]:.2g})'


# What is shown of a network: title, unit, where it is in the report, the cell.
LINES = (
  ('Test accuracy', '%', 'accuracy', number(percent)),
  ('95 % interval', '%', 'interval', interval),
  ('at the last step', '%', 'last.accuracy', number(percent)),
  ('at the best on validation', '%', 'best.accuracy', number(percent)),
  ("Teacher's accuracy kept", '%', 'kept', number(percent)),
  ('Negative log-likelihood', 'nats', 'nll', number(decimal)),
  ('Calibration error', '%', 'calibration_error', number(percent)),
  ('Agrees with the teacher', '%', 'agreement', number(percent)),
  ("Teacher's class in top 5", '%', 'agreement_top5', number(percent)),
  ('KL from teacher, T = 1', 'nats', 'kl', number(decimal)),
  ('Parameters', '', 'cost.parameters', number(count)),
  ('Smaller than the teacher', '', 'ratio', number(times)),
  ('Size', '', 'cost.bytes', number(size)),
  ('Operations an image', 'FLOP', 'cost.flops', number(operations)),
  ('Latency, 1 image', 'ms', 'cost.latency.1', milliseconds),
  ('Latency, 128 images', 'ms', 'cost.latency.128', milliseconds),
  ('Peak memory, 128 images', '', 'cost.memory', number(size)),
)


def find(row: Mapping[str, Any], path: str) -> Any:
  """What lies at 'a.b.c' of nested mappings, or None."""
  for key in path.split('.'):
    if not isinstance(row, Mapping) or row.get(key) is None:
      return None
    row = row[key]
  return row


def titles(report: Mapping[str, Any]) -> dict[str, str]:
  """{row: what it is called}."""
  students = report['students']
  alone = {b: s for s, b in students.items() if b}
  several = len(students) > 1
  made = {}
  for row in report['networks']:
    if row in alone:
      made[row] = f'{alone[row] if several else "student"} alone'
    elif students.get(row):
      made[row] = f'{row if several else "student"} distilled'
    elif row in report['means']:
      made[row] = f'{row}, mean'
    else:
      made[row] = row
  return made


def cells(report: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
  """(title, unit, a cell a network) of every line that says something."""
  rows = list(report['networks'].values())
  made = []
  for title, unit, path, cell in LINES:
    shown = [cell(find(row, path)) for row in rows]
    if any(text != NONE for text in shown):
      made.append((title, unit, shown))
  return made


def headline(report: Mapping[str, Any]) -> str:
  """The verdict in one sentence."""
  if report['verdict']:
    return report['verdict']['text']
  return (
    'No verdict: the student was not trained alone (baseline=False), so '
    'nothing says what distillation changed.'
  )


def others(report: Mapping[str, Any]) -> list[str]:
  """The verdicts on the students beside the first, a sentence each."""
  return [
    f'{row}: {found["text"]}'
    for row, found in list(report['verdicts'].items())[1:]
    if found
  ]


def closed(report: Mapping[str, Any]) -> str:
  """What part of the gap to the teacher was closed, in words; '' without."""
  student = next(iter(report['students']))
  if not (report['verdict'] and report['teacher']):
    return ''
  share = report['gap_closed'][student]
  if share is None:
    return (
      'The teacher is not so far above the student alone that the share of '
      'the gap that was closed could be told.'
    )
  if share < 0 and report['verdict']['outcome'] == verdict.HURT:
    return f'The gap to the teacher grew by {-100 * share:.0f} %.'
  text = f'{100 * share:.0f} % of the gap to the teacher was closed'
  if report['verdict']['outcome'] == verdict.SAME:
    text += ', which the interval cannot tell from none'
  return f'{text}.'


def table(report: Mapping[str, Any]) -> str:
  """The comparison and the verdict, for a terminal; at most 120 wide.

  Args:
    report: of a run, or over seeds.

  Returns:
    Lines without a newline at the end.
  """
  names = list(titles(report).values())
  lines = cells(report)
  heads = [f'{title}, {unit}' if unit else title for title, unit, _ in lines]
  left = max(map(len, heads))
  each = max(len(text) for text in [*names, *(c for x in lines for c in x[2])])
  across = max(1, (WIDTH - left) // (each + 2))
  out = []
  for start in range(0, len(names), across):
    part = slice(start, start + across)
    out += ['', _line('', names[part], left, each)]
    out.append('─' * len(out[-1]))
    out += [
      _line(head, shown[part], left, each)
      for head, (_, _, shown) in zip(heads, lines)
    ]
  out += ['', *_wrapped(headline(report))]
  if report['verdict']:
    out += _wrapped(f'{closed(report)} {report["verdict"]["evidence"]}'.strip())
  for text in others(report):
    out += _wrapped(text)
  return '\n'.join(line.rstrip() for line in out[1:])


def _line(head: str, shown: Sequence[str], left: int, each: int) -> str:
  return head.ljust(left) + ''.join(f'  {text:>{each}}' for text in shown)


def _wrapped(text: str) -> list[str]:
  import textwrap

  return textwrap.wrap(text, WIDTH)


# What is shown of a network where there are many runs.
OVERVIEW = (
  'network',
  'accuracy, %',
  '95 % interval',
  'kept, %',
  'parameters',
  'agrees, %',
  'ms, 1 image',
)


def overview_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
  """A line a network, of the cells that OVERVIEW heads."""
  shown = titles(report)
  return [
    (
      shown[row],
      number(percent)(own['accuracy']),
      interval(own.get('interval')),
      number(percent)(own['kept']),
      number(count)(own['cost']['parameters']),
      number(percent)(own['agreement']),
      number(decimal)(find(own, 'cost.latency.1.median')),
    )
    for row, own in report['networks'].items()
  ]


def overview(reports: Mapping[str, Mapping[str, Any]]) -> str:
  """Many runs beside each other, a line a network; at most 120 wide.

  Args:
    reports: {name of the run: its report}.
  """
  rows = [('run', *OVERVIEW)]
  for name, report in reports.items():
    for k, row in enumerate(overview_rows(report)):
      rows.append(('' if k else name, *row))
  widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
  widths[0] -= max(0, sum(widths) + 2 * len(widths) - 2 - WIDTH)
  lines = [
    '  '.join(
      text[-w:].ljust(w) if k < 2 else text.rjust(w)
      for k, (text, w) in enumerate(zip(row, widths))
    ).rstrip()
    for row in rows
  ]
  return '\n'.join([lines[0], '─' * len(lines[0]), *lines[1:]])
