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


def first_difference(here: Mapping, there: Mapping) -> str | None:
  """'KEY is A now and B there' for the outermost key that differs, or None."""
  here, there = flatten(plain(here)), flatten(plain(there))
  for key in sorted({*here, *there}, key=lambda key: (key.count('.'), key)):
    now, then = here.get(key, 'absent'), there.get(key, 'absent')
    if now != then:
      return f'{key} is {_shown(now)} now and {_shown(then)} there'
  return None


def _shown(value: Any) -> str:
  """A value for a message; of a hash of contents its beginning."""
  hashed = isinstance(value, str) and re.fullmatch('[0-9a-f]{64}', value)
  return f'content {value[:8]}' if hashed else repr(value)
