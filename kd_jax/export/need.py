"""Optional packages: imported where they are used, named where they lack."""

import importlib
from types import ModuleType

_PIP = {'onnx': 'onnx onnxruntime', 'onnxruntime': 'onnx onnxruntime'}


def package(name: str) -> ModuleType:
  """The package `name`.

  Raises:
    ValueError: one line with the command that installs it.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    wanted = _PIP.get(name, name)
    raise ValueError(
      f"this export needs the package '{name}', which is not installed: pip "
      f'install {wanted}'
    ) from error
