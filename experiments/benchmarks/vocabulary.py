"""Losses over large vocabularies: memory and time in chunks and on all logits.

  python -m experiments.benchmarks.vocabulary [--quick] [--write]

Hidden states and heads in, the loss and its gradients by the student's hidden
states and head out. 'dense' makes the logits of all tokens; 'chunks' those of
CHUNK tokens at a time (a term with chunk=). Memory is what the compiled program
holds beside its arguments (`memory_analysis`), and is compared with that of the
dense program on CHUNK tokens: the least that chunks can need. A program that
needs more than LIMIT is compiled and not run.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments import pages
from experiments.benchmarks import timing

MODULE, SECTION = 'experiments.benchmarks.vocabulary', 'vocabulary'
PACKAGES = ('jax', 'jaxlib', 'numpy')
CHUNK, LIMIT = 256, 24 * 2**30
STUDENT, TEACHER = 64, 128  # widths
LOSSES = ('kd', 'generalized_jsd', 'skew_kl', 'cross_entropy')


class Effort(NamedTuple):
  """How much is done.

  Attributes:
    vocabularies: V.
    tokens: N.
    repeats: of a timing; both ways take turns.
    run: bytes that this machine has for a program; a larger one is not run.
  """

  vocabularies: Sequence[int]
  tokens: Sequence[int]
  repeats: int
  run: int


FULL = Effort((32_000, 151_936), (1024, 4096), 3, 6 * 2**30)
QUICK = Effort((4096,), (512,), 1, 2**30)


class Program(NamedTuple):
  """A compiled loss with gradients: its bytes, and () -> seconds of a run."""

  bytes: int
  seconds: Callable[[], float]


def program(name: str, tokens: int, classes: int, chunk: int | None) -> Program:
  """The loss `name` on so many tokens; chunk None: on all logits at once."""
  import jax

  from kd_jax import methods
  from kd_jax.losses import heads

  method = methods.make_method(name, **({'chunk': chunk} if chunk else {}))
  hparams = dict(method.hparams)
  variables = {'params': {}, 'state': {}}

  def side(hidden, kernel):
    head = {'kernel': kernel}
    outputs = {'final': hidden, 'head': head}
    if not chunk:
      outputs['logits'] = heads.logits(head, hidden)
    return outputs

  def loss(learnt, teacher, labels):
    batch = {'labels': labels}
    student, taught = side(*learnt), side(*teacher)
    value, _ = method.loss(variables, student, taught, batch, hparams)
    return value.mean()

  def drawn(*shape):
    rng = np.random.default_rng(len(shape))
    return rng.standard_normal(shape, np.float32)

  labels = np.arange(tokens, dtype=np.int32)[None] % classes
  given = (
    (drawn(1, tokens, STUDENT), drawn(STUDENT, classes) / 8),
    (drawn(1, tokens, TEACHER), drawn(TEACHER, classes) / 8),
    labels,
  )
  compiled = jax.jit(jax.value_and_grad(loss)).lower(*given).compile()
  memory = compiled.memory_analysis()

  def seconds():
    start = time.perf_counter()
    jax.block_until_ready(compiled(*given))
    return time.perf_counter() - start

  held = memory.temp_size_in_bytes + memory.output_size_in_bytes
  return Program(held, seconds)


def row(name: str, tokens: int, classes: int, effort: Effort) -> list[str]:
  """A line of the table."""
  dense = program(name, tokens, classes, None)
  chunks = program(name, tokens, classes, CHUNK)
  least = program(name, CHUNK, classes, None)
  logits = 4 * tokens * classes
  cells = [
    name,
    f'{classes:,}',
    str(tokens),
    f'{timing.megabytes(dense.bytes)} ({dense.bytes / logits:.1f})',
    timing.megabytes(chunks.bytes),
    f'{chunks.bytes / least.bytes:.2f}',
  ]
  if dense.bytes > effort.run:
    return [*cells, f'dense not run: it needs {dense.bytes / 2**30:.1f} GiB']
  for each in (dense, chunks):
    each.seconds()
  pairs = [(chunks.seconds(), dense.seconds()) for _ in range(effort.repeats)]
  ratio = statistics.median(ours / theirs for ours, theirs in pairs)
  return [*cells, f'{ratio:.2f}']


def table(effort: Effort) -> str:
  """All losses and sizes."""
  rows = [
    row(name, tokens, classes, effort)
    for name in LOSSES
    for classes in effort.vocabularies
    for tokens in effort.tokens
  ]
  header = [
    'loss',
    'V',
    'tokens',
    'dense, MB (of them arrays of logits)',
    'chunks, MB',
    "over one chunk's",
    'time over dense',
  ]
  return pages.table(header, rows)


def report(effort: Effort, argv: Sequence[str] | None) -> str:
  """The section of README.md."""
  return '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)} on {timing.machine(PACKAGES)}',
      f'Loss and gradients by hidden states ({STUDENT} wide; the teacher '
      f'{TEACHER}) and head, f32, {CHUNK} tokens a chunk.',
      table(effort),
    ]
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Measures, prints, and writes when asked."""

  def text(quick, argv):
    return report(QUICK if quick else FULL, argv)

  return timing.run_on_cpu(MODULE, __doc__, SECTION, text, argv)


if __name__ == '__main__':
  sys.exit(main())
