"""Writes and reads the shards of a cache, ArrayRecord files.

A shard is written to a hidden file and renamed, so a file with a shard's name
is complete; a kill leaves at most the hidden file.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax import errors

# Bytes that a random read decompresses, at most (or a single larger record).
_GROUP = 64 << 10


class Shard(NamedTuple):
  """A file with the records of the examples start..stop-1 of a view."""

  view: int
  start: int
  stop: int

  @property
  def name(self) -> str:
    """The file's name."""
    return f'{self.view:05d}-{self.start:09d}.array_record'

  @property
  def size(self) -> int:
    """The number of its records."""
    return self.stop - self.start


def plan(record_bytes: int, size: int, views: int) -> list[Shard]:
  """The shards of `size` examples in each of `views` views, in order.

  A shard has about 64 MB, within 1024 to 8192 examples; the last of a view may
  have fewer.
  """
  rows = min(max((64 << 20) // record_bytes, 1024), 8192)
  return [
    Shard(view, start, min(start + rows, size))
    for view in range(views)
    for start in range(0, size, rows)
  ]


def write(folder: pathlib.Path, shard: Shard, rows: np.ndarray) -> None:
  """Writes the records of a shard, given as a structured array.

  Raises:
    OSError: the disk is full or not writable.
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
  """All records of a shard, in order, as an array of the structured dtype.

  Raises:
    errors.DamagedError: the shard is missing, or not as it was written.
  """
  reader = _open(folder, shard)
  try:
    # Read-only: a view of the bytes.
    return np.frombuffer(b''.join(reader.read_all()), dtype)
  except (RuntimeError, ValueError) as error:
    raise _damaged(shard, error) from None
  finally:
    reader.close()


def in_memory(
  folder: pathlib.Path, shards: Sequence[Shard], dtype: np.dtype
) -> Callable[[np.ndarray, int], np.ndarray]:
  """Reads all shards; returns (examples i [B], view) -> records [B]."""
  rows = np.concatenate([read(folder, shard, dtype) for shard in shards])
  size = shards[-1].stop
  return lambda index, view: rows[view * size + index]


def on_disk(
  folder: pathlib.Path, shards: Sequence[Shard], dtype: np.dtype
) -> Callable[[np.ndarray, int], np.ndarray]:
  """Opens all shards; returns what `in_memory` does, reading at each call."""
  readers = {(s.view, s.start): (s, _open(folder, s)) for s in shards}
  each = shards[0].size

  def read(index: np.ndarray, view: int) -> np.ndarray:
    rows, starts = np.empty(len(index), dtype), index // each * each
    for start in np.unique(starts):
      places = np.flatnonzero(starts == start)
      positions = [int(i) for i in index[places] - start]
      shard, reader = readers[view, int(start)]
      try:
        rows[places] = np.frombuffer(b''.join(reader.read(positions)), dtype)
      except (RuntimeError, ValueError) as error:
        raise _damaged(shard, error) from None
    return rows

  return read


def _open(folder: pathlib.Path, shard: Shard):
  """A reader of a shard, without read-ahead.

  Raises:
    errors.DamagedError: the shard is missing or incomplete.
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
