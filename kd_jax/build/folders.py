"""Reads a network's folder: one of ours, or one of Hugging Face's."""

import os
import pathlib

from kd_jax import checkpoint, network_files, types
from kd_jax.models import hugging_face


def is_foreign(folder: str | os.PathLike) -> bool:
  """Whether a folder is Hugging Face's, and not ours."""
  ours = (pathlib.Path(folder) / network_files.SPEC).exists()
  return not ours and hugging_face.is_folder(folder)


def read(
  folder: str | os.PathLike, dtype: str = ''
) -> tuple[types.Variables, dict]:
  """The variables and the spec of a finished network.

  Args:
    folder: of the network.
    dtype: that arrays get, of a folder of Hugging Face; '' keeps theirs.

  Raises:
    ValueError: one line, where the folder holds no network, or a damaged one,
      or one that we do not have.
  """
  if not is_foreign(folder):
    return network_files.load_network(folder)
  variables, build = hugging_face.read(folder, dtype)
  return variables, {'build': build, 'hash': checkpoint.content_hash(variables)}
