"""The classical findings of distillation: trains them.

  python -m experiments.classical --workdir runs/classical [--only noise ..]

Trains the sweeps of `configs/classical.py` in one folder, without the pages
that a launcher would write of each run; the same command continues.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

from experiments.configs import classical
from kd_jax import errors

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = str(HERE / 'configs/classical.py')
# In this order: the last but one loads what the one before it left.
SWEEPS = {
  'noise': classical.sweep_noise,
  'temperature': classical.sweep_temperature,
  'gap': classical.sweep_gap,
  'ensemble': classical.sweep_ensemble,
  'patience': classical.sweep_patience,
  'smoothed': classical.sweep_smoothed,
  'from_smoothed': classical.sweep_from_smoothed,
}


def train(
  workdir: pathlib.Path, names: Sequence[str], stop: Callable[[], bool]
) -> None:
  """Trains the settings of sweeps that are not finished, and compares them.

  Args:
    workdir: of all sweeps.
    names: keys of SWEEPS, in their order.
    stop: whether to save and end.

  Raises:
    ValueError: as `runs.build_all`.
    errors.StoppedError: `stop` was true.
  """
  from kd_jax import config, runs
  from kd_jax.runs import sweep_run

  base = config.to_json(config.read(CONFIG))
  for name in names:
    settings = sweep_run.make(CONFIG, {}, SWEEPS[name](), workdir)
    prepared = sweep_run.build_all(settings, workdir)
    runs.claim(prepared, sweep_of=base)
    results = runs.train_all(prepared, stop, pages=False)
    for setting, result in results.items():
      if result.failure:
        print(f'{setting}: {result.failure}', file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 2 a user's mistake, 130 stopped."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.classical', description=__doc__.split('\n')[0]
  )
  parser.add_argument('--workdir', type=pathlib.Path, metavar='DIR')
  parser.add_argument('--only', nargs='+', choices=SWEEPS, default=[*SWEEPS])
  options = parser.parse_args(argv)
  from kd_jax import cli
  from kd_jax.runs import interrupts

  cli.set_up()
  try:
    with interrupts.heard() as caught:
      train(options.workdir, options.only, lambda: bool(caught()))
  except (OSError, ValueError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return errors.USER
  except errors.StoppedError as stopped:
    print(f'stopped and saved {stopped}', file=sys.stderr)
    return errors.STOPPED
  return 0


if __name__ == '__main__':
  sys.exit(main())
