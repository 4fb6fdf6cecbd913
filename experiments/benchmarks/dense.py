"""Times a step of segmentation beside PyTorch, and every dense method.

python -m experiments.benchmarks.dense [--write] [--quick] [--repeats N]
"""

import argparse
import sys

from experiments import pages
from experiments.benchmarks import settings, sides, step, timing

MODULE, SECTION = 'experiments.benchmarks.dense', 'dense'
OURS = 'experiments.benchmarks.our_dense'
THEIRS = 'experiments.benchmarks.pytorch.dense'
SMALL = settings.SCENES._replace(
  teacher=(4, 4, 6, 8, 8), student=(2, 2, 2, 2, 2), shape=(32, 32, 3),
  batch_size=2,
)  # fmt: skip
HEADER = ['method', 'ms a step', 'to pixel_kd', 'temporary MB', 'held MB']


def parse(argv: list[str] | None) -> argparse.Namespace:
  """The options."""
  parser = timing.make_parser(MODULE, __doc__)
  parser.add_argument('--repeats', type=int, help='timings of each (9)')
  options = parser.parse_args(argv)
  options.repeats = options.repeats or (2 if options.quick else 9)
  return options


def steps(pair: settings.Maps, repeats: int, seconds: float) -> list[list[str]]:
  """The rows of the pair: times, ratios, peak memory."""
  with (
    sides.start('kd_jax', f'{OURS}:step_tasks', pair) as ours,
    sides.start('PyTorch', f'{THEIRS}:step_tasks', pair) as theirs,
  ):
    return step.rows_of((ours, theirs), pair.batch_size, repeats, seconds)


def methods(
  pair: settings.Maps, repeats: int, seconds: float
) -> list[list[str]]:
  """A row of each method: timed in turn with KD at every pixel."""
  rows = []
  with sides.start('kd_jax', f'{OURS}:method_tasks', pair) as ours:
    for name in sides.ask(ours, 'known')[1:]:
      (plain, mine), facts = sides.race(
        [(ours, 'plain'), (ours, name)], repeats, seconds
      )
      rows.append(
        [
          name,
          f'{timing.spread(mine).median * 1e3:.1f}',
          timing.shown(timing.ratio(mine, plain)),
          *(f'{facts[1][key] / 1e6:.3f}' for key in ('temporary', 'held')),
        ]
      )
      sides.ask(ours, 'drop', name)
  return rows


def main(argv: list[str] | None = None) -> int:
  """The exit code: 0 done, 1 failed, 2 a user's mistake."""
  options = parse(argv)
  mistake = timing.missing_torch()
  if options.repeats < 1:
    mistake = f'repeats must be at least 1, not {options.repeats}'
  if mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  pair, seconds = settings.SCENES, 0.3
  if options.quick:
    sides.compile_quickly()
    pair, seconds = SMALL, 0.01
  about = timing.machine(('jax', 'jaxlib', 'flax', 'optax', 'torch'))
  try:
    whole = steps(pair, options.repeats, seconds)
    by_method = methods(pair, options.repeats, seconds)
  except RuntimeError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  text = '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: {options.repeats} repeats, median '
      f'(quartiles). {about}',
      pages.table(['', 'kd_jax', 'PyTorch', 'kd_jax / PyTorch'], whole),
      pages.table(HEADER, by_method),
    ]
  )
  timing.publish(SECTION, text, options.write)
  return 0


if __name__ == '__main__':
  sys.exit(main())
