"""Which values of a parameter the quick suite runs."""

from collections.abc import Iterable

import pytest

SLOW = pytest.mark.slow


def slow_but(values: Iterable, quick: Iterable) -> list:
  """All values for `parametrize`; those that are not quick are marked slow.

  Raises:
    ValueError: for a quick one that is no value.
  """
  values, quick = list(values), list(quick)
  unknown = [value for value in quick if value not in values]
  if unknown:
    raise ValueError(f'quick, but no value: {unknown}')
  return [
    value if value in quick else pytest.param(*parts(value), marks=SLOW)
    for value in values
  ]


def parts(value) -> tuple:
  """One parameter, or several at once, as `pytest.param` takes them."""
  return value if isinstance(value, tuple) else (value,)
