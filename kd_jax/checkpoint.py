"""Writes checkpoints of a state, and reads the newest that is whole.

A checkpoint carries the hash of its content and is read without unpickling
anything. A damaged one is not deleted: it is moved aside.
"""

import errno
import hashlib
import importlib.metadata
import itertools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from kd_jax import errors, identities, types

PACKAGES = 'jax', 'flax', 'optax', 'orbax-checkpoint'


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
  """The numbers of a leaf; those of a typed key are its words."""
  is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  )
  return jax.random.key_data(leaf) if is_key else leaf


def make_manager(folder: str | os.PathLike, keep: int) -> ocp.CheckpointManager:
  """Writes checkpoints in the background, keeps the newest `keep`."""
  folder = pathlib.Path(folder).absolute()
  # Processes that train together wait for each other at every save, by a name
  # that holds the step alone: without a prefix lanes would meet other lanes.
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
  """Starts to save `tree` as checkpoint `step`.

  Args:
    manager: from `make_manager`.
    step: of the checkpoint.
    tree: arrays.
    meta: JSON; 'identity' is what the tree depends on, for `restore`.

  Raises:
    OSError: where the disk is full or not writable; older ones are intact.
  """
  tree = jax.tree.map(np.asarray, jax.device_get(jax.tree.map(_data, tree)))
  meta = {
    **meta,
    'hash': content_hash(tree),
    'structure': structure(tree),
    'versions': versions(),
  }
  try:
    manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta)
      ),
    )
  except Exception as error:  # orbax and tensorstore raise many kinds
    raise OSError(_short(manager.directory, error)) from error


def structure(tree: types.PyTree) -> dict[str, str]:
  """{path of a leaf: 'float32[3,4]'}."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): (
      f'{leaf.dtype}{list(leaf.shape)}'.replace(' ', '')
    )
    for path, leaf in leaves
  }


def versions() -> dict[str, str]:
  """The versions of the packages that shape a checkpoint."""
  return {name: importlib.metadata.version(name) for name in PACKAGES}


def finish(manager) -> None:
  """Waits until the last save is on disk.

  Raises:
    OSError: where the last save failed; older checkpoints are intact.
  """
  try:
    manager.wait_until_finished()
  except Exception as error:
    raise OSError(_short(manager.directory, error)) from error


def _short(folder, error) -> str:
  line = str(error).strip().split('\n')[0][:200]
  advice = 'free some space' if is_full(error) else 'make it writable'
  return (
    f'cannot write a checkpoint in {folder} ({line}); {advice} and run the '
    'same command again'
  )


def is_full(error: BaseException | None) -> bool:
  """Whether an error, or its cause, means that a disk is full."""
  while error is not None:
    text = str(error)
    if getattr(error, 'errno', 0) == errno.ENOSPC or 'No space left' in text:
      return True
    error = error.__cause__ or error.__context__
  return False


def restore(
  manager, target: types.PyTree, identity: Mapping | None = None
) -> tuple[int, types.PyTree, dict]:
  """Reads the newest whole checkpoint.

  Args:
    manager: from `make_manager`.
    target: a tree of the same structure, whose leaves are replaced.
    identity: what the tree depends on; None: any is read.

  Returns:
    (step, tree, meta); (-1, target, {}) where there is none. A damaged
    checkpoint is moved aside, and the checkpoint before it is read.

  Raises:
    errors.UserError: it belongs to another identity, or has another structure;
      the first difference is named.
    OSError: it cannot be read for another reason than damage.
  """
  template = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(np.shape(_data(x)), _data(x).dtype), target
  )
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      meta = _read(manager, step, meta=ocp.args.JsonRestore())
      _check_meta(manager.directory, step, meta, identity, template)
      args = ocp.args.StandardRestore(template)
      tree = _read(manager, step, state=args)
      if meta.pop('hash') != content_hash(tree):
        raise errors.DamagedError('its content does not match its hash')
    except errors.DamagedError as error:
      _set_aside(manager, step, error)
      continue
    meta = {
      k: v
      for k, v in meta.items()
      if k not in ('structure', 'versions', 'identity')
    }
    return step, jax.tree.map(_like, tree, target), meta
  return -1, target, {}


def _read(manager, step: int, **item) -> Any:
  """One item of a checkpoint.

  Raises:
    errors.DamagedError: its files have changed since they were written.
    OSError: they cannot be read, damaged or not.
  """
  ((name, args),) = item.items()
  try:
    value = manager.restore(step, args=ocp.args.Composite(**{name: args}))[name]
    return dict(value) if name == 'meta' else value
  except MemoryError:
    raise
  except Exception as error:  # a damaged file can raise anything
    line = str(error).strip().split('\n')[0][:200]
    transient = 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'Permission denied'
    if isinstance(error, PermissionError) or any(x in line for x in transient):
      raise OSError(
        f'cannot read checkpoint {step} in {manager.directory}: {line}'
      ) from error
    raise errors.DamagedError(line) from error


def _check_meta(folder, step, meta, identity, template) -> None:
  """Refuses a checkpoint of another training, version or structure."""
  if 'structure' not in meta:
    raise errors.UserError(
      f'checkpoint {step} in {folder} was written by kd_jax before 0.2, which '
      'alone can continue it; use another workdir, or --overwrite'
    )
  difference = identity and identities.first_difference(
    identity, meta.get('identity', {})
  )
  if difference:
    raise errors.UserError(
      f'checkpoint {step} in {folder} belongs to another training: '
      f'{difference}; use another workdir, or overwrite this one'
    )
  there, here = meta['structure'], structure(template)
  for path, now, then in identities.differences(here, there, 'missing'):
    raise errors.UserError(
      f'checkpoint {step} in {folder} does not fit: {path} is {then} there and '
      f'{now} now; it was written with {_words(meta["versions"])}, this is '
      f'{_words(versions())}'
    )


def _words(of: Mapping[str, str]) -> str:
  return ', '.join(f'{name} {version}' for name, version in of.items())


def _set_aside(manager, step: int, error: Exception) -> None:
  """Moves a damaged checkpoint aside, with a warning."""
  place = pathlib.Path(manager.directory)
  if jax.process_index() == 0:
    target = move_aside(
      place / str(step), place.parent.parent / 'damaged' / place.name
    )
    logging.warning(
      'checkpoint %s of %s is damaged (%s): moved to %s; falling back to the '
      'one before', step, place, error, target,
    )  # fmt: skip
  manager.reload()


def move_aside(
  path: pathlib.Path, folder: pathlib.Path | None = None
) -> pathlib.Path:
  """Moves a file or folder aside, and deletes nothing.

  Args:
    path: a file or folder.
    folder: where it goes, under its name; by default it stays beside its
      place, as NAME.replaced.

  Returns:
    Its new path; a number is added where the path is taken.
  """
  base = path.with_name(f'{path.name}.replaced')
  if folder is not None:
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / path.name
  target = base
  for number in itertools.count(2):
    if not (target.exists() or target.is_symlink()):
      break
    target = base.with_name(f'{base.name}-{number}')
  path.rename(target)
  return target


def _like(x, target):
  if _data(target) is target:
    return x
  return jax.random.wrap_key_data(x, impl=jax.random.key_impl(target))


def write_json(path: pathlib.Path, value: Any, sort_keys: bool = True) -> None:
  """Writes JSON: to a temporary name first, which is then renamed."""
  part = path.with_name(f'.{path.name}.{os.getpid()}')
  part.write_text(json.dumps(value, indent=2, sort_keys=sort_keys) + '\n')
  part.replace(path)


def read_json(path: pathlib.Path) -> Any:
  """The JSON of a file."""
  return json.loads(path.read_text())
