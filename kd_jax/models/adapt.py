"""Adapts modules to `Network`: their outputs, train flags and taps."""

import fnmatch
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax.types import PyTree, Variables

# The names under which modules take a train flag (False: negated).
_TRAIN_FLAGS = {
  'train': True,
  'training': True,
  'is_training': True,
  'deterministic': False,
  'use_running_average': False,
}


def collections(variables: Variables) -> dict[str, PyTree]:
  """The collections that change without a gradient: all but 'params'."""
  return {k: v for k, v in variables.items() if k != 'params'}


def as_outputs(value: Any) -> dict[str, jax.Array]:
  """The outputs of a module that returns logits [B, ..., K] or a dict."""
  outputs = dict(value) if isinstance(value, Mapping) else {'logits': value}
  if not hasattr(outputs.get('logits'), 'dtype'):
    got = type(value).__name__
    if isinstance(value, Mapping):
      got += f' with keys {", ".join(map(str, value)) or "none"}'
    raise ValueError(
      f"a network must return logits or a dict with 'logits'; got a {got}"
    )
  outputs['logits'] = outputs['logits'].astype(jnp.float32)
  return outputs


def train_flags(call: Callable) -> Callable[[bool], dict[str, bool]]:
  """Makes train -> the keyword arguments by which `call` takes the flag."""
  names = [n for n in inspect.signature(call).parameters if n in _TRAIN_FLAGS]
  return lambda train: {n: train == _TRAIN_FLAGS[n] for n in names}


def patterns(taps: Sequence[str]) -> tuple[str, ...]:
  """Taps as a tuple; refuses a text, which would be split into letters."""
  if isinstance(taps, str):
    raise ValueError(f"taps must be a list of patterns; got the text '{taps}'")
  return tuple(taps)


def check_taps(
  taps: Sequence[str],
  tapped: Mapping[str, jax.Array],
  known: Callable[[], Sequence[str]],
) -> None:
  """Raises ValueError, listing `known()`, for a tap that matched nothing."""
  for tap in taps:
    if not any(matches(name, [tap]) for name in tapped):
      paths = ', '.join(known()) or 'none'
      raise ValueError(f"tap '{tap}' matches nothing; known paths: {paths}")


def matches(name: str, taps: Sequence[str]) -> bool:
  """Whether a path, without its call count, matches one of the patterns."""
  return any(fnmatch.fnmatchcase(name.split('#')[0], tap) for tap in taps)
