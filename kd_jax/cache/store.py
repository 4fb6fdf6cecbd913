"""Outputs of a frozen teacher, computed once and stored.

A folder holds ArrayRecord shards and an index:

  begun.json       what is being stored; gone when all is
  VIEW-FIRST.array_record ..   a record an example, from the first of a view on
  manifest.json    the index; written last

A record is keyed by (example, view): an example has `views` augmented images,
each with a record. Every file is renamed into its place when it is whole, so
that the same build continues after the last whole shard.

What is stored is told by an *identity*, a JSON mapping of the teacher's hash,
the data's fingerprint, the augmentation and so on: a cache is read by those
alone who give the same.
"""

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import checkpoint, errors, parallel, types
from kd_jax.cache import encoding, shards

BEGUN, MANIFEST = 'begun.json', 'manifest.json'
MEMORY = 4 << 30  # bytes of records in memory; more are read from disk

# (examples i [B], view) -> outputs [B, ...]
Read = Callable[[np.ndarray, int], types.Outputs]


class Cache(NamedTuple):
  """A cache that is open.

  Attributes:
    read: (examples i [B], view) -> f32 outputs [B, ...], NumPy.
    manifest: the index: identity, layout, shards, bounds of the error.
    in_memory: whether all records are; else `read` reads files.
  """

  read: Read
  manifest: Mapping[str, Any]
  in_memory: bool


def check(folder: str | os.PathLike, identity: Mapping[str, Any]) -> bool:
  """Whether a whole cache of this identity is in the folder.

  Args:
    folder: of the cache; need not exist.
    identity: what is wanted, or the part of it that is known so far.

  Raises:
    errors.CacheError: naming the first entry in which the one there differs.
  """
  for name in (MANIFEST, BEGUN):
    if not (pathlib.Path(folder) / name).exists():
      continue
    found = _read_json(folder, name)['identity']
    for key, wanted in _plain(identity).items():
      if found.get(key) != wanted:
        raise errors.CacheError(
          f'the cache in {folder} is of another {key.replace("_", " ")}: '
          f'{_short(found.get(key))} there, {_short(wanted)} here; remove it, '
          'or give another cache.folder'
        )
    return name == MANIFEST
  return False


def _read_json(folder, name) -> dict:
  try:
    return checkpoint.read_json(pathlib.Path(folder) / name)
  except (ValueError, OSError) as error:
    raise _damaged(folder, f'{name}: {error}') from None


def _plain(identity: Mapping) -> dict:
  return json.loads(json.dumps(identity))


def _short(value: Any) -> str:
  text = json.dumps(value, sort_keys=True)
  return text if len(text) <= 90 else f'{text[:60]}..{text[-28:]}'


def _damaged(folder, why) -> errors.CacheError:
  return errors.CacheError(
    f'the cache in {folder} is damaged ({why}); remove it, it is made again'
  )


def _whole(folder, function: Callable, *args) -> Any:
  """What the function reads; what is damaged is refused."""
  try:
    return function(*args)
  except errors.DamagedError as error:
    raise _damaged(folder, error) from None


def build(
  folder: str | os.PathLike,
  identity: Mapping[str, Any],
  layout: encoding.Layout,
  size: int,
  compute: Read,
  batch_size: int,
  tick: Callable[[int, int], None] = lambda done, total: None,
) -> None:
  """Computes and writes what is missing of a cache.

  Args:
    folder: of the cache; made where missing.
    identity: what is stored, with its 'views'; as `check` has accepted it.
    layout: of the records.
    size: N examples.
    compute: the outputs of a batch of examples.
    batch_size: B; `compute` is asked for this many, always.
    tick: called after every batch with how many are done of how many; may
      raise to stop.

  Raises:
    OSError: it cannot be written.
  """
  encoding.check(layout)
  folder = pathlib.Path(folder)
  bytes_each = encoding.record(layout).itemsize
  parts = shards.plan(bytes_each, size, identity['views'])
  missing = [s for s in parts if not (folder / s.name).exists()]
  count = {s: math.ceil(s.size / batch_size) for s in parts}
  total = sum(count.values())
  done = total - sum(count[s] for s in missing)
  parallel.meet('the cache is listed')
  first = jax.process_index() == 0
  if first:
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(folder / BEGUN, {'identity': _plain(identity)})
  for shard in missing:
    # All processes compute together, the first one writes.
    rows = []
    for batch in _batches(shard, layout, compute, batch_size):
      rows.append(batch)
      done += 1
      tick(done, total)
    if first:
      shards.write(folder, shard, np.concatenate(rows))
  place = _by_place(compute, size, batch_size)
  if first:
    _finish(folder, identity, layout, parts, size, batch_size, place)
  parallel.meet('the cache is written')


def _batches(shard, layout, compute, batch_size) -> Iterator[np.ndarray]:
  """The records of a shard; its last batch is filled up with its last one."""
  for start in range(shard.start, shard.stop, batch_size):
    index = np.arange(start, start + batch_size)
    count = min(batch_size, shard.stop - start)
    outputs = compute(np.minimum(index, shard.stop - 1), shard.view)
    yield encoding.pack(layout, {k: v[:count] for k, v in outputs.items()})


def _by_place(compute: Read, size: int, batch_size: int) -> dict[str, float]:
  """How far outputs move when an example has another place in its batch.

  XLA's convolutions on CPU add up in another order at the edges of the blocks
  that threads share. A live teacher then differs from itself by as much, and
  the cache from it; where it is 0, the two are equal bit for bit.
  """
  index = np.arange(batch_size) % size
  here, most = compute(index, 0), {}
  for shift in {1, batch_size // 3, batch_size // 2}:
    there = compute(np.roll(index, shift), 0)
    for name, value in here.items():
      moved = np.abs(np.roll(there[name], -shift, axis=0) - value).max()
      most[name] = max(most.get(name, 0.0), float(moved))
  return most


def _finish(folder, identity, layout, parts, size, batch_size, place) -> None:
  """Reads all shards once, and writes the manifest."""
  dtype, bounds = encoding.record(layout), None
  for shard in parts:
    rows = _whole(folder, shards.read, folder, shard, dtype)
    found = encoding.bounds(layout, rows)
    bounds = encoding.largest(found, bounds) if bounds else found
  checkpoint.write_json(
    folder / MANIFEST,
    {
      'identity': _plain(identity),
      'layout': layout._asdict(),
      'examples': size,
      'record_bytes': dtype.itemsize,
      'bounds': bounds,
      'batch_size': batch_size,
      'moves_by_place': place,
      'shards': [
        s._asdict()
        | {'file': s.name, 'bytes': (folder / s.name).stat().st_size}
        for s in parts
      ],
    },
  )
  (folder / BEGUN).unlink(missing_ok=True)


def open_cache(
  folder: str | os.PathLike, identity: Mapping[str, Any], memory: int = MEMORY
) -> Cache:
  """Opens a whole cache.

  Args:
    folder: of the cache.
    identity: what is wanted.
    memory: bytes; records that are more stay on disk.

  Raises:
    errors.CacheError: it is of something else, not whole, or damaged.
  """
  folder = pathlib.Path(folder)
  if not check(folder, identity):
    raise errors.CacheError(
      f'no whole cache in {folder} ({MANIFEST} is missing)'
    )
  manifest = _read_json(folder, MANIFEST)
  spec = manifest['layout']
  shapes = {name: tuple(shape) for name, shape in spec['shapes'].items()}
  layout = encoding.Layout(shapes, spec['dtype'], spec['top_k'])
  parts = [
    shards.Shard(s['view'], s['start'], s['stop']) for s in manifest['shards']
  ]
  total = sum(s.size for s in parts) * manifest['record_bytes']
  hold = shards.in_memory if total <= memory else shards.on_disk
  rows = _whole(folder, hold, folder, parts, encoding.record(layout))

  def read(index, view):
    found = _whole(folder, rows, np.asarray(index), view)
    return encoding.unpack(layout, found)

  return Cache(read, manifest, total <= memory)
