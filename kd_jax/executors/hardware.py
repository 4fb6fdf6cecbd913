"""Reads the cores that a process may use, and sets how it keeps memory."""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_NEVER = 2**31 - 1


def cores() -> tuple[int, ...]:
  """The cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return tuple(sorted(os.sched_getaffinity(0)))
  return tuple(range(os.cpu_count() or 1))


def keep_freed() -> bool:
  """Asks glibc to keep freed memory; other C libraries are left alone.

  XLA takes a step's temporaries from the C library and frees them after it.
  By default glibc returns large ones to the system, and each later step
  faults their pages in again: 13 of the 33 ms of a student's step on a virtual
  machine of two cores. The setting holds for the whole process.

  Returns:
    Whether glibc took the setting.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return False
  return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))
