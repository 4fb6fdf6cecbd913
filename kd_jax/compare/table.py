"""The comparison in words and as a table, for pages and for a terminal."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kd_jax import tasks
from kd_jax.compare import family, verdict

WIDTH = 120
NONE = '-'


def percent(x: float) -> str:
  """A fraction, in per cent."""
  return f'{100 * x:.1f}'


def count(x: float) -> str:
  """A count, with commas between thousands."""
  return f'{x:,.0f}'


def decimal(x: float) -> str:
  """A number with three digits."""
  return f'{x:.3f}' if x < 10 else f'{x:.1f}'


def size(x: float) -> str:
  """Bytes, in a readable unit."""
  for unit in ('B', 'kB', 'MB'):
    if x < 1000:
      return f'{x:.3g} {unit}'
    x /= 1000
  return f'{x:.3g} GB'


def operations(x: float) -> str:
  """Operations, in a readable unit."""
  for unit in ('', ' k', ' M', ' G'):
    if x < 1000:
      return f'{x:.3g}{unit}'
    x /= 1000
  return f'{x:.3g} T'


def times(x: float) -> str:
  """A ratio."""
  return f'{x:.1f}x' if x < 100 else f'{x:.0f}x'


def number(show: Callable[[float], str]) -> Callable[[Any], str]:
  """Makes the cell of a number, or of its mean and standard deviation."""

  def cell(x) -> str:
    if x is None:
      return NONE
    if not isinstance(x, Mapping):
      return show(x)
    spread = f' ± {show(x["sd"])}' if x['sd'] else ''
    return f'{show(x["mean"])}{spread}'

  return cell


def valued(task: tasks.Task) -> Callable[[float], str]:
  """How a score is shown, without its unit."""
  return percent if task.unit == '%' else decimal


def interval(task: tasks.Task) -> Callable[[Sequence[float] | None], str]:
  """Makes the cell of an interval of scores."""
  show = valued(task)

  def cell(x):
    return NONE if x is None else f'{show(x[0])} to {show(x[1])}'

  return cell


def milliseconds(x: Mapping[str, float] | None) -> str:
  """The cell of a time: the median, and the quartiles."""
  if x is None:
    return NONE
  return f'{x["median"]:.3g} ({x["low"]:.2g} to {x["high"]:.2g})'


def rate(x: Mapping[str, float] | None) -> str:
  """The cell of a rate: at the median time, and at the 95th percentile."""
  if x is None:
    return NONE
  median, slow = (
    count(v) if v >= 100 else f'{v:.3g}' for v in (x['median'], x['slow'])
  )
  return f'{median} ({slow})'


def extent(x: Sequence[int] | None) -> str:
  """The cell of a height and a width."""
  return NONE if x is None else 'x'.join(map(str, x))


def example(report: Mapping[str, Any]) -> str:
  """What an example of the data set is: 'image', or 'sequence' of tokens."""
  return report['data'].get('example') or 'image'


def lines_of(task: tasks.Task, of: str = 'image') -> tuple[tuple, ...]:
  """The lines of a table: title, unit, path in the report, how it is shown."""
  value = number(valued(task))
  first = (
    (f'Test {task.title}', task.unit, task.score, value),
    ('95 % interval', task.unit, 'interval', interval(task)),
    ('at the last step', task.unit, f'last.{task.score}', value),
    ('at the best on validation', task.unit, f'best.{task.score}', value),
    *(
      (title, unit, name, number(percent if unit == '%' else decimal))
      for name, title, unit in task.also
    ),
    (f"Teacher's {task.title} kept", '%', 'kept', number(percent)),
  )
  rest = ((title.format(of), *line) for title, *line in LINES)
  return (*first, *rest)


# The lines of every task; {} is what an example is.
LINES = (
  ('Negative log-likelihood', 'nats', 'nll', number(decimal)),
  ('Calibration error', '%', 'calibration_error', number(percent)),
  ('Agrees with the teacher', '%', 'agreement', number(percent)),
  ("Teacher's class in top 5", '%', 'agreement_top5', number(percent)),
  ('KL from teacher at temperature 1', 'nats', 'kl', number(decimal)),
  ('Parameters', '', 'cost.parameters', number(count)),
  ('Smaller than the teacher', '', 'ratio', number(times)),
  ('Size', '', 'cost.bytes', number(size)),
  ('Operations per {}', 'FLOP', 'cost.flops', number(operations)),
  ('Latency, 1 {}', 'ms', 'cost.latency.1', milliseconds),
  ('Latency, 128 {}s', 'ms', 'cost.latency.128', milliseconds),
  ('Peak memory, 128 {}s', '', 'cost.memory', number(size)),
  ('Size of a frame', 'pixels', 'cost.frames.size', extent),
  ('Frames a second in JAX', '', 'cost.frames.jax', rate),
  ('Frames a second in onnxruntime', '', 'cost.frames.onnxruntime', rate),
)


def find(row: Mapping[str, Any], path: str) -> Any:
  """The value at 'a.b.c' of nested mappings, or None."""
  for key in path.split('.'):
    if not isinstance(row, Mapping) or row.get(key) is None:
      return None
    row = row[key]
  return row


def titles(report: Mapping[str, Any]) -> dict[str, str]:
  """The title of each row, {row: title}."""
  students = report['students']
  alone = {b: s for s, b in students.items() if b}
  several = len(students) > 1
  named = {}
  for row in report['networks']:
    if row in alone:
      named[row] = f'{alone[row] if several else "student"} alone'
    elif students.get(row):
      named[row] = f'{row if several else "student"} distilled'
    elif row in report['means']:
      named[row] = f'{row}, mean'
    else:
      named[row] = row
  return named


class Score(NamedTuple):
  """One of the numbers that matter: a network's score on the test set.

  Attributes:
    row: of the network in the report.
    title: what it is called.
    value: the mean over seeds; None where it is not defined.
    interval: 95 %, over test examples and, where there are several, seeds;
      None without a score.
  """

  row: str
  title: str
  value: float | None
  interval: Sequence[float] | None


def scores(report: Mapping[str, Any]) -> list[Score]:
  """Teacher, student alone and distilled student, those that there are."""
  student, alone = next(iter(report['students'].items()))
  named, task = titles(report), tasks.task_of(report)
  numbers = []
  for row in filter(None, (report['teacher'], alone, student)):
    network = report['networks'][row]
    score = network[task.score]
    mean = score['mean'] if isinstance(score, Mapping) else score
    numbers.append(Score(row, named[row], mean, network['interval']))
  return numbers


def basis(report: Mapping[str, Any]) -> str:
  """What the scores and their intervals are, in words."""
  over = f'the {report["data"]["test"]} test examples'
  if report['kind'] == 'seeds':
    over = f'{report["seeds"]} seeds and {over}'
  title = tasks.task_of(report).title
  return f'Test {title} with 95 % intervals over {over}.'


def cells(report: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
  """(title, unit, one cell per network) of every line that is not empty."""
  networks = list(report['networks'].values())
  lines = []
  known = lines_of(tasks.task_of(report), example(report))
  for title, unit, path, cell in known:
    shown = [cell(find(network, path)) for network in networks]
    if any(text != NONE for text in shown):
      lines.append((title, unit, shown))
  return lines


def headline(report: Mapping[str, Any]) -> str:
  """The verdict in one sentence."""
  if report['verdict']:
    return report['verdict']['text']
  return (
    'No verdict: the student was not trained alone (baseline=False), so there '
    'is nothing to compare the distilled student with.'
  )


def others(report: Mapping[str, Any]) -> list[str]:
  """A sentence for each student beside the first, and one for all of them."""
  verdicts = report['verdicts']
  sentences = [
    f'{row}: {judged["text"]}'
    for row, judged in list(verdicts.items())[1:]
    if judged
  ]
  if sentences:
    sentences.append(family.sentence(family.correct(verdicts)))
  return sentences


def closed(report: Mapping[str, Any]) -> str:
  """What part of the gap to the teacher was closed, in words; '' without."""
  student = next(iter(report['students']))
  if not (report['verdict'] and report['teacher']):
    return ''
  if any(score.value is None for score in scores(report)):
    return ''
  share = report['gap_closed'][student]
  if share is None:
    return (
      'The teacher is too close to the student alone to estimate how much of '
      'the gap was closed.'
    )
  outcome = report['verdict']['outcome']
  if share < 0 and outcome == verdict.HURT:
    return f'The gap to the teacher grew by {-100 * share:.0f} %.'
  text = f'Distillation closed {100 * share:.0f} % of the gap to the teacher'
  if outcome == verdict.UNKNOWN:
    return f'In this run {text[0].lower()}{text[1:]}.'
  if outcome == verdict.SAME:
    text += '; that is not distinguishable from zero'
  return f'{text}.'


def table(report: Mapping[str, Any]) -> str:
  """The verdict, the scores and the comparison, for a terminal.

  Args:
    report: of a run, or over seeds.

  Returns:
    Lines of at most `WIDTH`, without a newline at the end.
  """
  lines = [*wrapped(headline(report)), '', *score_lines(report)]
  lines += [*wrapped(basis(report)), '', *_blocks(report), '']
  if report['verdict']:
    text = f'{closed(report)} {report["verdict"]["evidence"]}'
    lines += wrapped(text.strip())
  for text in others(report):
    lines += wrapped(text)
  return '\n'.join(line.rstrip() for line in lines).rstrip()


def score_lines(report: Mapping[str, Any]) -> list[str]:
  """The scores, one below the other."""
  numbers, task = scores(report), tasks.task_of(report)
  width = max(len(score.title) for score in numbers)
  unit = f' {task.unit}' if task.unit else ''
  return [
    f'  {score.title:{width}}  not defined'
    if score.value is None
    else f'  {score.title:{width}}  {valued(task)(score.value):>5}{unit}  '
    f'({interval(task)(score.interval)})'
    for score in numbers
  ]


def _blocks(report) -> list[str]:
  """The comparison, in as many blocks of columns as the width asks for."""
  names, rows = list(titles(report).values()), cells(report)
  heads = [f'{title}, {unit}' if unit else title for title, unit, _ in rows]
  left = max(map(len, heads))
  each = max(map(len, [*names, *(c for _, _, shown in rows for c in shown)]))
  across = max(1, (WIDTH - left) // (each + 2))
  lines = []
  for start in range(0, len(names), across):
    part = slice(start, start + across)
    lines += ['', _line('', names[part], left, each)]
    lines.append('─' * len(lines[-1]))
    lines += [
      _line(head, shown[part], left, each)
      for head, (_, _, shown) in zip(heads, rows)
    ]
  return lines[1:]


def _line(head: str, shown: Sequence[str], left: int, each: int) -> str:
  return head.ljust(left) + ''.join(f'  {text:>{each}}' for text in shown)


def wrapped(text: str) -> list[str]:
  """Text as lines for a terminal."""
  return textwrap.wrap(text, WIDTH)


def heads(task: tasks.Task, of: str = 'image') -> tuple[str, ...]:
  """The columns of a network where there are many runs."""
  return (
    'network',
    f'{task.title}, {task.unit}'.rstrip(', '),
    '95 % interval',
    'kept, %',
    'parameters',
    'agrees, %',
    f'ms, 1 {of}',
  )


def shared(reports: Iterable[Mapping[str, Any]]) -> tasks.Task:
  """The task of runs that are shown beside each other.

  Raises:
    ValueError: they have several.
  """
  named = {task.name: task for task in map(tasks.task_of, reports)}
  if len(named) > 1:
    raise ValueError(
      f'runs of different tasks, {" and ".join(named)}, have no score in '
      'common; give those of one task'
    )
  return next(iter(named.values()))


def overview_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
  """A line per network, with the cells of the columns `heads`."""
  shown, task = titles(report), tasks.task_of(report)
  return [
    (
      shown[row],
      number(valued(task))(network[task.score]),
      interval(task)(network['interval']),
      number(percent)(network['kept']),
      number(count)(network['cost']['parameters']),
      number(percent)(network['agreement']),
      number(decimal)(find(network, 'cost.latency.1.median')),
    )
    for row, network in report['networks'].items()
  ]


def corrected(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, dict]:
  """{run: its main verdict, corrected for the number of runs}."""
  return family.correct({name: r['verdict'] for name, r in reports.items()})


def overview(reports: Mapping[str, Mapping[str, Any]]) -> str:
  """Several runs beside each other: how many comparisons hold, and a table.

  Args:
    reports: {name of the run: its report}.

  Returns:
    Lines of at most `WIDTH`.
  """
  of = example(next(iter(reports.values())))
  rows = [('run', *heads(shared(reports.values()), of))]
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
  first = wrapped(family.sentence(corrected(reports)))
  if first:
    first.append('')
  return '\n'.join([*first, lines[0], '─' * len(lines[0]), *lines[1:]])
