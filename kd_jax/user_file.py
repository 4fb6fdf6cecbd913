"""Functions of a user's Python file; whatever it raises is one line.

The line says where: 'FILE:LINE: Type: message', with the last line of that
file which was at work. What is raised outside of such a call is a bug of ours
and keeps its traceback.
"""

import importlib.util
import pathlib
import re
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from kd_jax import kinds, types


def load(file: str) -> ModuleType:
  """A Python file as a module.

  Raises:
    ValueError: where it does not exist, is no Python, or raises.
  """
  kinds.check('a config file', file, kinds.Folder)
  place = pathlib.Path(file)
  if not place.is_file():
    near = [str(p) for p in sorted(place.parent.glob('*.py'))]
    raise types.unknown('config file', file, near)
  spec = importlib.util.spec_from_file_location('kd_config', place)
  if spec is None:
    raise ValueError(f'{file} is not a Python file: their names end in .py')
  module = importlib.util.module_from_spec(spec)
  call(file, spec.loader.exec_module, module)
  return module


def function(file: str, name: str) -> Callable:
  """The function of a file that has this name.

  Raises:
    ValueError: where there is none; as `load`.
  """
  return pick(file, vars(load(file)), name)


def pick(file: str, values: dict[str, Any], name: str) -> Callable:
  """The function among the values of a file's module; raises as `function`."""
  if name not in values:
    raise ValueError(f'{file} has no {name}()')
  if not callable(values[name]):
    raise ValueError(
      f'{name} of {file} must be a function; got '
      f'{type(values[name]).__name__} {kinds.short(values[name])}'
    )
  return values[name]


def call(file: str, work: Callable, *arguments) -> Any:
  """What a function of the file returns.

  Raises:
    ValueError: for whatever it raises, with the file and its line.
  """
  try:
    return work(*arguments)
  except (Exception, SystemExit) as error:
    raise ValueError(_line(file, error)) from None


def _line(file: str, error: BaseException) -> str:
  """'FILE:LINE: Type: message' of an exception."""
  numbers = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if frame.filename == str(pathlib.Path(file).absolute())
    or frame.filename == str(pathlib.Path(file))
  ]
  text = str(error)
  if isinstance(error, SyntaxError) and error.lineno:
    file, numbers, text = error.filename or file, [error.lineno], error.msg
  # ml_collections quotes a text in a text, and lists every other field in it.
  text = ' '.join(text.replace('\\n', ' ').split())
  while isinstance(error, AttributeError | KeyError) and text[:1] in {'"', "'"}:
    text = text.strip(text[0])
  text = re.sub(r' Other fields present: .*?(?= Did you mean|$)', '', text)
  place = ':'.join(map(str, [file, *numbers[-1:]]))
  return ': '.join(filter(None, [place, type(error).__name__, text]))
