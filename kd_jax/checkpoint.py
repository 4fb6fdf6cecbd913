"""What is on disk: checkpoints of a state, and finished networks.

Both are written beside their place and renamed into it, carry the hash of
their content, and are read without unpickling anything.
"""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax import serialization

from kd_jax import types

VARIABLES, SPEC = 'variables.msgpack', 'network.json'


def content_hash(tree: types.PyTree) -> str:
  """SHA-256 of the paths, types, shapes and bytes of a tree's leaves."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    leaf = np.asarray(_data(leaf))
    digest.update(jax.tree_util.keystr(path).encode())
    digest.update(f'{leaf.dtype}{leaf.shape}'.encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def _data(leaf):
  """The numbers of a leaf; a typed key's are its words."""
  is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  )
  return jax.random.key_data(leaf) if is_key else leaf


def make_manager(folder: str | os.PathLike, keep: int) -> ocp.CheckpointManager:
  """Writes checkpoints in the background, keeps the newest `keep`."""
  folder = pathlib.Path(folder).absolute()
  # Processes that train together wait for each other at every save by a name
  # that is the step's alone: lanes would meet each other's.
  name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    create=True,
    multiprocessing_options=ocp.options.MultiprocessingOptions(
      barrier_sync_key_prefix=name
    ),
  )
  return ocp.CheckpointManager(folder, options=options)


def save(manager, step: int, tree: types.PyTree, meta: Mapping) -> None:
  """Starts to save `tree` as checkpoint `step`; `meta` is JSON.

  Raises:
    OSError: where the disk is full or not writable; older ones are intact.
  """
  tree = jax.tree.map(np.asarray, jax.device_get(jax.tree.map(_data, tree)))
  meta = {**meta, 'hash': content_hash(tree)}
  try:
    manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta)
      ),
    )
  except Exception as error:  # orbax and tensorstore raise many kinds
    raise OSError(_short(manager.directory, error)) from error


def finish(manager) -> None:
  """Waits until what was saved is on disk.

  Raises:
    OSError: where the last save failed; older checkpoints are intact.
  """
  try:
    manager.wait_until_finished()
  except Exception as error:
    raise OSError(_short(manager.directory, error)) from error


def _short(folder, error) -> str:
  line = str(error).strip().split('\n')[0][:200]
  return (
    f'cannot write a checkpoint in {folder} ({line}); '
    'free some space and give the same command again'
  )


def restore(manager, target: types.PyTree) -> tuple[int, types.PyTree, dict]:
  """The newest checkpoint that is whole.

  Args:
    manager: from `make_manager`.
    target: a tree of the same structure, whose leaves are replaced.

  Returns:
    (step, tree, meta); (-1, target, {}) where there is none. A damaged
    checkpoint is said so, removed, and the one before it is taken.
  """
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(np.shape(_data(x)), _data(x).dtype), target
  )
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      found = manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(shapes), meta=ocp.args.JsonRestore()
        ),
      )
      meta = dict(found['meta'])
      if meta.pop('hash') != content_hash(found['state']):
        raise ValueError('its content does not match its hash')
      return step, jax.tree.map(_like, found['state'], target), meta
    except Exception as error:  # a damaged file can raise anything
      reason = str(error).strip().split('\n')[0][:200]
      logging.warning(
        'checkpoint %s in %s is damaged (%s); falling back to the one before',
        step,
        manager.directory,
        reason,
      )
      shutil.rmtree(manager.directory / str(step), ignore_errors=True)
      manager.reload()
  return -1, target, {}


def _like(x, target):
  if _data(target) is target:
    return x
  return jax.random.wrap_key_data(x, impl=jax.random.key_impl(target))


def save_network(
  folder: str | os.PathLike, variables: types.Variables, spec: Mapping[str, Any]
) -> str:
  """Writes a finished network: its variables and how to build it.

  Args:
    folder: made or replaced as a whole.
    variables: of the network.
    spec: JSON; 'name' and the options of its maker, 'inputs' [H, W, C], and
      whatever else should be known of it.

  Returns:
    The content hash, which `network.json` also holds.
  """
  folder = pathlib.Path(folder)
  part = folder.with_name(f'.{folder.name}.{os.getpid()}')
  shutil.rmtree(part, ignore_errors=True)
  part.mkdir(parents=True)
  variables = jax.device_get(dict(variables))
  digest = content_hash(variables)
  (part / VARIABLES).write_bytes(serialization.msgpack_serialize(variables))
  write_json(part / SPEC, {**spec, 'hash': digest})
  if folder.exists():
    shutil.rmtree(folder)
  part.rename(folder)
  return digest


def load_network(folder: str | os.PathLike) -> tuple[types.Variables, dict]:
  """The variables and the spec of a finished network.

  Raises:
    ValueError: where the folder is no network, or is damaged.
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
    data = (folder / VARIABLES).read_bytes()
    variables = serialization.msgpack_restore(data)
  except Exception as error:
    raise ValueError(f'the network in {folder} is damaged: {error}') from error
  if content_hash(variables) != spec['hash']:
    raise ValueError(f'the network in {folder} is damaged: its hash differs')
  return variables, spec


def copy_folder(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies a folder beside its place and renames it into it."""
  part = target.with_name(f'.{target.name}.{os.getpid()}')
  shutil.rmtree(part, ignore_errors=True)
  part.parent.mkdir(parents=True, exist_ok=True)
  shutil.copytree(source, part)
  part.rename(target)


def check_shapes(found: types.PyTree, wanted: types.PyTree, folder) -> None:
  """Refuses variables that do not fit a network.

  Raises:
    ValueError: naming the first leaf that differs, with both shapes.
  """
  found, wanted = (
    {
      jax.tree_util.keystr(path, simple=True, separator='/'): tuple(leaf.shape)
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for tree in (found, wanted)
  )
  for name in sorted({*found, *wanted}):
    if found.get(name) != wanted.get(name):
      raise ValueError(
        f'the network in {folder} does not fit: {name} is '
        f'{found.get(name, "missing")} there and '
        f"{wanted.get(name, 'missing')} in the config's network"
      )


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes JSON beside its place and renames it into it."""
  part = path.with_name(f'.{path.name}.{os.getpid()}')
  part.write_text(json.dumps(value, indent=2, sort_keys=True) + '\n')
  part.replace(path)


def read_json(path: pathlib.Path) -> Any:
  """The JSON of a file."""
  return json.loads(path.read_text())
