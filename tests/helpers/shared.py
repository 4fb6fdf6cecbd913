"""Where the raw data of the tests lie, if they do."""

import os
import pathlib
import tempfile

import pytest

_NEAR = pathlib.Path(__file__).resolve().parents[3] / 'shared'
_ROOT = pathlib.Path(os.environ.get('KD_JAX_SHARED', _NEAR))


def path(*parts: str) -> pathlib.Path | None:
  """`shared/parts`, or None where that folder does not exist."""
  found = _ROOT.joinpath(*parts)
  return found if found.exists() else None


def prepared() -> str:
  """The data folder of these tests: what takes long is prepared once."""
  return f'{tempfile.gettempdir()}/prepared'


def need(*parts: str) -> pathlib.Path:
  """`path(*parts)`; skips the calling test where it does not exist."""
  found = path(*parts)
  if found is None:
    pytest.skip(f'no shared/{"/".join(parts)} here (set KD_JAX_SHARED)')
  return found
