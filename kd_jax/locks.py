"""Locks files between processes, until the holder releases them or dies.

The kernel frees a lock when its last holder ends, by SIGKILL too, so that a
held lock means a living process. Children that inherit the open file
(`pass_fds`) hold it too.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from kd_jax import errors

STALE = 120.0  # seconds without a sign of life, on another machine
# File systems without locks: there nothing is guarded, and nothing fails.
_WITHOUT = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


def attempt(path: pathlib.Path, patience: float = 0.0) -> BinaryIO | None:
  """The open file whose lock is now held, or None where another holds it.

  Args:
    path: of the lock; created, and never removed: a lock on a removed file
      would guard nothing.
    patience: seconds of retries, since others hold it briefly to look at it.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  file = path.open('ab+')
  end = time.monotonic() + patience
  while True:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return file
    except OSError as error:
      if error.errno in _WITHOUT:
        return file
      if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
        file.close()
        raise
    if time.monotonic() >= end:
      file.close()
      return None
    time.sleep(0.02)


def is_held(path: pathlib.Path) -> bool:
  """Whether a process holds the lock."""
  if not path.exists():
    return False
  file = attempt(path)
  if file is None:
    return True
  file.close()
  return False


@contextlib.contextmanager
def held(
  path: pathlib.Path,
  stop: Callable[[], bool] = lambda: False,
  what: str = '',
  every: float = 0.2,
) -> Iterator[bool]:
  """Waits for the lock and holds it inside the block.

  Args:
    path: of the lock.
    stop: called while waiting.
    what: the work under the lock, for the message.
    every: seconds between attempts.

  Yields:
    Whether it is held; False where `stop` was true before.
  """
  file = attempt(path)
  if file is None:
    what = what or path.stem
    print(
      f"waiting for '{what}', which another run is training", file=sys.stderr
    )
  while file is None and not stop():
    time.sleep(every)
    file = attempt(path)
  try:
    yield file is not None
  finally:
    if file is not None:
      file.close()


def holder(path: pathlib.Path) -> str:
  """The process that holds a lock, as text; '' where none does."""
  try:
    about = json.loads(path.read_text() or '{}')
  except (OSError, ValueError):
    about = {}
  host = about.get('host', '')
  if is_held(path):
    return f'process {about.get("pid", "?")} on {host or "this machine"}'
  # Not every network file system shows the locks of other machines.
  elsewhere = about and host != socket.gethostname()
  if elsewhere and time.time() - path.stat().st_mtime < STALE:
    return f'process {about["pid"]} on {host}'
  return ''


def sign(file: BinaryIO, pid: int) -> None:
  """Writes the process that holds a lock into its file."""
  file.truncate(0)
  file.write(json.dumps({'host': socket.gethostname(), 'pid': pid}).encode())
  file.flush()


def release(file: BinaryIO) -> None:
  """Frees a lock, for other machines too."""
  file.truncate(0)
  file.close()


@contextlib.contextmanager
def exclusive(path: pathlib.Path, what: object) -> Iterator[None]:
  """Holds a lock inside the block, or refuses at once.

  Args:
    path: of the lock.
    what: the work under the lock, for the message.

  Raises:
    errors.BusyError: another process holds it.
  """
  other = holder(path)
  file = None if other else attempt(path, patience=0.5)
  if file is None:
    other = other or holder(path) or 'another process'
    raise errors.BusyError(f'{what} is already being trained by {other}')
  sign(file, os.getpid())
  try:
    yield
  finally:
    release(file)
