"""Writes and reads finished networks: a folder of variables and a description.

A network is written beside its place and renamed into it, carries the hash of
its content, and is read without unpickling anything.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import serialization

from kd_jax import checkpoint, identities, types

VARIABLES, SPEC = 'variables.msgpack', 'network.json'


def save_network(
  folder: str | os.PathLike,
  variables: types.Variables,
  spec: Mapping[str, Any],
  *,
  overwrite: bool = False,
) -> str:
  """Writes a finished network: its variables and how to build it.

  Args:
    folder: created as a whole; a folder that holds anything but a network is
      refused.
    variables: of the network.
    spec: JSON; 'build' is the name and the options of its maker and 'inputs'
      [H, W, C]; anything else about the network.
    overwrite: moves a network that is there aside (`move_aside`); without it
      the network is refused.

  Returns:
    The content hash, which `network.json` also holds.

  Raises:
    ValueError: one line, before any writing, for a folder that is in use and
      for variables that are not arrays of numbers.
    OSError: where the folder cannot be written; nothing has changed.
  """
  folder = pathlib.Path(folder)
  check_arrays(variables)
  check_place(folder, {SPEC, VARIABLES}, overwrite)
  place = folder.resolve()  # a link stays a link
  part = place.with_name(f'.{place.name}.{os.getpid()}')
  shutil.rmtree(part, ignore_errors=True)
  variables = jax.device_get(dict(variables))
  digest = checkpoint.content_hash(variables)
  try:
    part.mkdir(parents=True)
    (part / VARIABLES).write_bytes(serialization.msgpack_serialize(variables))
    checkpoint.write_json(part / SPEC, {**spec, 'hash': digest})
    if (place / SPEC).exists():
      logging.warning('moved %s to %s', folder, checkpoint.move_aside(place))
    part.rename(place)
  except OSError as error:
    # What a full disk raises names no file.
    raise OSError(error.errno, error.strerror, os.fspath(folder)) from error
  finally:
    shutil.rmtree(part, ignore_errors=True)
  return digest


def load_network(folder: str | os.PathLike) -> tuple[types.Variables, dict]:
  """The variables and the spec of a finished network.

  Raises:
    ValueError: where the folder holds no network, or a damaged one.
  """
  folder = pathlib.Path(folder)
  if not (folder / SPEC).exists():
    known = sorted(p.parent.name for p in folder.parent.glob(f'*/{SPEC}'))
    raise ValueError(
      f'no network in {folder} ({SPEC} is missing); networks beside it: '
      f'{", ".join(known) or "none"}'
    )
  try:
    spec = json.loads((folder / SPEC).read_text())
    check_spec(spec)
    data = (folder / VARIABLES).read_bytes()
    variables = serialization.msgpack_restore(data)
  except Exception as error:
    raise ValueError(f'the network in {folder} is damaged: {error}') from error
  if checkpoint.content_hash(variables) != spec['hash']:
    raise ValueError(f'the network in {folder} is damaged: its hash differs')
  return variables, spec


def copy_folder(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a folder: to a temporary name first, which is then renamed."""
  part = target.with_name(f'.{target.name}.{os.getpid()}')
  shutil.rmtree(part, ignore_errors=True)
  part.parent.mkdir(parents=True, exist_ok=True)
  shutil.copytree(source, part)
  part.rename(target)


def check_place(
  folder: pathlib.Path, files: Collection[str], overwrite: bool
) -> None:
  """Refuses a folder that a network may not be written to.

  Args:
    folder: to be written.
    files: the names of all files of a network.
    overwrite: whether a network may be there.

  Raises:
    ValueError: for a file, a folder with anything else in it, and without
      `overwrite` a network.
  """
  if not folder.exists():
    return
  if not folder.is_dir():
    raise ValueError(f'{folder} is a file; give the name of a new folder')
  names = {path.name for path in folder.iterdir()}
  foreign = sorted(names - set(files))
  if foreign or (names and names != set(files)):
    raise ValueError(
      f'{folder} is not the folder of a network and is left alone (it holds '
      f'{", ".join((foreign or sorted(names))[:5])}); give the name of a new '
      'folder'
    )
  if names and not overwrite:
    raise ValueError(
      f'{folder} holds a network already; give the name of a new folder, or '
      'overwrite=True (--overwrite), which moves the old one aside'
    )


def check_arrays(variables: Any) -> None:
  """Refuses variables that are not arrays of numbers in a mapping.

  Raises:
    ValueError: naming the path of the first other leaf.
  """
  if not isinstance(variables, Mapping):
    raise ValueError(
      "the variables of a network are a mapping such as {'params': ..}; got "
      f'{type(variables).__name__}'
    )
  for path, leaf in jax.tree_util.tree_leaves_with_path(dict(variables)):
    dtype = leaf.dtype if hasattr(leaf, 'dtype') else np.asarray(leaf).dtype
    if not jax.dtypes.issubdtype(dtype, np.number) and dtype != np.bool_:
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      raise ValueError(
        f"variable '{name}' is {type(leaf).__name__} ({dtype}); legal: arrays "
        'of numbers'
      )


def check_shapes(
  stored: types.PyTree,
  expected: types.PyTree,
  folder: str | os.PathLike,
  whose: str = "the config's network",
) -> None:
  """Refuses variables that do not fit a network.

  Args:
    stored: the variables in `folder`.
    expected: those of the network, or their shapes.
    folder: of a finished network.
    whose: the network, in words.

  Raises:
    ValueError: naming the first leaf that differs, with both shapes.
  """
  there, here = _shapes(stored), _shapes(expected)
  for name, now, then in identities.differences(here, there, 'missing'):
    raise ValueError(
      f'the network in {folder} does not fit: {name} is {then} there and {now} '
      f'in {whose}'
    )


def _shapes(tree) -> dict[str, tuple]:
  """{path of a leaf: its shape}."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


# The kinds of the keys of network.json.
_KINDS = {
  'hash': str,
  'build': Mapping,
  'network': str,
  'made_by': str,
  'identity': Mapping,
  'data': Mapping,
  'validation': Mapping,
}


def check_spec(spec: Any) -> None:
  """Refuses a network.json that was edited by hand and is not valid.

  Raises:
    ValueError: naming the first key that is missing or of another kind.
  """
  if not isinstance(spec, Mapping):
    raise ValueError(f'network.json is not an object but {_kind(spec)}')
  if 'hash' not in spec:
    raise ValueError("network.json lacks 'hash'")
  for key, kind in _KINDS.items():
    if key in spec and not isinstance(spec[key], kind):
      raise ValueError(f"'{key}' of network.json is {_kind(spec[key])}")
  build = spec.get('build', {'given': ''})
  if 'given' not in build and not isinstance(build.get('name'), str):
    raise ValueError("'build' of network.json has no 'name' that is text")


def _kind(value: Any) -> str:
  """The kind of a value of JSON, in words."""
  names = {dict: 'an object', list: 'a list', str: 'text', bool: 'a boolean'}
  if value is None:
    return 'null'
  return names.get(type(value), 'a number')
