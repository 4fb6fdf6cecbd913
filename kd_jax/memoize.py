"""Memoizes factories, so that equal configs share compiled functions."""

import functools
import json
from collections.abc import Callable

KEPT = 64  # results of each factory, the newest


def memoize(make: Callable) -> Callable:
  """`make`, which returns the very same object for equal JSON arguments.

  JAX knows a function by its identity: what it traced and compiled of a
  network serves the next stage or run that asks for an equal one. (Where all
  arguments are hashable, `functools.lru_cache` does the same.)

  Args:
    make: a pure function; nobody changes what it returns. Arguments that JSON
      cannot hold give a new object each time.
  """
  results = {}

  @functools.wraps(make)
  def memoized(*args, **options):
    try:
      key = json.dumps([args, options], sort_keys=True)
    except TypeError:
      return make(*args, **options)
    result = results.get(key)
    if result is None:
      result = results.setdefault(key, make(*args, **options))
      if len(results) > KEPT:
        results.pop(next(iter(results)), None)
    return result

  return memoized
