"""Tokens a second of training on text, kd_jax beside PyTorch's transformers.

python -m experiments.benchmarks.text [--write] [--quick] [--repeats N]

An encoder (BERT, a masked language model) and two causal models (GPT-2, Llama)
of the same sizes on both sides learn by cross-entropy of all tokens and AdamW,
f32, without dropout. PyTorch runs eager, as transformers builds the network.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

from experiments import pages
from experiments.benchmarks import sides, timing

MODULE, SECTION = 'experiments.benchmarks.text', 'text'
OURS = 'experiments.benchmarks.our_texts:tasks'
THEIRS = 'experiments.benchmarks.pytorch.texts:tasks'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'torch', 'transformers')
NAMES = ('bert', 'gpt2', 'llama')
HEADER = ['tokens a second of a step', 'kd_jax', 'transformers', 'ratio']


class Size(NamedTuple):
  """Of a network and of its batches.

  Attributes:
    width, depth, heads: D, number of blocks, heads of each.
    vocabulary: V.
    batch_size, length: B, L.
  """

  width: int
  depth: int
  heads: int
  vocabulary: int
  batch_size: int
  length: int


SIZES = (Size(128, 2, 2, 2048, 16, 64), Size(256, 4, 4, 8192, 8, 128))
QUICK = (Size(16, 1, 2, 32, 2, 8),)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
  """The options."""
  parser = timing.make_parser(MODULE, __doc__)
  parser.add_argument('--repeats', type=int, help='timings of each (7)')
  options = parser.parse_args(argv)
  options.repeats = options.repeats or (2 if options.quick else 7)
  return options


def measure(size: Size, repeats: int, seconds: float) -> list[list[str]]:
  """The rows of a size: both rates and their ratio, for each network."""
  rows, tokens = [], size.batch_size * size.length
  with (
    sides.start('kd_jax', OURS, tuple(size)) as ours,
    sides.start('transformers', THEIRS, tuple(size)) as theirs,
  ):
    for name in NAMES:
      (a, b), _ = sides.race([(ours, name), (theirs, name)], repeats, seconds)
      rates = [[tokens / x for x in times] for times in (a, b)]
      shown = (timing.shown(timing.spread(x), 0) for x in rates)
      label = (
        f'{name}, {size.depth} x {size.width}, V {size.vocabulary:,}, '
        f'{size.batch_size} x {size.length} tokens'
      )
      rows.append([label, *shown, timing.shown(timing.ratio(*rates))])
      for side in (ours, theirs):
        sides.ask(side, 'drop', name)
  return rows


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 1 failed, 2 a user's mistake."""
  options = parse(argv)
  if timing.missing_torch():
    print(f'error: {timing.missing_torch()}', file=sys.stderr)
    return 2
  if options.repeats < 1:
    print('error: --repeats must be at least 1', file=sys.stderr)
    return 2
  if options.quick:
    sides.compile_quickly()
  about = timing.machine(PACKAGES)
  seconds = 0.01 if options.quick else 0.5
  try:
    rows = [
      row
      for size in (QUICK if options.quick else SIZES)
      for row in measure(size, options.repeats, seconds)
    ]
  except RuntimeError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  head = (
    f'{timing.command(MODULE, argv)}: {options.repeats} repeats, median '
    f'(quartiles). {about}'
  )
  text = '\n\n'.join([head, pages.table(HEADER, rows)])
  timing.publish(SECTION, text, options.write)
  return 0


if __name__ == '__main__':
  sys.exit(main())
