"""Runs an experiment: trains, compares, reports; the same again resumes.

  python -m experiments.launch --config FILE[:arg] --workdir DIR
    [--config.key=value ...] [--sweep NAME] [--seeds N] [--list] [--dry_run]
    [--strategy loop|vmap] [--lanes N] [--halving ETA]
    [--search optuna] [--trials N]
"""

import argparse
import os
import pathlib
import signal
import sys
from collections.abc import Callable

USER, STOPPED = 2, 130


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
  """The options, and {dotted key: text} of the --config.key=value."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.launch', description=__doc__.split('\n')[0],
    epilog='--config.key=value changes a key of the config',
  )
  parser.add_argument('--config', required=True, metavar='FILE[:arg]')
  parser.add_argument('--workdir', type=pathlib.Path)
  parser.add_argument('--dry_run', action='store_true', help='train nothing')
  parser.add_argument(
    '--sweep', help="names of the config's sweeps, or 'key=1,2;other=0:1:5'"
  )
  parser.add_argument('--seeds', type=int, help='how many, of each setting')
  parser.add_argument(
    '--list', action='store_true', help='print the settings, train nothing'
  )
  parser.add_argument(
    '--strategy', default='auto', help='how a grid moves its lanes: loop, vmap'
  )
  parser.add_argument(
    '--lanes', type=int, default=0, help='at once; 0: as many as fit'
  )
  parser.add_argument(
    '--halving', type=int, default=0, metavar='ETA',
    help='keep the best 1/ETA of the settings at each rung',
  )
  parser.add_argument(
    '--search', choices=['optuna'], help="over the config's search_space()"
  )
  parser.add_argument('--trials', type=int, default=16, help='of the search')
  parser.add_argument(
    '--shelf', type=pathlib.Path, help='where runs find what they share'
  )
  options, rest = parser.parse_known_args(argv)
  changes = changes_of(rest, parser)
  if options.seeds is not None:
    changes['seeds'] = str(options.seeds)
  if options.workdir is None and not (options.dry_run or options.list):
    parser.error('--workdir is missing: where the run is kept')
  return options, changes


def changes_of(
  rest: list[str], parser: argparse.ArgumentParser
) -> dict[str, str]:
  """{dotted key: text} of the --config.key=value; nothing else may be left."""
  changes = {}
  for text in rest:
    key, equals, value = text.partition('=')
    if not (key.startswith('--config.') and equals):
      parser.error(f'unknown argument {text}; --config.key=value is meant?')
    changes[key.removeprefix('--config.')] = value
  return changes


def set_up() -> None:
  """Quiet start-up, and a compilation cache; before JAX is imported."""
  # The backends' own chatter is no news to a user.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  os.environ.setdefault(
    'JAX_COMPILATION_CACHE_DIR', str(pathlib.Path.home() / '.cache/kd_jax')
  )
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')


def watch() -> list:
  """Collects SIGTERM and the first Ctrl-C; a second Ctrl-C interrupts."""
  caught = []

  def handle(number, frame):
    del frame
    if caught:
      signal.default_int_handler(number, None)
    caught.append(number)
    print('\nstopping after this step ..', file=sys.stderr)

  signal.signal(signal.SIGTERM, handle)
  signal.signal(signal.SIGINT, handle)
  return caught


def main(argv: list[str] | None = None) -> int:
  """The exit code: 0 done, 1 failed, 2 a user's mistake, 130 stopped."""
  options, changes = parse(sys.argv[1:] if argv is None else argv)
  set_up()
  from kd_jax import cache, strategies, train

  try:
    work = make_work(options, changes)
  except ValueError as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return USER
  caught = watch()
  try:
    print(work(lambda: bool(caught)))
  except train.Stopped as stopped:
    print(f'stopped and saved: {stopped}; the same command continues',
          file=sys.stderr)
    return STOPPED
  except (cache.Refused, strategies.DoesNotFit) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return USER
  except (train.Diverged, OSError) as failure:
    print(f'error: {failure}', file=sys.stderr)
    return 1
  return 0


def make_work(options, changes) -> Callable[[Callable[[], bool]], str]:
  """What the options ask for: stop -> what is said when it is done.

  Raises:
    ValueError: one line, for what cannot be meant; nothing has begun.
  """
  from kd_jax import build, config, describe, grid, runs, search, settings
  from kd_jax.compare import table

  c = config.read(options.config, changes)
  experiment = build.make_experiment(c)
  plan = grid.make_plan(options.strategy, options.lanes, options.halving)
  workdir, data, many = options.workdir, experiment.data, {}
  if options.sweep is not None:
    swept = settings.named(options.config, options.sweep)
    many = settings.make(options.config, changes, swept, workdir)
  if options.list:
    return lambda stop: settings.describe(many) if many else 'one setting'
  if options.dry_run:
    return lambda stop: describe.describe(experiment)
  if options.search:
    search.require_optuna()
    space = search.space_of(options.config)
    return lambda stop: settings.table(search.run(
      options.config, changes, space, options.trials, workdir, stop, data, plan
    ))
  if many:
    prepared = settings.prepare(many, workdir, data)
    return lambda stop: settings.table(
      settings.launch(many, prepared, stop, plan)
    )
  prepared = runs.prepare({'': c}, workdir, data)

  def train(stop):
    report = runs.only(runs.train_all(prepared, stop, plan, options.shelf))
    return f'{table.table(report)}\n\n{workdir}/report.html'

  return train


if __name__ == '__main__':
  sys.exit(main())
