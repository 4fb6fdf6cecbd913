"""Reads the cores that a process may use."""

import os


def cores() -> tuple[int, ...]:
  """The cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return tuple(sorted(os.sched_getaffinity(0)))
  return tuple(range(os.cpu_count() or 1))
