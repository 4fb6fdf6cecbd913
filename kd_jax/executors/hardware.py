"""What the operating system gives a process: cores, and memory."""

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
  By its defaults glibc gives large ones back to the system, which hands them
  out again empty, page by page: on a virtual machine of two cores that was 13
  of the 33 ms of a student's step. It holds for the whole process.

  Returns:
    Whether glibc was asked.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return False
  return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))
