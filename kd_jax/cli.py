"""Runs an experiment: trains, compares, reports; the same again resumes.

kd-jax --config FILE[:arg] --workdir DIR
  [--config.key=value ...] [--sweep NAME] [--seeds N] [--list] [--dry_run]
  [--profile A:B]
  [--strategy loop|unrolled|map|vmap] [--lanes N] [--halving ETA]
  [--search optuna [--sweep NAME]] [--trials N]
  [--executor grid|process|slurm] [--workers N] [--status] [--retry]
  [--partition NAME] [--time H:MM:SS] [--gpus N] [--sbatch FLAG=VALUE ...]

FILE is a path, or the name of a packaged config, such as digits.
`python -m experiments.launch` is the same command where nothing is installed.
"""

import argparse
import contextlib
import difflib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterable

from kd_jax import errors, kinds, metrics, types

CONFIGS = 'experiments.configs'  # the package of the packaged configs

# The kinds of the options that are numbers.
_KINDS = {
  'seeds': kinds.Count,
  'lanes': kinds.Whole,
  'trials': kinds.Count,
  'workers': kinds.Whole,
  'gpus': kinds.Whole,
  'cpus': kinds.Whole,
}
_DEFAULTS = {
  'executor': 'grid', 'strategy': 'auto', 'lanes': 0, 'halving': 0,
  'trials': 16, 'workers': 0, 'partition': '', 'time': '60', 'gpus': 0,
  'cpus': 0, 'sbatch': [],
}  # fmt: skip
# (options, what they need, whether it is given)
_READERS = (
  (
    ('status', 'executor'),
    '--sweep',
    lambda o: o.sweep is not None or not is_away(o),
  ),
  (('trials',), '--search', lambda o: o.search is not None),
  (
    ('halving',),
    '--sweep, without --executor process or slurm',
    lambda o: o.sweep is not None and not is_away(o),
  ),
  (
    ('strategy', 'lanes'),
    'settings that are trained here, without --status or --executor',
    lambda o: not is_away(o),
  ),
  (
    ('workers', 'retry'),
    '--executor process or slurm',
    lambda o: o.executor in ('process', 'slurm'),
  ),
  (
    ('partition', 'time', 'gpus', 'cpus', 'sbatch'),
    '--executor slurm',
    lambda o: o.executor == 'slurm',
  ),
  (
    ('shelf',),
    'a single run; a sweep has a shelf in its workdir',
    lambda o: o.sweep is None and o.search is None,
  ),
)
_APART = (
  ('search', 'list'),
  ('search', 'executor'),
  ('search', 'halving'),
  ('search', 'status'),
  ('list', 'status'),
  ('overwrite', 'list'),
  ('overwrite', 'status'),
)


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
  """The options, and {dotted key: text} of the --config.key=value.

  Raises:
    ValueError: one line, for an invalid option, or an option without effect.
  """
  parser = make_parser()
  options, rest = parser.parse_known_args(argv)
  changes = changes_of(rest, parser, vars(options))
  check(options)
  for name, value in _DEFAULTS.items():
    if getattr(options, name) is None:
      setattr(options, name, value)
  if options.seeds is not None:
    changes['seeds'] = str(options.seeds)
  if options.profile is not None:
    changes['profile'] = options.profile
  return options, changes


def is_away(options: argparse.Namespace) -> bool:
  """Whether this process does not train itself."""
  return options.status or options.executor in ('process', 'slurm')


def check(options: argparse.Namespace) -> None:
  """Refuses options that do not go together; an option that is None is unset.

  Raises:
    ValueError: for the first invalid option, or option without effect.
  """
  given = {
    k for k, v in vars(options).items() if v is not None and v is not False
  }
  for first, second in _APART:
    if {first, second} <= given:
      raise ValueError(f'--{first} and --{second} do not go together')
  for names, words, is_read in _READERS:
    unread = [f'--{name}' for name in names if name in given]
    if unread and not is_read(options):
      verb = 'needs' if len(unread) == 1 else 'need'
      raise ValueError(f'{" and ".join(unread)} {verb} {words}')
  for name, kind in _KINDS.items():
    if name in given:
      kinds.check(f'--{name}', getattr(options, name), kind)
  needed = is_away(options) or not (options.dry_run or options.list)
  if needed and options.workdir is None:
    raise ValueError(
      '--workdir is required: the folder that the run is kept in'
    )


def make_parser() -> argparse.ArgumentParser:
  """The parser of the command line; its errors are ValueErrors."""
  parser = argparse.ArgumentParser(
    prog='kd-jax',
    description=__doc__.split('\n')[0],
    epilog='--config.key=value changes a key of the config',
    allow_abbrev=False,  # --seed is not --seeds
  )
  parser.error = _refuse
  parser.add_argument(
    '--config',
    required=True,
    metavar='FILE[:arg]',
    help="Python file with get_config(arg), or a packaged config's name",
  )
  parser.add_argument(
    '--workdir',
    type=_folder,
    metavar='DIR',
    help='folder in which the run is kept; the same command resumes it',
  )
  parser.add_argument(
    '--dry_run',
    action='store_true',
    default=None,
    help='build everything, print it, and train nothing',
  )
  parser.add_argument(
    '--sweep', help="names of the config's sweeps, or 'key=1,2;other=0:1:5'"
  )
  parser.add_argument(
    '--seeds', type=int, metavar='N', help='number of seeds per setting'
  )
  parser.add_argument(
    '--profile',
    metavar='A:B',
    help="trace steps A to B - 1 of each stage into the run's folder",
  )
  parser.add_argument(
    '--list',
    action='store_true',
    default=None,
    help='print the settings and train nothing',
  )
  parser.add_argument(
    '--strategy',
    choices=['auto', 'loop', 'unrolled', 'map', 'vmap'],
    help='how settings are trained at once in one process (auto)',
  )
  parser.add_argument(
    '--lanes',
    type=int,
    metavar='N',
    help='lanes trained at once (0: as many as fit)',
  )
  parser.add_argument(
    '--halving',
    type=int,
    metavar='ETA',
    help='keep the best 1/ETA of the settings at each rung',
  )
  parser.add_argument(
    '--search',
    choices=['optuna'],
    help="search in the config's search_space(); with --sweep: for each "
    'setting, which is then trained with what was best',
  )
  parser.add_argument(
    '--trials', type=int, metavar='N', help='number of trials of a search (16)'
  )
  parser.add_argument(
    '--overwrite',
    action='store_true',
    default=None,
    help='move what is in the workdir aside, and begin anew',
  )
  parser.add_argument(
    '--shelf',
    type=_folder,
    metavar='DIR',
    help='folder of results that runs share',
  )
  _add_executors(parser)
  return parser


def _add_executors(parser) -> None:
  parser.add_argument(
    '--executor',
    choices=['grid', 'process', 'slurm'],
    help='how the settings of a sweep are run: together in this process '
    '(grid), in a process each, or in a job of a cluster each',
  )
  parser.add_argument(
    '--workers',
    type=int,
    metavar='N',
    help='processes or jobs at once (0: one per GPU, or core)',
  )
  parser.add_argument(
    '--status',
    action='store_true',
    default=None,
    help='show the progress of each setting',
  )
  parser.add_argument(
    '--retry',
    action='store_true',
    default=None,
    help='also retry settings that failed',
  )
  slurm = parser.add_argument_group('slurm')
  slurm.add_argument('--partition', help="name (the cluster's default)")
  slurm.add_argument(
    '--time', help='minutes until the job is saved and requeued (60)'
  )
  slurm.add_argument('--gpus', type=int, metavar='N', help='GPUs per setting')
  slurm.add_argument('--cpus', type=int, metavar='N', help='CPUs per setting')
  slurm.add_argument(
    '--sbatch',
    action='append',
    metavar='FLAG=VALUE',
    help='further option of sbatch, such as account=NAME',
  )


def _refuse(message: str) -> None:
  """Raises where argparse would print the usage and exit."""
  raise ValueError(message)


def _folder(text: str) -> pathlib.Path:
  """The folder that an option names."""
  try:
    kinds.check('a folder', text, kinds.Folder)
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from None
  return pathlib.Path(text)


def changes_of(
  rest: list[str], parser: argparse.ArgumentParser, known: Iterable[str] = ()
) -> dict[str, str]:
  """{dotted key: text} of the --config.key=value; refuses all other arguments.

  Args:
    rest: the arguments that are no options.
    parser: its `error` is called for unknown arguments.
    known: the options, for "did you mean".
  """
  changes, known = {}, [f'--{name}' for name in known]
  for text in rest:
    key, equals, value = text.partition('=')
    if not (key.startswith('--config.') and equals):
      near = difflib.get_close_matches(key, known, n=1)
      of_config = key.startswith('--config.') or not near
      meant = '--config.key=value' if of_config else near[0]
      parser.error(f"unknown argument '{text}'; did you mean {meant}?")
    changes[key.removeprefix('--config.')] = value
  return changes


def packaged(config: str) -> str:
  """'FILE[:arg]' of a packaged config given by name; a path is unchanged.

  Raises:
    ValueError: one line, for a name that no packaged config has.
  """
  name, colon, arg = config.partition(':')
  try:
    spec = importlib.util.find_spec(CONFIGS)
  except ImportError:
    spec = None
  if (
    arg.startswith('//')
    or not name.isidentifier()
    or os.path.exists(name)
    or spec is None
  ):
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
  """Hides the start-up messages of JAX's backends, before it is imported."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')


def main(argv: list[str] | None = None) -> int:
  """Runs a command line; 0 done, 1 failed, 2 a user's mistake, 130 stopped."""
  try:
    options, changes = parse(sys.argv[1:] if argv is None else argv)
  except ValueError as mistake:
    return _end(mistake)
  set_up()
  try:
    with metrics.note('reading config and data, building the networks'):
      import jax

      from kd_jax.executors import distributed
      from kd_jax.runs import command, interrupts

      options.config = packaged(options.config)
      distributed.find()
      work = command.make(options, changes)
  except ValueError as mistake:
    return _end(mistake)
  except KeyboardInterrupt:
    print('stopped before anything was done', file=sys.stderr)
    return errors.STOPPED
  try:
    with interrupts.heard() as caught:
      text = work(distributed.agreed(lambda: bool(caught())))
  except (
    errors.StoppedError,
    errors.DivergedError,
    errors.JobError,
    errors.CacheError,
    errors.DamagedError,
    errors.LanesError,
    errors.BusyError,
    errors.UserError,
    OSError,
  ) as error:
    return _end(error)
  if jax.process_index() == 0:
    _show(text)
  return errors.DONE


def _show(text: str) -> None:
  """Prints the result; the reader may have closed the pipe (`| head`)."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    # Python flushes once more at its exit, which must find an open file.
    with contextlib.suppress(OSError, ValueError):
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(error: Exception) -> int:
  """Prints in one line why a command ended; returns its exit code."""
  line = ' '.join(str(error).split())
  if isinstance(error, errors.StoppedError):
    text = f'stopped and saved {line}; run the same command to continue'
  else:
    text = f'error: {line}'
  print(text, file=sys.stderr)
  return errors.exit_code(error)


if __name__ == '__main__':
  sys.exit(main())
