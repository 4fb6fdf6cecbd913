"""Images a second of five pairs of the literature, kd_jax beside PyTorch.

python -m experiments.benchmarks.models [--write] [--quick] [--repeats N]
  [--pairs resnet32x4,resnet8x4 ...]
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from experiments import pages
from experiments.benchmarks import devices, settings, sides, timing

MODULE = 'experiments.benchmarks.models'
OURS = 'experiments.benchmarks.our_models:tasks'
THEIRS = 'experiments.benchmarks.pytorch.mobile:tasks'
PAIRS = (
  ('resnet32x4', 'resnet8x4'), ('wrn_40_2', 'wrn_16_2'), ('vgg13', 'vgg8'),
  ('vgg13', 'mobilenet_v2'), ('resnet32x4', 'shufflenet_v2'),
)  # fmt: skip
WORK = {
  'step': '{teacher} teaches {student}: a step',
  'teacher': '{teacher}: forward',
  'student': '{student}: forward',
}
HEADER = ['images a second', 'kd_jax', 'PyTorch', 'kd_jax / PyTorch']


def parse(argv: list[str] | None) -> argparse.Namespace:
  """The options."""
  parser = timing.make_parser(MODULE, __doc__)
  parser.add_argument('--repeats', type=int, help='timings of each (9)')
  parser.add_argument('--pairs', nargs='+', help='these only')
  devices.add_option(parser)
  options = parser.parse_args(argv)
  options.repeats = options.repeats or (2 if options.quick else 9)
  known = {','.join(pair): pair for pair in PAIRS}
  for name in options.pairs or ():
    if name not in known:
      parser.error(f"unknown pair '{name}'; known: {', '.join(known)}")
  options.pairs = [known[name] for name in options.pairs or known]
  return options


def rows_of(
  pair: settings.Pair,
  repeats: int,
  seconds: float,
  done: set[str],
  device: str = 'cpu',
) -> list[list[str]]:
  """The rows of a pair; a network that was timed before is not again.

  Args:
    pair: its networks.
    repeats: of each timing.
    seconds: that each timing lasts.
    done: networks whose forward has its row; the pair's are added.
    device: of both sides.
  """
  work = ['step']
  for who in ('teacher', 'student'):
    name = getattr(pair, who)
    if name not in done:
      work.append(who)
      done.add(name)
  names, rows = {'teacher': pair.teacher, 'student': pair.student}, []
  with (
    sides.start('kd_jax', OURS, pair, device=device) as ours,
    sides.start('PyTorch', THEIRS, pair, device, device=device) as theirs,
  ):
    sides.ask(ours, 'build', work)
    for task in work:
      label = WORK[task].format(**names)
      rows.append(row(label, pair, (ours, theirs), task, repeats, seconds))
      for side in (ours, theirs):
        sides.ask(side, 'drop', task)
  return rows


def row(label, pair, both, task, repeats, seconds) -> list[str]:
  """The row of a task of a pair."""
  (a, b), _ = sides.race([(side, task) for side in both], repeats, seconds)
  rates = [[pair.batch_size / x for x in times] for times in (a, b)]
  shown = (timing.shown(timing.spread(x), 0) for x in rates)
  return [label, *shown, timing.shown(timing.ratio(*rates))]


def measure(
  options: argparse.Namespace, change: Mapping, seconds: float, device: str
) -> tuple[list[list[str]], list[str]]:
  """The rows of all pairs, and a line for each that failed."""
  rows, failed, done = [], [], set()
  for teacher, student in options.pairs:
    pair = settings.Pair(teacher, student, (32, 32, 3), 100, 64)
    try:
      pair = pair._replace(**change)
      rows += rows_of(pair, options.repeats, seconds, done, device)
    except RuntimeError as error:
      failed.append(f'{teacher},{student}: {error}')
  return rows, failed


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 1 a pair failed, 2 a user's mistake."""
  options = parse(argv)
  if timing.missing_torch():
    print(f'error: {timing.missing_torch()}', file=sys.stderr)
    return 2
  try:
    device = devices.use(options.device, ('jax', 'torch'))
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  change = {}
  if options.quick:
    sides.compile_quickly()
    change = {'batch_size': 4, 'shape': (16, 16, 3)}
  about = timing.machine(('jax', 'jaxlib', 'flax', 'optax', 'torch'), device)
  seconds = 0.01 if options.quick else 0.5
  rows, failed = measure(options, change, seconds, device)
  for line in failed:
    print(f'error: {line}', file=sys.stderr)
  text = '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: up to {options.repeats} repeats, '
      f'median (quartiles). {about}',
      pages.table(HEADER, rows),
    ]
  )
  timing.publish('models', text, options.write and not failed)
  return int(bool(failed))


if __name__ == '__main__':
  sys.exit(main())
