"""A job: a setting of a sweep as the command that trains it alone."""

import ast
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kd_jax import sweep

SHELF, LOGS = 'shelf', 'logs'


class Job(NamedTuple):
  """One setting of a sweep.

  Attributes:
    name: of the setting, and of its folder.
    command: that trains it; given again, it resumes.
    folder: of the run. Its log and what else is known of it are not in there
      but in `records(job)`: a run takes no folder that is not empty.
  """

  name: str
  command: tuple[str, ...]
  folder: pathlib.Path


def jobs_of(
  file: str,
  changes: Mapping[str, str],
  settings: Sequence[sweep.Setting],
  workdir: pathlib.Path,
) -> list[Job]:
  """The jobs of a sweep.

  Args:
    file: 'FILE' or 'FILE:arg' of the config; the key 'arg' of a setting is
      another arg.
    changes: {dotted key: text}, the same for all.
    settings: of the sweep.
    workdir: of the sweep; what settings share is in its shelf.

  Raises:
    ValueError: for an empty sweep, two settings with the same folder, or a
      value that cannot be written on a command line.
  """
  listed = []
  for name, setting in sweep.expand(settings).items():
    words = arguments(file, changes, setting, workdir / name)
    shelf = '--shelf', str(workdir / SHELF)
    listed.append(Job(name, (sys.executable, *words, *shelf), workdir / name))
  return listed


def arguments(
  file: str,
  changes: Mapping[str, str],
  setting: sweep.Setting,
  folder: pathlib.Path,
) -> tuple[str, ...]:
  """What Python is given to train a setting alone; the rest as `jobs_of`."""
  path, rest = split(file, setting)
  # The setting comes last, as it does in one process.
  texts = {k: v for k, v in changes.items() if k not in rest}
  texts |= {key: text_of(key, value) for key, value in rest.items()}
  return (
    '-m',
    'kd_jax.cli',
    '--config',
    path,
    '--workdir',
    str(folder),
    *(f'--config.{key}={text}' for key, text in texts.items()),
  )


def split(file: str, setting: sweep.Setting) -> tuple[str, sweep.Setting]:
  """'FILE:arg' with the setting's own arg, and what else it changes."""
  rest = dict(setting)
  if 'arg' in rest:
    file = f'{file.partition(":")[0]}:{rest.pop("arg")}'
  return file, rest


def text_of(key: str, value: Any) -> str:
  """A value as the text that is read as this value again.

  Raises:
    ValueError: where there is none.
  """
  if isinstance(value, str):
    return value
  if hasattr(value, 'tolist'):  # of NumPy
    value = value.tolist()
  if hasattr(value, 'to_dict'):  # of ml_collections
    value = value.to_dict()
  try:
    if ast.literal_eval(repr(value)) == value:
      return repr(value)
  except (ValueError, SyntaxError):
    pass
  raise ValueError(
    f'{key} of the sweep has a value that no command line can hold: {value!r}'
  )


def records(job: Job) -> pathlib.Path:
  """The folder of the log of a job and what else is known of it."""
  return job.folder.parent / LOGS / job.name
