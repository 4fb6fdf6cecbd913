"""Times a distillation step of kd_jax beside a plain PyTorch loop.

python -m experiments.benchmarks.step [--write] [--quick]
  [--repeats N] [--batch_sizes 32 128]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from experiments import pages
from experiments.benchmarks import devices, settings, sides, timing

MODULE = 'experiments.benchmarks.step'
OURS, THEIRS = (
  'experiments.benchmarks.ours',
  'experiments.benchmarks.pytorch.networks',
)
WORK = {
  'step': 'whole step',
  'student': "student's step, teacher's outputs given",
  'teacher': "teacher's forward",
}
# In a fresh process: what a library, what all else, what the first step takes.
START = """
import json, time
begun = time.perf_counter()
import {library}
library = time.perf_counter() - begun
import experiments.benchmarks.{side} as side
from experiments.benchmarks import settings, sides
sides.settle({device!r})
imports = time.perf_counter() - begun
pair = settings.CNNS._replace(batch_size={size})
print(json.dumps(
  {{'library': library, 'imports': imports,
   **side.first_step(pair, *{arguments})}}
))
"""


def parse(argv: list[str] | None) -> argparse.Namespace:
  """The options."""
  parser = timing.make_parser(MODULE, __doc__)
  parser.add_argument('--repeats', type=int, help='timings of each (15)')
  parser.add_argument('--batch_sizes', type=int, nargs='+')
  devices.add_option(parser)
  options = parser.parse_args(argv)
  options.repeats = options.repeats or (2 if options.quick else 15)
  options.batch_sizes = options.batch_sizes or (
    [4] if options.quick else [32, 128]
  )
  return options


def measure(
  size: int, repeats: int, seconds: float, device: str
) -> list[list[str]]:
  """The rows of a batch size: times, ratios, peak memory."""
  pair = settings.CNNS._replace(batch_size=size)
  with (
    sides.start('kd_jax', f'{OURS}:step_tasks', pair, device=device) as ours,
    sides.start(
      'PyTorch', f'{THEIRS}:step_tasks', pair, device, device=device
    ) as theirs,
  ):
    return rows_of((ours, theirs), size, repeats, seconds)


def rows_of(
  both: tuple[sides.Side, sides.Side], size: int, repeats: int, seconds: float
) -> list[list[str]]:
  """The rows of two sides that have the tasks of `WORK`.

  Args:
    both: kd_jax's and PyTorch's.
    size: of a batch.
    repeats, seconds: see `sides.race`.
  """
  rows, memory = [], None
  for task, label in WORK.items():
    (a, b), _ = sides.race([(side, task) for side in both], repeats, seconds)
    times = (timing.shown(timing.spread(x), 1, 1e3) for x in (a, b))
    ratio = timing.shown(timing.ratio(a, b))
    rows.append([f'{label}, batch {size} (ms)', *times, ratio])
    # Of the whole step alone: what later tasks add does not belong to it.
    memory = memory or [sides.ask(side, 'memory') for side in both]
  a, b = memory
  return [
    *rows,
    [
      f'peak memory of the process, batch {size} (MB)',
      timing.megabytes(a),
      timing.megabytes(b),
      f'{a / b:.2f}',
    ],
  ]


def start(
  library: str, side: str, size: int, cache: str, device: str
) -> Mapping:
  """Seconds that a fresh process takes, by part, and its 'whole' life.

  Args:
    library: the package that is imported first.
    side: the module of this folder that makes the first step, dotted.
    size: of the batch.
    cache: folder of compiled programs; JAX's.
    device: that it is on.
  """
  environment = {
    **os.environ,
    'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
    'TF_CPP_MIN_LOG_LEVEL': '2',
    # As `experiments.launch` sets them.
    'JAX_COMPILATION_CACHE_DIR': cache,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.3',
  }
  code = START.format(
    library=library,
    side=side,
    size=size,
    device=device,
    arguments=[device] if library == 'torch' else [],
  )
  begun = time.perf_counter()
  done = subprocess.run(
    [sys.executable, '-c', code],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  whole = time.perf_counter() - begun
  if done.returncode:
    raise RuntimeError(f'{library}: {done.stderr.strip().splitlines()[-1]}')
  return {**json.loads(done.stdout.splitlines()[-1]), 'whole': whole}


def measure_start(size: int, repeats: int, device: str) -> list[list[str]]:
  """The rows of start-up: kd_jax, kd_jax again, PyTorch."""
  found = [[], [], []]
  for _ in range(repeats):
    with tempfile.TemporaryDirectory() as cache:
      for of in found[:2]:
        of.append(start('kd_jax', 'ours', size, cache, device))
      found[2].append(start('torch', 'pytorch.networks', size, cache, device))
  parts = {
    'library': '`import kd_jax`, `import torch`',
    'imports': 'all imports',
    'build': 'networks, optimizer and state',
    'first': 'first step (compiled, or read from the cache)',
    'whole': 'the process, from start to end',
  }
  return [
    [
      f'{label} (s)',
      *(timing.shown(timing.spread([x[part] for x in side])) for side in found),
    ]
    for part, label in parts.items()
  ]


def main(argv: list[str] | None = None) -> int:
  """The exit code: 0 done, 1 failed, 2 a user's mistake."""
  options = parse(argv)
  if timing.missing_torch():
    print(f'error: {timing.missing_torch()}', file=sys.stderr)
    return 2
  if min(*options.batch_sizes, options.repeats) < 1:
    print('error: batch sizes and repeats must be at least 1', file=sys.stderr)
    return 2
  try:
    device = devices.use(options.device, ('jax', 'torch'))
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  if options.quick:
    sides.compile_quickly()
  about = timing.machine(('jax', 'jaxlib', 'flax', 'optax', 'torch'), device)
  seconds = 0.01 if options.quick else 0.3
  try:
    rows = [
      row
      for size in options.batch_sizes
      for row in measure(size, options.repeats, seconds, device)
    ]
    starts = measure_start(
      options.batch_sizes[0], 1 if options.quick else 3, device
    )
  except RuntimeError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  text = '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: {options.repeats} repeats, median '
      f'(quartiles). {about}',
      pages.table(['', 'kd_jax', 'PyTorch', 'kd_jax / PyTorch'], rows),
      pages.table(
        [
          f'start, batch {options.batch_sizes[0]}',
          'kd_jax, first start',
          'kd_jax, second start',
          'PyTorch',
        ],
        starts,
      ),
    ]
  )
  timing.publish('step', text, options.write)
  return 0


if __name__ == '__main__':
  sys.exit(main())
