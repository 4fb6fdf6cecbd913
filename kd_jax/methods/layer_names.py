"""Finds pairs of layers in the outputs by names or globs."""

import fnmatch
import re
from collections.abc import Mapping, Sequence

from kd_jax import kinds, types
from kd_jax.methods import adapters

Layers = Sequence[tuple[str, str]]  # names or globs: (student's, teacher's)


def pairs(
  layers: Layers, student: Mapping, teacher: Mapping
) -> list[tuple[str, str]]:
  """The pairs (student's, teacher's) of layer names that match `layers`.

  Args:
    layers: pairs of names or globs. Two globs pair their matches in order;
      numbers within names are ordered by value ('stage2' before 'stage10').
    student: the student's outputs or their shapes.
    teacher: the teacher's.

  Raises:
    ValueError: for a name that no output has, with the known ones and their
      shapes, or for globs that match different numbers of layers.
  """
  names = []
  for ours, theirs in layers:
    left = _matches(ours, student, 'student')
    right = _matches(theirs, teacher, 'teacher')
    if len(left) != len(right):
      raise ValueError(
        f"layers ('{ours}', '{theirs}') match {len(left)} of the student and "
        f'{len(right)} of the teacher: {left} and {right}'
      )
    names += zip(left, right)
  return names


def single(
  name: str, layers: Layers, student: Mapping, teacher: Mapping
) -> tuple[str, str]:
  """The pair of layers of the method `name`, which compares one pair only.

  Raises:
    ValueError: from `pairs`, and for several pairs.
  """
  names = pairs(layers, student, teacher)
  if len(names) != 1:
    raise ValueError(f"method '{name}' reads one pair of layers, not {names}")
  return names[0]


def need(name: str, layers: Layers) -> Layers:
  """The layers of the method `name`, checked to be pairs.

  Raises:
    ValueError: there are none, or they are not pairs.
  """
  example = "layers=[('student layer', 'teacher layer')]"
  if layers is None or layers == () or layers == []:
    raise ValueError(f"method '{name}' needs {example}")
  try:
    kinds.check('layers', layers, Layers)
  except ValueError:
    raise ValueError(
      f"method '{name}' needs {example}, not {kinds.short(layers)}"
    ) from None
  return tuple((ours, theirs) for ours, theirs in layers)


def _matches(pattern: str, outputs: Mapping, who: str) -> list[str]:
  """The names that match a pattern, in order; a known name matches itself."""
  known = {n: x.shape for n, x in outputs.items() if hasattr(x, 'shape')}
  if pattern in known:
    return [pattern]
  names = [n for n in known if fnmatch.fnmatchcase(n, pattern)]
  if not names:
    # The known names are listed with their shapes.
    error = str(types.unknown(f'layer of the {who}', pattern, known))
    listed = ', '.join(
      f'{n} {adapters.shown(known[n])}' for n in sorted(known, key=_order)
    )
    raise ValueError(f'{error.split(" known:")[0]} known: {listed or "none"}')
  return sorted(names, key=_order)


def _order(name: str) -> list:
  """A sort key that orders the numbers within names by value."""
  parts = re.split(r'(\d+)', name)
  return [int(x) if i % 2 else x for i, x in enumerate(parts)]
