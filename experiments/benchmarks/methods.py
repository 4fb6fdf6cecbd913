"""Times every method's step against plain kd's, and PyTorch's beside it.

python -m experiments.benchmarks.methods [--write] [--quick]
  [--repeats N] [--methods kd at ...]
"""

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence

from experiments import pages
from experiments.benchmarks import settings, sides, timing
from experiments.benchmarks.pytorch import torchdistill

MODULE = 'experiments.benchmarks.methods'
OURS = 'experiments.benchmarks.our_methods:tasks'
THEIRS = 'experiments.benchmarks.pytorch.methods:tasks'
HEADER = [
  'method',
  'ms a step',
  'to kd',
  'temporary MB',
  'held MB',
  'PyTorch ms',
  'kd_jax / PyTorch',
  'kd_jax / torchdistill',
]


def parse(argv: list[str] | None) -> argparse.Namespace:
  """The options."""
  parser = timing.make_parser(MODULE, __doc__)
  parser.add_argument('--repeats', type=int, help='timings of each (7)')
  parser.add_argument('--methods', nargs='+', help='these only')
  options = parser.parse_args(argv)
  options.repeats = options.repeats or (2 if options.quick else 7)
  return options


def measure(
  names: Sequence[str],
  pairs: Mapping,
  repeats: int,
  seconds: float,
  twins: bool,
) -> dict[str, list[str]]:
  """The row of each method; what fails has a row that says why.

  Args:
    names: of the methods.
    pairs: see `settings.PAIRS`.
    repeats: of each timing.
    seconds: that each timing lasts.
    twins: whether PyTorch takes part.
  """
  rows, left = {}, list(names)
  while left:
    with contextlib.ExitStack() as stack:
      start = stack.enter_context
      ours = start(sides.start('kd_jax', OURS, pairs, settings.EXAMPLES))
      both = [ours]
      if twins:
        both.append(start(sides.start('PyTorch', THEIRS, pairs)))
      beside = sides.ask(both[1], 'known') if twins else []
      used = dict.fromkeys(settings.entry(name).pair for name in left)
      sides.ask(ours, 'build', [*(f'kd/{pair}' for pair in used), *left])
      # One that hangs takes its process with it: the rest gets a new one.
      while left and all(map(sides.alive, both)):
        name = left.pop(0)
        try:
          rows[name] = row(name, both, beside, repeats, seconds)
          sides.ask(ours, 'drop', name)
        except RuntimeError as error:
          rows[name] = [name, f'failed: {error}', *[''] * (len(HEADER) - 2)]
  return rows


def row(name, both, beside, repeats, seconds) -> list[str]:
  """The row of a method: timed in turn with kd and with what is beside it."""
  ours = both[0]
  entries = [(ours, f'kd/{settings.entry(name).pair}'), (ours, name)]
  entries += [
    (both[1], other) for other in (name, f'library/{name}') if other in beside
  ]
  times, facts = sides.race(entries, repeats, seconds, budget=4.0)
  plain, mine, *others = times
  ratios = [timing.shown(timing.ratio(mine, x)) for x in others]
  twin = f'{timing.spread(others[0]).median * 1e3:.1f}' if others else ''
  return [
    name,
    f'{timing.spread(mine).median * 1e3:.1f}',
    timing.shown(timing.ratio(mine, plain)),
    f'{facts[1]["temporary"] / 1e6:.1f}',
    f'{facts[1]["held"] / 1e6:.2f}',
    twin,
    *ratios,
    *[''] * (2 - len(ratios)),
  ]


def main(argv: list[str] | None = None) -> int:
  """The exit code: 0 done, 1 a method failed, 2 a user's mistake."""
  options = parse(argv)
  names, pairs = options.methods or settings.names(), settings.PAIRS
  for name in names:
    if name not in settings.names():
      from kd_jax import types  # not above: PyTorch's side needs no JAX

      error = types.unknown('method', name, settings.names())
      print(f'error: {error}', file=sys.stderr)
      return 2
  missing = timing.missing_torch()
  if missing:
    print(f'without PyTorch beside it; {missing}', file=sys.stderr)
  if options.quick:
    sides.compile_quickly()
    pairs = {
      which: pair._replace(batch_size=4, shape=(16, 16, 3))
      for which, pair in pairs.items()
    }
  about = timing.machine(
    ('jax', 'jaxlib', 'flax', 'optax', 'torch', torchdistill.PACKAGE)
  )
  seconds = 0.01 if options.quick else 0.1
  rows = measure(names, pairs, options.repeats, seconds, not missing)
  text = '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: up to {options.repeats} repeats, '
      f'median (quartiles). {about}',
      pages.table(HEADER, [rows[name] for name in names]),
    ]
  )
  timing.publish('methods', text, options.write)
  return int(any('failed' in row[1] for row in rows.values()))


if __name__ == '__main__':
  sys.exit(main())
