"""Times whole steps of CIFAR's pairs on one device, beside PyTorch.

  python -m experiments.benchmarks.rows [--device gpu] [--out FILE]
    [--budget SECONDS] [--limit SECONDS] [--only TEXT ..] [--quick]

Each row is a process of its own, the most telling first, written down as soon
as it is done. One that fails or lasts too long says why, and the next begins.
While a row is timed, the next one has imported what it needs, and rests.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments import pages
from experiments.benchmarks import devices, sides, timing
from experiments.benchmarks import row as way

SELF, SECTION = 'experiments.benchmarks.rows', 'rows'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'torch')
FIRST = ('resnet32x4', 'resnet8x4')
PAIRS = (
  FIRST, ('vgg13', 'vgg8'), ('wrn_40_2', 'wrn_16_2'),
  ('resnet32x4', 'shufflenet_v2'),
)  # fmt: skip
LANES = (8, 1, 4, 24)
F32, BF16 = 'float32', 'bfloat16'
HEADER = [
  'pair', 'way', 'arithmetic', 'ms a step', 'images a second', 'warm-up s',
  'peak MB', 'to single runs (at most)',
]  # fmt: skip
INDUCTOR = 'TORCHINDUCTOR_CACHE_DIR'
QUICK = dict(
  teacher='resnet8',
  student='resnet8',
  steps=2,
  repeats=2,
  examples=16,
  batch_size=4,
  size=8,
)


def plan(strategies: Sequence[str]) -> list[way.Row]:
  """All rows, the most telling first."""
  rows = [*_first_pair(strategies), *_other_pairs(), *_lanes(strategies)]
  return list(dict.fromkeys(rows))


def _first_pair(strategies) -> list[way.Row]:
  """Every way of both sides, and eight lanes."""
  return [
    way.Row('kd_jax', 'chunks'),
    way.Row('PyTorch', way.EAGER),
    way.Row('PyTorch', way.GRAPH),
    way.Row('kd_jax', 'single steps'),
    way.Row('kd_jax', 'chunks', dtype=BF16),
    way.Row('PyTorch', way.GRAPH, dtype=BF16),
    way.Row('kd_jax', 'chunks', stored=True),
    way.Row('PyTorch', way.COMPILED),
    *(
      way.Row('kd_jax', 'chunks', lanes=8, strategy=name) for name in strategies
    ),
    way.Row('PyTorch', way.BOTH),
    way.Row('PyTorch', way.BOTH, dtype=BF16),
    way.Row('PyTorch', way.EAGER, dtype=BF16),
    way.Row('kd_jax', 'bare scan'),
    way.Row('kd_jax', 'one program a step'),
    way.Row('PyTorch', way.GRAPH, stored=True),
    way.Row('kd_jax', 'chunks', dtype=BF16, stored=True),
    way.Row('PyTorch', way.GRAPH, dtype=BF16, stored=True),
    way.Row('kd_jax', 'single steps', dtype=BF16),
  ]


def _other_pairs() -> list[way.Row]:
  """The fastest ways of both sides, and PyTorch as one writes it."""
  modes = [('kd_jax', 'chunks'), ('PyTorch', way.GRAPH), ('PyTorch', way.EAGER)]
  return [
    way.Row(side, mode, *pair, dtype=dtype)
    for pair in PAIRS[1:]
    for dtype in (F32, BF16)
    for side, mode in modes
    if (dtype, mode) != (BF16, way.EAGER)
  ]


def _lanes(strategies) -> list[way.Row]:
  """The other numbers of lanes by every strategy."""
  return [
    way.Row('kd_jax', 'chunks', lanes=lanes, strategy=name)
    for lanes in LANES[1:]
    for name in strategies
  ]


def name_of(row: way.Row) -> str:
  """What a row is, but its pair and its arithmetic."""
  words = [f'{row.side}: {row.mode}']
  if row.stored:
    words.append('stored teacher')
  if (row.lanes, row.strategy) != (1, 'loop'):
    words.append(f'{row.lanes} lanes by {row.strategy}')
  return ', '.join(words)


class FailedError(Exception):
  """Why a row has no figures."""


class Child(NamedTuple):
  """The process of a row.

  Attributes:
    row: that it measures.
    process: leader of a process group.
    lines: what it tells, as it comes; None: it has ended.
    errors: file of its standard error.
  """

  row: way.Row
  process: subprocess.Popen
  lines: queue.Queue
  errors: Any


def command(row: way.Row) -> list[str]:
  """The command of a row's process."""
  return [sys.executable, '-m', way.MODULE, json.dumps(row._asdict())]


def start(row: way.Row, changes: Mapping[str, str]) -> Child:
  """Starts the process of a row: it builds, and waits; `end` closes all."""
  errors = tempfile.TemporaryFile('w+')  # noqa: SIM115
  process = subprocess.Popen(
    command(row),
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=errors,
    text=True,
    env={**os.environ, **changes},
    start_new_session=True,
  )
  lines = queue.Queue()

  def read():
    for line in process.stdout:
      if line.startswith(way.MARK):
        lines.put(json.loads(line[len(way.MARK) :]))
    lines.put(None)

  threading.Thread(target=read, daemon=True).start()
  return Child(row, process, lines, errors)


def end(child: Child | None) -> None:
  """Ends a process and all that it started."""
  if child is None:
    return
  with contextlib.suppress(ProcessLookupError):
    os.killpg(child.process.pid, signal.SIGKILL)
  child.process.wait()
  child.process.stdin.close()
  child.errors.close()


def pause(child: Child | None, still: bool) -> None:
  """Stops a process that builds while another is timed, or goes on."""
  if child is not None:
    with contextlib.suppress(ProcessLookupError):
      number = signal.SIGSTOP if still else signal.SIGCONT
      os.killpg(child.process.pid, number)


def answer(child: Child, until: float) -> Mapping[str, Any]:
  """What the process tells next.

  Raises:
    FailedError: it ended, or tells nothing until that time.
  """
  try:
    told = child.lines.get(timeout=max(until - time.monotonic(), 0))
  except queue.Empty:
    raise FailedError('no answer in time') from None
  if told is None:
    child.process.wait()
    child.errors.seek(0)
    raise FailedError(reason(child.errors.read()) or 'ended without an answer')
  return told


def reason(text: str) -> str:
  """The line of a standard error that says why, as a cell of a table."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  named = [x for x in lines if x.split(':')[0].endswith(('Error', 'Exit'))]
  line = (named or lines or [''])[-1]
  return line.replace('|', '/')[:160]


def go_on(child: Child) -> None:
  """Tells the process to go on."""
  try:
    child.process.stdin.write('\n')
    child.process.stdin.flush()
  except OSError:
    return  # it has ended: `answer` says why


def measure(child: Child, next_child: Child | None, limit: float) -> dict:
  """The figures of a row: 'times', 'memory', 'arithmetic', 'warm'.

  Args:
    child: started.
    next_child: that rests while this one is timed.
    limit: seconds from now.

  Raises:
    FailedError: it says why there are none.
  """
  until = time.monotonic() + limit
  try:
    answer(child, until)
    go_on(child)
    warm = answer(child, until)
    pause(next_child, True)
    go_on(child)
    return {**warm, **answer(child, until)}
  except FailedError as error:
    if str(error) == 'no answer in time':
      raise FailedError(f'not done in {limit:.0f} s') from None
    raise
  finally:
    pause(next_child, False)
    end(child)


def cells(
  row: way.Row, figures: Mapping, known: Mapping[way.Row, float]
) -> list[str]:
  """The cells of a row.

  Args:
    row: that was measured.
    figures: of `measure`.
    known: seconds of a step of the rows before, which lanes are compared to.
  """
  times = figures['times']
  rate = row.lanes * row.batch_size / way.median(times)
  return [
    f'{row.teacher} to {row.student}',
    name_of(row),
    figures['arithmetic'],
    timing.shown(timing.spread(times), 3, 1e3),
    f'{rate:,.0f}',
    f'{figures["warm"]:.1f}',
    timing.megabytes(figures['memory']),
    gain(row, way.median(times), known),
  ]


def gain(row: way.Row, seconds: float, known: Mapping[way.Row, float]) -> str:
  """How much faster lanes are than single runs, and the most that they can be.

  With T seconds for the teacher and S for a student, K lanes can be
  (T + S) / (T / K + S) times as fast: T + S is the row of one lane, S that of
  the stored teacher.
  """
  alone = row._replace(lanes=1, strategy='loop')
  both, student = known.get(alone), known.get(alone._replace(stored=True))
  if row == alone or not both:
    return ''
  text = f'{row.lanes * both / seconds:.2f}'
  if not student:
    return text
  ceiling = both / (max(both - student, 0) / row.lanes + student)
  return f'{text} ({ceiling:.2f})'


def line(values: Iterable[str]) -> str:
  """A row of a markdown table."""
  return f'| {" | ".join(values)} |'


def head(device: str, argv: Sequence[str] | None) -> str:
  """What stands before the rows."""
  rule = ['---', '---', '---', *['---:'] * (len(HEADER) - 3)]
  return '\n'.join(
    [
      f'{timing.command(SELF, argv)}: median (quartiles) of a step over '
      f'several timings. {timing.machine(PACKAGES, device)}',
      '',
      line(HEADER),
      line(rule),
    ]
  )


def run(rows: Sequence[way.Row], options, say) -> int:
  """Measures rows until all are done or the budget is used.

  Args:
    rows: in order.
    options: 'ahead', 'limit', 'budget', 'changes' of the environment, and
      'cache', the folder of what torch.compile made.
    say: text -> None, for each line as it is ready.

  Returns:
    How many failed.
  """
  begun, known, failed = time.monotonic(), {}, 0
  left, following = list(rows), None
  try:
    while left:
      if time.monotonic() - begun > options.budget:
        say(f'\n{len(left)} rows were not begun: the budget was used.')
        break
      row = left.pop(0)
      # What a row that was ended left half-written is not used again.
      changes = {**options.changes, INDUCTOR: f'{options.cache}/{failed}'}
      child = following or start(row, changes)
      following = None
      if options.ahead and left:
        following = start(left[0], changes)
      try:
        figures = measure(child, following, options.limit)
        known[row] = way.median(figures['times'])
        say(line(cells(row, figures, known)))
      except FailedError as error:
        failed += 1
        pair = f'{row.teacher} to {row.student}'
        values = [pair, name_of(row), row.dtype, f'failed: {error}']
        say(line([*values, *[''] * (len(HEADER) - len(values))]))
  finally:
    end(following)
  return failed


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
  """The options."""
  parser = timing.make_parser(SELF, __doc__)
  devices.add_option(parser)
  parser.add_argument('--out', type=pathlib.Path, help='lines are added to it')
  parser.add_argument('--budget', type=float, default=math.inf, metavar='S',
                      help='seconds after which no row begins')  # fmt: skip
  parser.add_argument('--limit', type=float, default=60.0, metavar='S',
                      help='seconds that a row may take (60)')  # fmt: skip
  parser.add_argument('--only', nargs='+', default=[], metavar='TEXT',
                      help='rows whose line has one of these')  # fmt: skip
  parser.add_argument('--list', action='store_true', help='name the rows')
  return parser.parse_args(argv)


def chosen(options: argparse.Namespace, device: str) -> list[way.Row]:
  """The rows that the options leave."""
  from kd_jax.training import strategies

  change = {'device': device, **(QUICK if options.quick else {})}
  rows = [row._replace(**change) for row in plan(list(strategies.STRATEGIES))]
  return [
    row
    for row in dict.fromkeys(rows)
    if not options.only or any(x in label(row) for x in options.only)
  ]


def label(row: way.Row) -> str:
  """What --only looks at, and --list names."""
  return f'{row.teacher} to {row.student} {row.dtype} {name_of(row)}'


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 1 a row failed, 2 a user's mistake."""
  options = parse(argv)
  try:
    device = devices.resolve(options.device, ('jax', 'torch'))
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  rows = chosen(options, device)
  if options.list:
    print('\n'.join(map(label, rows)))
    return 0
  options.ahead = device == devices.GPU
  if options.quick:
    sides.compile_quickly()
  parts = []

  def say(text):
    parts.append(text)
    print(text, flush=True)
    if options.out:
      with options.out.open('a') as file:
        file.write(f'{text}\n')

  say(head(device, argv))
  with tempfile.TemporaryDirectory() as cache:
    options.cache = cache
    options.changes = {  # rows share programs and what XLA tried out
      **devices.environment(device),
      'JAX_COMPILATION_CACHE_DIR': cache,
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.3',
    }
    failed = run(rows, options, say)
  if options.write:
    pages.keep(timing.README, SECTION, '\n'.join(parts))
  return int(bool(failed))


if __name__ == '__main__':
  sys.exit(main())
