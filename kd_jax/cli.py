"""Runs an experiment: trains, compares, reports; the same again resumes.

kd-jax --config FILE[:arg] --workdir DIR
  [--config.key=value ...] [--sweep NAME] [--seeds N] [--list] [--dry_run]
  [--strategy loop|vmap] [--lanes N] [--halving ETA]
  [--search optuna] [--trials N]
  [--executor grid|process|slurm] [--workers N] [--status] [--retry]
  [--partition NAME] [--time H:MM:SS] [--gpus N] [--sbatch FLAG=VALUE ...]

FILE is a path, or the name of a packaged config, such as digits.
`python -m experiments.launch` is the same command where nothing is installed.
"""

import argparse
import importlib.util
import os
import pathlib
import signal
import sys

from kd_jax import errors, metrics

CONFIGS = 'experiments.configs'  # the package of the packaged ones


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
  """The options, and {dotted key: text} of the --config.key=value."""
  parser = make_parser()
  options, rest = parser.parse_known_args(argv)
  changes = changes_of(rest, parser)
  if options.seeds is not None:
    changes['seeds'] = str(options.seeds)
  away = options.status or options.executor != 'grid'
  if away and options.sweep is None:
    parser.error('--status, --executor process and slurm are of a --sweep')
  if options.workdir is None and (
    away or not (options.dry_run or options.list)
  ):
    parser.error('--workdir is missing: where the run is kept')
  return options, changes


def make_parser() -> argparse.ArgumentParser:
  """All that the command line knows."""
  parser = argparse.ArgumentParser(
    prog='kd-jax',
    description=__doc__.split('\n')[0],
    epilog='--config.key=value changes a key of the config',
  )
  parser.add_argument(
    '--config',
    required=True,
    metavar='FILE[:arg]',
    help="a path, or a packaged config's name",
  )
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
    '--halving',
    type=int,
    default=0,
    metavar='ETA',
    help='keep the best 1/ETA of the settings at each rung',
  )
  parser.add_argument(
    '--search', choices=['optuna'], help="over the config's search_space()"
  )
  parser.add_argument('--trials', type=int, default=16, help='of the search')
  parser.add_argument(
    '--overwrite',
    action='store_true',
    help='move what is in the workdir aside, and begin anew',
  )
  parser.add_argument(
    '--shelf', type=pathlib.Path, help='where runs find what they share'
  )
  _add_executors(parser)
  return parser


def _add_executors(parser) -> None:
  parser.add_argument(
    '--executor',
    choices=['grid', 'process', 'slurm'],
    default='grid',
    help='of a sweep: here at once, a process each, a job of a cluster each',
  )
  parser.add_argument(
    '--workers',
    type=int,
    default=0,
    help='processes or jobs at once; 0: one for each GPU, or core',
  )
  parser.add_argument(
    '--status', action='store_true', help='how far the settings are'
  )
  parser.add_argument(
    '--retry', action='store_true', help='those that failed before too'
  )
  slurm = parser.add_argument_group('slurm')
  slurm.add_argument('--partition', default='')
  slurm.add_argument(
    '--time', default='60', help='until it is saved and queued again: minutes'
  )
  slurm.add_argument('--gpus', type=int, default=0, help='of each setting')
  slurm.add_argument('--cpus', type=int, default=0, help='of each setting')
  slurm.add_argument(
    '--sbatch',
    action='append',
    default=[],
    metavar='FLAG=VALUE',
    help='more for sbatch, such as account=NAME',
  )


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


def packaged(config: str) -> str:
  """'FILE[:arg]' of a packaged config that is given by name; a path as it is.

  Raises:
    ValueError: one line, for a name that no packaged config has.
  """
  from kd_jax import types  # not before set_up: it imports JAX

  name, colon, arg = config.partition(':')
  try:
    spec = importlib.util.find_spec(CONFIGS)
  except ImportError:
    spec = None
  if not name.isidentifier() or os.path.exists(name) or spec is None:
    return config
  folder = pathlib.Path(spec.submodule_search_locations[0])
  known = {
    path.stem: path
    for path in sorted(folder.glob('*.py'))
    if 'def get_config(' in path.read_text()
  }
  if name not in known:
    raise types.unknown('packaged config', name, known)
  return f'{known[name]}{colon}{arg}'


def set_up() -> None:
  """Quiet start-up, caches of programs and memory; before JAX is imported."""
  from kd_jax.executors import hardware

  hardware.keep_freed()
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
    # A cluster may send SIGTERM twice: that is no hurry.
    if caught and number == signal.SIGINT:
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
  try:
    with metrics.note('reading config and data, building the networks'):
      import jax

      from kd_jax.executors import distributed
      from kd_jax.runs import command

      options.config = packaged(options.config)
      distributed.find()
      work = command.make(options, changes)
  except ValueError as mistake:
    return _end(mistake)
  caught = watch()
  try:
    said = work(distributed.agreed(lambda: bool(caught)))
  except (
    errors.StoppedError,
    errors.DivergedError,
    errors.JobError,
    errors.CacheError,
    errors.LanesError,
    errors.BusyError,
    OSError,
  ) as error:
    return _end(error)
  if jax.process_index() == 0:
    print(said)
  return errors.DONE


def _end(error: Exception) -> int:
  """Says in one line why a command ended; its exit code."""
  if isinstance(error, errors.StoppedError):
    text = f'stopped and saved {error}; run the same command to continue'
  else:
    text = f'error: {error}'
  print(text, file=sys.stderr)
  return errors.exit_code(error)


if __name__ == '__main__':
  sys.exit(main())
