"""Memoizes factories, so that equal configs share compiled functions."""

import functools
import json
from collections.abc import Callable

KEPT = 64  # of each maker, the last ones


def memoize(make: Callable) -> Callable:
  """`make`, which gives the very same object for equal arguments.

  JAX knows a function by its identity: what it traced and compiled of a
  network serves the next stage or run that asks for an equal one.

  Args:
    make: a pure function; its result is not changed by those who have it.
      Arguments that JSON cannot hold give a new object each time.
  """
  kept = {}

  @functools.wraps(make)
  def memoized(*args, **options):
    try:
      key = json.dumps([args, options], sort_keys=True)
    except TypeError:
      return make(*args, **options)
    value = kept.get(key)
    if value is None:
      value = kept.setdefault(key, make(*args, **options))
      if len(kept) > KEPT:
        kept.pop(next(iter(kept)), None)
    return value

  return memoized
