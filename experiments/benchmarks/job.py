"""Where the time of the main job goes: README's first run, part by part.

  python -m experiments.benchmarks.job [--write] [--quick]

Each run is a process of its own, from the first import to the written report,
and takes turns with the other ways. 'First' finds nothing compiled; 'again'
finds the programs that the first one left in a cache of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from experiments import pages
from experiments.benchmarks import timing

MODULE, SECTION = 'experiments.benchmarks.job', 'job'
PACKAGES = ('jax', 'jaxlib', 'numpy')
CONFIG = 'experiments/configs/first.py'
# How the config says, and as the loop of 8dc8783 dispatched: a step at a time.
WAYS = {'in chunks': (), 'single steps': ('--config.steps_at_once=1',)}
REPEATS = 3
SHORT = (
  '--config.seeds=1', '--config.train.epochs=1', '--config.teacher.epochs=1'
)  # fmt: skip
# What `clock` times of a launch beside the training of lanes.
PARTS = (
  ('runs', 'build_all', 'data and networks'),
  ('compare', 'run', 'comparison'),
  ('report', 'write', 'report'),
)
CODE = """
import time; begun = time.perf_counter()
import contextlib, io, json, sys
from experiments.benchmarks import clock
import kd_jax.cli, kd_jax.runs
watch = clock.start('imports and the rest', begun)
clock.watch(watch, clock.PARTS + tuple(map(tuple, json.loads(sys.argv[1]))))
with contextlib.redirect_stdout(io.StringIO()):
  code = kd_jax.cli.main(sys.argv[2:])
print(json.dumps(watch.read()))
sys.exit(code)
"""


def run(options: Sequence[str], cache: str) -> dict[str, float]:
  """{part: seconds} of a run; the folder `cache` keeps what it compiles."""
  with tempfile.TemporaryDirectory() as folder:
    done = subprocess.run(
      [
        *(sys.executable, '-c', CODE, json.dumps(PARTS)),
        *('--config', CONFIG, '--workdir', f'{folder}/run', *options),
      ],
      capture_output=True,
      text=True,
      check=False,
      env={
        **os.environ,
        'JAX_COMPILATION_CACHE_DIR': cache,
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.3',
      },
    )
  if done.returncode:
    raise RuntimeError(done.stderr.strip()[-2000:])
  return json.loads(done.stdout.strip().split('\n')[-1])


def report(quick: bool, argv: Sequence[str] | None) -> str:
  """The section of the README, measured now."""
  machine = timing.machine(PACKAGES)
  runs = {}
  for _ in range(1 if quick else REPEATS):
    for way, options in WAYS.items():
      with tempfile.TemporaryDirectory() as cache:
        for start in ('first', 'again'):
          parts = run([*options, *(SHORT if quick else ())], cache)
          runs.setdefault(f'{way}, {start}', []).append(parts)
  return '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: seconds of '
      f'`python -m experiments.launch --config {CONFIG}`, median (quartiles) '
      f'of {1 if quick else REPEATS}. {machine}',
      pages.table(['', *runs], rows(runs)),
    ]
  )


def rows(runs: dict[str, list[dict[str, float]]]) -> list[list[str]]:
  """A row for each part, the longest first, and one for their sum."""
  first = next(iter(runs.values()))[0]
  names = sorted(first, key=first.get, reverse=True)
  found = [
    [name, *(_shown([of.get(name, 0.0) for of in r]) for r in runs.values())]
    for name in names
  ]
  whole = [_shown([sum(of.values()) for of in each]) for each in runs.values()]
  return [*found, ['all', *whole]]


def _shown(seconds: Sequence[float]) -> str:
  return timing.shown(timing.spread(seconds), 1)


def main(argv: Sequence[str] | None = None) -> int:
  """Measures, prints, and writes when asked."""
  return timing.run_on_cpu(MODULE, __doc__, SECTION, report, argv)


if __name__ == '__main__':
  sys.exit(main())
