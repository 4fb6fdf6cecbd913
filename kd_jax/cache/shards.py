"""Records in ArrayRecord files: which are in which, written whole, read.

A file is written beside its place and renamed into it, so what has its name is
whole; a kill leaves a hidden file and nothing else.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax import errors

# Bytes that a random read decompresses, at most (or one record).
_GROUP = 64 << 10


class Shard(NamedTuple):
  """The records of the examples start..stop-1 of a view."""

  view: int
  start: int
  stop: int

  @property
  def name(self) -> str:
    """Of its file."""
    return f'{self.view:05d}-{self.start:09d}.array_record'

  @property
  def size(self) -> int:
    """How many records it holds."""
    return self.stop - self.start


def plan(record_bytes: int, size: int, views: int) -> list[Shard]:
  """The shards of `size` examples by `views`, in order.

  Each has about 64 MB, but 1024 to 8192 examples; fewer where a view ends.
  """
  rows = min(max((64 << 20) // record_bytes, 1024), 8192)
  return [
    Shard(view, start, min(start + rows, size))
    for view in range(views)
    for start in range(0, size, rows)
  ]


def write(folder: pathlib.Path, shard: Shard, rows: np.ndarray) -> None:
  """Writes the records of a shard, a structured array.

  Raises:
    OSError: where the disk is full or not writable.
  """
  from array_record.python import array_record_module

  path = folder / shard.name
  part = path.with_name(f'.{path.name}.{os.getpid()}')
  group = max(1, _GROUP // rows.dtype.itemsize)
  try:
    writer = array_record_module.ArrayRecordWriter(
      str(part), f'group_size:{group}'
    )
    for row in rows:
      writer.write(row.tobytes())
    writer.close()
    part.replace(path)
  except RuntimeError as error:
    line = str(error).split('\n')[0][:200]
    raise OSError(f'cannot write {path} ({line}); free some space') from error
  finally:
    part.unlink(missing_ok=True)


def read(folder: pathlib.Path, shard: Shard, dtype: np.dtype) -> np.ndarray:
  """All records of a shard, in order, of a structured type.

  Raises:
    errors.DamagedError: it is missing, or not what was written.
  """
  reader = _open(folder, shard)
  try:
    # A view of the bytes, so that nothing can write to it.
    return np.frombuffer(b''.join(reader.read_all()), dtype)
  except (RuntimeError, ValueError) as error:
    raise _damaged(shard, error) from None
  finally:
    reader.close()


def in_memory(
  folder: pathlib.Path, shards: Sequence[Shard], dtype: np.dtype
) -> Callable[[np.ndarray, int], np.ndarray]:
  """Reads all shards now; (examples i [B], view) -> records [B]."""
  rows = np.concatenate([read(folder, shard, dtype) for shard in shards])
  size = shards[-1].stop
  return lambda index, view: rows[view * size + index]


def on_disk(
  folder: pathlib.Path, shards: Sequence[Shard], dtype: np.dtype
) -> Callable[[np.ndarray, int], np.ndarray]:
  """Opens all shards, reads when asked; otherwise as `in_memory`."""
  readers = {(s.view, s.start): (s, _open(folder, s)) for s in shards}
  each = shards[0].size

  def rows(index: np.ndarray, view: int) -> np.ndarray:
    found, starts = np.empty(len(index), dtype), index // each * each
    for start in np.unique(starts):
      here = np.flatnonzero(starts == start)
      wanted = [int(i) for i in index[here] - start]
      shard, reader = readers[view, int(start)]
      try:
        found[here] = np.frombuffer(b''.join(reader.read(wanted)), dtype)
      except (RuntimeError, ValueError) as error:
        raise _damaged(shard, error) from None
    return found

  return rows


def _open(folder: pathlib.Path, shard: Shard):
  """A reader of a whole shard, that reads no further than it must.

  Raises:
    errors.DamagedError: the shard is missing, or not whole.
  """
  from array_record.python import array_record_module

  try:
    reader = array_record_module.ArrayRecordReader(
      str(folder / shard.name), 'readahead_buffer_size:0,max_parallelism:0'
    )
    count = reader.num_records()
  except (RuntimeError, ValueError) as error:
    raise _damaged(shard, error) from None
  if count != shard.size:
    raise _damaged(shard, f'{count} of {shard.size} records')
  return reader


def _damaged(shard: Shard, why) -> errors.DamagedError:
  return errors.DamagedError(f'{shard.name}: {str(why).splitlines()[0][:150]}')
