"""Imports optional packages where they are used."""

import importlib
from types import ModuleType

_PIP = {'onnx': 'onnx onnxruntime', 'onnxruntime': 'onnx onnxruntime'}


def package(name: str) -> ModuleType:
  """Imports the package `name`.

  Raises:
    ValueError: one line with the command that installs it.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ValueError(
      f"this export needs the package '{name}', which is not installed: pip "
      f'install {_PIP.get(name, name)}'
    ) from error
