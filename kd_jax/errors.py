"""Exceptions of kd_jax, and the exit code that a command line gives each.

A user's mistake is a ValueError of one line, raised before any work: exit
code 2. What ends a run later has a class of its own here.
"""

import errno
import os

DONE, FAILED, USER, STOPPED = 0, 1, 2, 130


class StoppedError(Exception):
  """A run was asked to stop, and has saved what it had."""


class DivergedError(Exception):
  """A loss became NaN or infinite."""


class DroppedError(Exception):
  """A setting lagged behind the others at a rung of successive halving."""


class DifferentError(Exception):
  """An exported file does not give what the network gives."""


class JobError(Exception):
  """Jobs of a sweep failed; the others are finished."""


class UserError(ValueError):
  """A mistake that the work meets: a foreign folder, an impossible trial."""


class LanesError(ValueError):
  """More lanes are asked for than fit the memory."""


class CacheError(ValueError):
  """A cache of teacher outputs belongs to something else, or is damaged."""


class DamagedError(ValueError):
  """A file on disk is not what was written."""


class BusyError(ValueError):
  """Another process is already at work in the folder."""


class FullError(OSError):
  """A disk, or the quota on it, is full."""


def unwritable(place: str | os.PathLike, error: OSError) -> Exception:
  """The one line for a place that a tool could not write to.

  Returns:
    FullError of a full disk; else ValueError, since another place would do.
  """
  line = f'cannot write {os.fspath(place)}: {error.strerror or error}'
  full = error.errno in (errno.ENOSPC, errno.EDQUOT)
  return FullError(f'{line}; free some space') if full else ValueError(line)


def exit_code(error: BaseException) -> int:
  """The exit code of a command that ends by an error."""
  if isinstance(error, StoppedError):
    return STOPPED
  return USER if isinstance(error, ValueError) else FAILED
