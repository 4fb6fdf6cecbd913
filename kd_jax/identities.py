"""Identities: nested JSON that says all that a result depends on.

What is on disk carries the identity of what made it. Two of them are equal,
or the first difference says why one is not taken for the other.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any


def plain(identity: Any) -> Any:
  """An identity as it is after it was written and read."""
  return json.loads(json.dumps(identity, default=str))


def fingerprint(identity: Any) -> str:
  """A short hash of an identity."""
  text = json.dumps(identity, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(tree: Mapping, prefix: str = '') -> dict:
  """{dotted.key: value} of a nested mapping or config."""
  flat = {}
  for key, value in tree.items():
    name = f'{prefix}{key}'
    is_tree = hasattr(value, 'items')
    if is_tree and len(value):
      flat |= flatten(value, f'{name}.')
    else:
      flat[name] = dict(value) if is_tree else value
  return flat


def differences(
  here: Mapping[str, Any], there: Mapping[str, Any], absent: str
) -> list[tuple[str, Any, Any]]:
  """[(key, value here, value there)] of two flat mappings, in order of keys.

  Args:
    here, there: flat mappings.
    absent: stands for the value of a key that one of them lacks.
  """
  pairs = (
    (key, here.get(key, absent), there.get(key, absent))
    for key in sorted({*here, *there})
  )
  return [pair for pair in pairs if pair[1] != pair[2]]


def first_difference(here: Mapping, there: Mapping) -> str | None:
  """'KEY is A now and B there' for the outermost key that differs, or None."""
  pairs = differences(flatten(plain(here)), flatten(plain(there)), 'absent')
  if not pairs:
    return None
  key, now, then = min(pairs, key=lambda pair: pair[0].count('.'))
  return f'{key} is {_shown(now)} now and {_shown(then)} there'


def _shown(value: Any) -> str:
  """A value for a message; of a hash of contents its beginning."""
  hashed = isinstance(value, str) and re.fullmatch('[0-9a-f]{64}', value)
  return f'content {value[:8]}' if hashed else repr(value)
