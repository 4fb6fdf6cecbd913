"""Computes the outputs of a frozen teacher once, and stores and reads them.

The folder of a cache holds ArrayRecord shards and an index:

  begun.json                  the identity, while the cache is incomplete
  VIEW-FIRST.array_record ..  records of a view, from example FIRST on
  manifest.json               the index; written last

A record is keyed by (example, view): an example has `views` augmented images,
each with a record. A file gets its name when it is complete, so the same build
continues after the last complete shard.

A cache is keyed by an *identity*: a JSON mapping of the teacher's hash, the
data's fingerprint, the augmentation and so on. It is only opened for the same
identity.
"""

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import checkpoint, errors, identities, parallel, types
from kd_jax.cache import encoding, shards

BEGUN, MANIFEST = 'begun.json', 'manifest.json'
MEMORY = 4 << 30  # bytes of records; larger caches are read from disk

# (examples i [B], view) -> outputs [B, ...]
Read = Callable[[np.ndarray, int], types.Outputs]


class Cache(NamedTuple):
  """An open cache.

  Attributes:
    read: (examples i [B], view) -> outputs [B, ...], NumPy: f32, classes i32.
    manifest: the index: identity, layout, shards.
    in_memory: whether all records are in memory; else `read` reads files.
  """

  read: Read
  manifest: Mapping[str, Any]
  in_memory: bool


def check(folder: str | os.PathLike, identity: Mapping[str, Any]) -> bool:
  """Whether the folder holds a complete cache of this identity.

  Args:
    folder: of the cache; need not exist.
    identity: of the cache, or the part of it that is known so far.

  Raises:
    errors.CacheError: the cache there has another identity; it names the first
      entry that differs.
  """
  for name in (MANIFEST, BEGUN):
    if not (pathlib.Path(folder) / name).exists():
      continue
    stored = _read_json(folder, name)['identity']
    for key, value in identities.plain(identity).items():
      if stored.get(key) != value:
        raise errors.CacheError(
          f'the cache in {folder} is of another {key.replace("_", " ")}: '
          f'{_short(stored.get(key))} there, {_short(value)} here; remove it, '
          'or give another cache.folder'
        )
    return name == MANIFEST
  return False


def _read_json(folder, name) -> dict:
  try:
    return checkpoint.read_json(pathlib.Path(folder) / name)
  except (ValueError, OSError) as error:
    raise _damaged(folder, f'{name}: {error}') from None


def _short(value: Any) -> str:
  text = json.dumps(value, sort_keys=True)
  return text if len(text) <= 90 else f'{text[:60]}..{text[-28:]}'


def _damaged(folder, why) -> errors.CacheError:
  return errors.CacheError(
    f'the cache in {folder} is damaged ({why}); remove it to compute it again'
  )


def _intact(folder, function: Callable, *args) -> Any:
  """Calls a reader of shards; refuses the cache where a shard is damaged."""
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
  """Computes and writes the missing shards of a cache, and its index.

  Args:
    folder: of the cache; created where missing.
    identity: of the cache, with its 'views'; `check` has accepted it.
    layout: of the records.
    size: N examples.
    compute: the outputs of a batch of examples.
    batch_size: B, the number of examples in every call of `compute`.
    tick: called after every batch with (batches done, all batches); may raise
      to stop.

  Raises:
    OSError: the folder cannot be written.
  """
  encoding.check(layout)
  folder = pathlib.Path(folder)
  bytes_each = encoding.record(layout).itemsize
  parts = shards.plan(bytes_each, size, identity['views'])
  missing = [shard for shard in parts if not (folder / shard.name).exists()]
  batches = {shard: math.ceil(shard.size / batch_size) for shard in parts}
  total = sum(batches.values())
  done = total - sum(batches[shard] for shard in missing)
  parallel.meet('the cache is listed')
  first = jax.process_index() == 0
  if first:
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(
      folder / BEGUN, {'identity': identities.plain(identity)}
    )
  for shard in missing:
    # All processes compute together; the first writes.
    rows = []
    for batch in _batches(shard, layout, compute, batch_size):
      rows.append(batch)
      done += 1
      tick(done, total)
    if first:
      shards.write(folder, shard, np.concatenate(rows))
  if first:
    _finish(folder, identity, layout, parts, size, batch_size)
  parallel.meet('the cache is written')


def _batches(shard, layout, compute, batch_size) -> Iterator[np.ndarray]:
  """The records of a shard, batch by batch.

  The last batch is filled up with the last example, whose repetitions are
  dropped again.
  """
  for start in range(shard.start, shard.stop, batch_size):
    index = np.arange(start, start + batch_size)
    count = min(batch_size, shard.stop - start)
    outputs = compute(np.minimum(index, shard.stop - 1), shard.view)
    yield encoding.pack(layout, {k: v[:count] for k, v in outputs.items()})


def _finish(folder, identity, layout, parts, size, batch_size) -> None:
  """Reads every shard once, to check it, and writes the manifest."""
  dtype = encoding.record(layout)
  for shard in parts:
    _intact(folder, shards.read, folder, shard, dtype)
  checkpoint.write_json(
    folder / MANIFEST,
    {
      'identity': identities.plain(identity),
      'layout': layout._asdict(),
      'examples': size,
      'record_bytes': dtype.itemsize,
      'batch_size': batch_size,
      'shards': [
        shard._asdict()
        | {'file': shard.name, 'bytes': (folder / shard.name).stat().st_size}
        for shard in parts
      ],
    },
  )
  (folder / BEGUN).unlink(missing_ok=True)


def open_cache(
  folder: str | os.PathLike, identity: Mapping[str, Any], memory: int = MEMORY
) -> Cache:
  """Opens a complete cache.

  Args:
    folder: of the cache.
    identity: of the cache.
    memory: bytes; a cache with more stays on disk.

  Raises:
    errors.CacheError: the cache has another identity, is incomplete or is
      damaged.
  """
  folder = pathlib.Path(folder)
  if not check(folder, identity):
    raise errors.CacheError(
      f'no complete cache in {folder} ({MANIFEST} is missing)'
    )
  manifest = _read_json(folder, MANIFEST)
  spec = manifest['layout']
  shapes = {name: tuple(shape) for name, shape in spec['shapes'].items()}
  layout = encoding.Layout(
    shapes, spec['dtype'], spec['top_k'], spec.get('distribution', {})
  )
  parts = [
    shards.Shard(s['view'], s['start'], s['stop']) for s in manifest['shards']
  ]
  total = sum(s.size for s in parts) * manifest['record_bytes']
  open_shards = shards.in_memory if total <= memory else shards.on_disk
  records = _intact(folder, open_shards, folder, parts, encoding.record(layout))

  def read(index, view):
    rows = _intact(folder, records, np.asarray(index), view)
    return encoding.unpack(layout, rows)

  return Cache(read, manifest, total <= memory)
