"""The networks by name: MODELS, the one table, and how to make one."""

import inspect
from collections.abc import Callable
from typing import Any

from kd_jax import types
from kd_jax.models import base, cnn, mlp

# name -> maker(*, classes, **options) -> Network
MODELS: dict[str, Callable[..., base.Network]] = {
  'cnn': cnn.cnn,
  'cnn_student': cnn.cnn_student,
  'cnn_teacher': cnn.cnn_teacher,
  'mlp': mlp.mlp,
}

# What an option annotated with a type may be given as.
_ACCEPTED = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}


def make_network(name: str, classes: int, **options: Any) -> base.Network:
  """The network called `name` in MODELS, for `classes` classes.

  Raises:
    ValueError: one line, for an unknown name or option or a value of the
      wrong type, with those that are known.
  """
  if name not in MODELS:
    raise types.unknown('network', name, MODELS)
  known = inspect.signature(MODELS[name]).parameters
  options = {'classes': classes, **options}
  for key, value in options.items():
    if key not in known:
      legal = [k for k in known if k != 'classes']
      raise types.unknown(f"option of network '{name}'", key, legal)
    _check_type(f"'{key}' of network '{name}'", value, known[key].annotation)
  if classes < 1:
    raise ValueError(f'classes must be at least 1; got {classes}')
  return MODELS[name](**options)


def _check_type(what, value, wanted):
  """Raises a one-line ValueError for a value of another type."""
  if wanted in _ACCEPTED:
    kinds, label = _ACCEPTED[wanted], wanted.__name__
    good = isinstance(value, kinds) and (
      wanted is bool or not isinstance(value, bool)
    )
  else:
    label = 'list of int'
    good = isinstance(value, (list, tuple)) and all(
      isinstance(v, int) and not isinstance(v, bool) for v in value
    )
  if not good:
    got = f'{type(value).__name__} {value!r}'
    raise ValueError(f'{what} must be of type {label}; got {got}')
