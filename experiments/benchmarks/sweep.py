"""Times a sweep of 24 settings: a grid, single runs, a plain PyTorch loop.

  python -m experiments.benchmarks.sweep [--write] [--quick] [--singles N]
    [--epochs N] [--images N] [--raw_dir DIR]

Each is a process from its start to its end: imports, compiling, training and
the accuracy on test of every setting; no side compares or draws reports. What
the reports of a grid take beside is given with the other parts of its time.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from experiments import pages
from experiments.benchmarks import devices, sweep_sides, timing

MODULE, SECTION = 'experiments.benchmarks.sweep', 'sweep'
PICTURE = pathlib.Path(__file__).with_name('sweep.svg')
PACKAGES = ('jax', 'jaxlib', 'flax', 'torch')
LANES = (1, 2, 4, 8, 16, 32, 64)


class Effort(NamedTuple):
  """How much is done.

  Attributes:
    images: of the training set.
    epochs: over it.
    repeats: of everything.
    singles: single runs that are timed; the rest is taken to cost as much.
    lanes: of the growth of time and memory, by `steps` steps.
  """

  images: int = 10_000
  epochs: int = 10
  repeats: int = 3
  singles: int = 24
  lanes: Sequence[int] = LANES
  steps: int = 20


QUICK = Effort(256, 1, 1, 1, (1, 2), 2)


def side(what: str, on: str = 'cpu', **options) -> dict:
  """Runs a side as a process of its own, on a device.

  Returns:
    What it printed: 'seconds' from start to end, 'memory' in bytes, more.
  """
  code = (
    'import json, sys, time; begun = time.perf_counter()\n'
    'from experiments.benchmarks import sides, sweep_sides\n'
    'sides.settle(sys.argv[3])\n'
    'found = sweep_sides.SIDES[sys.argv[1]](**json.loads(sys.argv[2]))\n'
    'print(json.dumps({**found, "memory": sides.peak_memory(),'
    ' "seconds": time.perf_counter() - begun}))'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, what, json.dumps(options), on],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '2'},
  )
  if done.returncode:
    raise RuntimeError(f'{what}: {done.stderr.strip()[-2000:]}')
  return json.loads(done.stdout.strip().split('\n')[-1])


def race(
  effort: Effort, data: str, folder: str, device: str
) -> tuple[list[list[str]], list[dict]]:
  """The rows of the table: seconds of each, and ratios; the grids' parts."""
  common = {'data': data, 'teacher': folder, 'epochs': effort.epochs}
  common['on'] = device
  points = len(sweep_sides.POINTS)
  step = max(points // effort.singles, 1)
  chosen = list(range(0, points, step))[: effort.singles]
  seconds, memory, parts = {}, {}, []

  def add(name, runs, scale=1.0):
    total = scale * sum(run['seconds'] for run in runs)
    seconds.setdefault(name, []).append(total)
    memory[name] = max(run['memory'] for run in runs)

  for _ in range(effort.repeats):
    grid = side('grid', reports=True, **common)
    parts.append(grid['parts'])
    grid['seconds'] -= grid['parts']['report']
    add('grid', [grid])
    add('stored', [side('grid', stored=True, **common)])
    # A process trains one after the other: PyTorch imports once for all.
    torch = side('torch', points=chosen, device=device, **common)
    loop = torch['seconds'] - torch['start']
    torch['seconds'] = torch['start'] + loop * points / len(chosen)
    add('torch', [torch])
    singles = [side('grid', points=[k], **common) for k in chosen]
    add('single', singles, points / len(chosen))
  names = {
    'grid': 'kd_jax, one grid',
    'stored': 'kd_jax, one grid, teacher outputs stored',
    'single': 'kd_jax, 24 single runs',
    'torch': 'PyTorch, 24 in a loop',
  }
  rows = [
    [
      text,
      timing.shown(timing.spread(seconds[name]), 1),
      timing.shown(timing.ratio(seconds['torch'], seconds[name]), 1),
      timing.shown(timing.ratio(seconds['single'], seconds[name]), 1),
      timing.megabytes(memory[name]),
    ]
    for name, text in names.items()
  ]
  return rows, parts


def shares(parts: Sequence[dict]) -> list[list[str]]:
  """The rows of the parts of a grid's time: seconds, and per cent of all."""
  sums = [sum(found.values()) for found in parts]
  rows = []
  for name in sorted(parts[0], key=parts[0].get, reverse=True):
    values = [found[name] for found in parts]
    share = timing.spread([100 * v / s for v, s in zip(values, sums)])
    rows.append(
      [name, timing.shown(timing.spread(values), 1), f'{share.median:.0f}']
    )
  return rows


def reached(row: dict) -> float:
  """The share of the ceiling that a step of K lanes reaches.

  The ceiling is K (teacher + student) in the time of teacher + K student.
  """
  return (row['teacher'] + row['lanes'] * row['student']) / row['step']


def growth(effort: Effort, data: str, folder: str, device: str) -> list[dict]:
  """Milliseconds of a step and peak memory by the number of lanes."""
  return [
    {
      'lanes': k,
      **side(
        'growth', device, data=data, teacher=folder, lanes=k, steps=effort.steps
      ),
    }
    for k in effort.lanes
  ]


def draw(found: Sequence[dict], path: pathlib.Path) -> None:
  """Time and memory over lanes, relative to one lane."""
  from matplotlib.figure import Figure

  figure = Figure((6, 3.4), layout='constrained')
  axes = figure.add_subplot()
  lanes = [row['lanes'] for row in found]
  for key, label in (('step', 'time of a step'), ('memory', 'peak memory')):
    axes.plot(
      lanes, [row[key] / found[0][key] for row in found], 'o-', label=label
    )
  axes.plot(lanes, lanes, '--', color='grey', label='as many single runs')
  axes.set(
    xscale='log', yscale='log', xlabel='lanes', ylabel='relative to one lane'
  )
  axes.set_xticks(lanes, map(str, lanes))
  axes.legend()
  figure.savefig(path, format='svg', metadata={'Date': None})


def report(
  effort: Effort,
  argv: Sequence[str] | None,
  raw_dir: str,
  draws: bool,
  device: str,
) -> str:
  """The section of README.md."""
  machine = timing.machine(PACKAGES, device)
  with tempfile.TemporaryDirectory() as folder:
    data = sweep_sides.prepare(folder, effort.images, raw_dir)
    rows, parts = race(effort, data, folder, device)
    table = pages.table(
      ['', 'seconds', 'PyTorch / this', 'single runs / this', 'peak MB'], rows
    )
    found = growth(effort, data, folder, device)
  if draws:
    draw(found, PICTURE)
  scaled = (
    ''
    if effort.singles == len(sweep_sides.POINTS)
    else (
      f" Of the single runs and of PyTorch's {effort.singles} were timed, "
      'spread over the sweep; their time is scaled to 24.'
    )
  )
  kind = 'MNIST' if raw_dir else 'synthetic'
  return '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: {effort.repeats} repeats, median '
      f'(quartiles). {machine}',
      f'{effort.images:,} {kind} images, {effort.epochs} epochs of batch '
      f'{sweep_sides.BATCH}.{scaled}',
      table,
      'Where the time of the grid goes, the reports of its runs included:',
      pages.table(['', 'seconds', '%'], shares(parts)),
      f'How a grid grows, over {effort.steps} steps (compiling left out; '
      'memory is that of the process). The ceiling of K lanes is the time of '
      'the teacher and K times that of the student, each timed alone:',
      pages.table(
        ['lanes', 'ms a step', 'to one lane', '% of the ceiling', 'peak MB'],
        [
          [
            str(row['lanes']),
            f'{1e3 * row["step"]:.1f}',
            f'{row["step"] / found[0]["step"]:.2f}',
            f'{100 * reached(row):.0f}',
            timing.megabytes(row['memory']),
          ]
          for row in found
        ],
      ),
      f'![Time and memory over lanes]({PICTURE.name})',
    ]
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Measures, prints, and writes when asked."""
  parser = timing.make_parser(MODULE, __doc__)
  parser.add_argument('--singles', type=int, help='single runs timed (24)')
  parser.add_argument('--repeats', type=int, help='of everything (3)')
  parser.add_argument('--epochs', type=int, help='of the training (10)')
  parser.add_argument('--images', type=int, help='to train on (10,000)')
  parser.add_argument(
    '--raw_dir',
    default=os.environ.get('KD_JAX_RAW_DIR', ''),
    help="with MNIST's four files; without it images are synthetic",
  )
  devices.add_option(parser)
  options = parser.parse_args(argv)
  missing = timing.missing_torch()
  if missing:
    print(f'error: {missing}', file=sys.stderr)
    return 2
  try:
    device = devices.use(options.device, ('jax', 'torch'))
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  effort = QUICK if options.quick else Effort()
  effort = effort._replace(
    singles=options.singles or effort.singles,
    repeats=options.repeats or effort.repeats,
    epochs=options.epochs or effort.epochs,
    images=options.images or effort.images,
  )
  draws = options.write
  text = report(effort, argv, options.raw_dir, draws, device)
  timing.publish(SECTION, text, options.write)
  return 0


if __name__ == '__main__':
  sys.exit(main())
