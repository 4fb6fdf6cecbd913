"""Claims the folder of a run or a sweep, and records its environment.

config.json        the config of the run, resolved
inputs.json        content hashes of the data and networks that it reads
tokenizer.json     of a data set of text
sweep_config.json  in the folder of a sweep: the config that it changes
"""

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax

from kd_jax import (
  build,
  checkpoint,
  errors,
  identities,
  kinds,
  locks,
  metrics,
  parallel,
)
from kd_jax.data.text import tokenizing

CONFIG, INPUTS, SWEEP = 'config.json', 'inputs.json', 'sweep_config.json'
LOCK = '.lock'
# What says nothing of a folder: a lock, and temporary files of `write_json`.
_OURS = re.compile(
  r'\.lock|\.writable|\.(inputs|config|sweep_config)\.json\.\d+'
)
_PACKAGES = (
  'jax',
  'flax',
  'optax',
  'orbax-checkpoint',
  'ml-collections',
  'tensorflow-datasets',
  'numpy',
)


def claim(
  folder: pathlib.Path, settings: dict, inputs: Mapping, tokenizer: str = ''
) -> None:
  """Creates the folder of a run, or checks that it is the same run's.

  Args:
    folder: of the run.
    settings: its config as JSON.
    inputs: fingerprints of its data and loaded networks, JSON.
    tokenizer: the text of its tokenizer's file; '': there is none.

  Raises:
    errors.UserError: it belongs to another config or to other inputs (the first
      that differs is named), is no run, or cannot be written.
  """
  _first_then_others(
    folder, lambda: _claim_run(folder, settings, inputs, tokenizer)
  )


def claim_sweep(folder: pathlib.Path, settings: dict) -> None:
  """Creates the folder of a sweep or search, or checks that it is the same's.

  Args:
    folder: of the sweep, which has one folder for each setting.
    settings: the config that the settings change, as JSON.

  Raises:
    errors.UserError: as `claim`.
  """
  _first_then_others(folder, lambda: _claim_sweep(folder, settings))


def _first_then_others(folder, work: Callable[[], None]) -> None:
  """Runs `work` in the first process, then in the others."""
  if jax.process_index():
    parallel.meet(f'{folder} is claimed')
    work()
    return
  try:
    work()
  finally:
    parallel.meet(f'{folder} is claimed')


def _claim_run(folder, settings, inputs, tokenizer) -> None:
  """Claims the folder of a run in one process."""
  _make(folder)
  if (folder / SWEEP).exists():
    raise errors.UserError(
      f'{folder} is the folder of a sweep; use another workdir'
    )
  if (folder / CONFIG).exists():
    if not (folder / INPUTS).exists():
      raise errors.UserError(
        f'{folder} is a run of kd_jax before 0.2, which alone can continue it; '
        'its report, comparison and export can be made; use another workdir'
      )
    _compare(folder, CONFIG, settings, 'another config')
  else:
    _refuse_filled(folder, 'run', CONFIG)
  if (folder / INPUTS).exists():
    _compare(folder, INPUTS, inputs, 'other inputs')
  if jax.process_index() == 0:
    # In this order: a folder with a config is whole, and what a kill leaves
    # before has the inputs, see `_is_begun`.
    checkpoint.write_json(folder / INPUTS, dict(inputs))
    if tokenizer:
      (folder / tokenizing.FILE).write_text(tokenizer, encoding='utf-8')
    checkpoint.write_json(folder / CONFIG, settings)
    (folder / 'command.txt').write_text(shlex.join(sys.orig_argv) + '\n')
    checkpoint.write_json(folder / 'environment.json', environment())


def _claim_sweep(folder, settings) -> None:
  """Claims the folder of a sweep in one process."""
  _make(folder)
  if (folder / CONFIG).exists():
    raise errors.UserError(
      f'{folder} is the folder of a single run; use another workdir'
    )
  if (folder / SWEEP).exists():
    _compare(folder, SWEEP, settings, 'another config')
  else:
    _refuse_filled(folder, 'sweep', SWEEP)
  if jax.process_index() == 0:
    checkpoint.write_json(folder / SWEEP, settings)


def _make(folder: pathlib.Path) -> None:
  """Creates the folder, or raises why it cannot be written."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / '.writable').touch()
    (folder / '.writable').unlink(missing_ok=True)
  except OSError as error:
    raise errors.UserError(
      f'workdir {folder} cannot be written: {error.strerror}'
    ) from None


def _compare(folder, name: str, mine: Mapping, what: str) -> None:
  """Refuses a folder whose file differs from mine."""
  theirs, idle = _read(folder / name), build.idle(mine)
  difference = identities.first_difference(
    *({k: v for k, v in of.items() if k not in idle} for of in (mine, theirs))
  )
  if difference:
    raise errors.UserError(
      f'{folder} belongs to {what}: {difference}; use another workdir, '
      'or overwrite (--overwrite, overwrite=True), which moves this one aside'
    )


def _read(path: pathlib.Path) -> dict:
  """The JSON object of a file; raises where it is none."""
  try:
    value = checkpoint.read_json(path)
  except (OSError, ValueError) as error:
    raise errors.UserError(f'{path} cannot be read: {error}') from None
  if not isinstance(value, dict):
    raise errors.UserError(f'{path} is not a JSON object')
  return value


def _refuse_filled(folder, kind: str, name: str) -> None:
  """Refuses a folder that holds something else."""
  names = _content(folder)
  if names and not _is_begun(names):
    raise errors.UserError(
      f'{folder} is not empty and is not a {kind} (no {name})'
    )


def _content(folder: pathlib.Path) -> set[str]:
  """The names in a folder that say what it is."""
  names = {path.name for path in folder.iterdir()}
  return {name for name in names if not _OURS.fullmatch(name)}


def _is_begun(names: set[str]) -> bool:
  """Whether a claim that was killed before its config has left these."""
  return INPUTS in names and names <= {INPUTS, tokenizing.FILE}


def make_room(folder: pathlib.Path) -> None:
  """Moves a run or sweep aside, so that its folder can be begun anew.

  Raises:
    errors.UserError: the folder holds something else.
    errors.BusyError: it is being trained.
  """
  if not folder.exists() or jax.process_index():
    return
  if not folder.is_dir():
    raise errors.UserError(f'{folder} is a file: it is not moved aside')
  names = _content(folder)
  if names and not (names & {CONFIG, SWEEP} or _is_begun(names)):
    raise errors.UserError(
      f'{folder} is neither a run nor a sweep: it is not moved aside'
    )
  if names:
    with lock(folder):
      target = checkpoint.move_aside(folder)
    metrics.say(f'moved {folder} to {target}')


def supersede(
  folder: pathlib.Path, settings: Mapping, keys: Iterable[str]
) -> None:
  """Moves a run aside whose values of some keys are no longer wanted.

  Args:
    folder: of the run; there may be none.
    settings: the config that it is to have, as JSON.
    keys: dotted, of values or of sub-trees.

  Raises:
    errors.UserError: its config cannot be read.
    errors.BusyError: it is being trained.
  """
  if jax.process_index() or not (folder / CONFIG).exists():
    return
  trees = tuple(f'{key}.' for key in keys)
  difference = identities.first_difference(
    *(
      {
        key: value
        for key, value in identities.flatten(of).items()
        if f'{key}.'.startswith(trees)
      }
      for of in (settings, _read(folder / CONFIG))
    )
  )
  if difference:
    metrics.say(f'{folder} is trained anew: {difference}')
    make_room(folder)


@contextlib.contextmanager
def lock(*folders: pathlib.Path) -> Iterator[None]:
  """Holds folders for this process alone, inside the block.

  Raises:
    errors.BusyError: another process trains there.
  """
  with contextlib.ExitStack() as stack:
    if jax.process_index() == 0:
      for folder in sorted(set(folders)):
        stack.enter_context(locks.exclusive(folder / LOCK, folder))
    yield


def check_path(path: str | os.PathLike, key: str) -> None:
  """Refuses a path that is not on this machine.

  Raises:
    ValueError: for 'gs://...' and the like, which would become local folders.
  """
  kinds.check(key, os.fspath(path), kinds.Folder)


def environment() -> dict:
  """Versions, devices and the commit of the code; without git 'unknown'."""
  commit = ''
  with contextlib.suppress(OSError, subprocess.SubprocessError):
    commit = subprocess.run(
      ['git', 'rev-parse', 'HEAD'],
      capture_output=True,
      text=True,
      timeout=5,
      cwd=pathlib.Path(__file__).parent,
      check=False,
    ).stdout.strip()
  return {
    'python': platform.python_version(),
    'machine': f'{platform.system()} {platform.machine()}',
    'devices': [str(d) for d in jax.devices()],
    'commit': commit or 'unknown',
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
  }
