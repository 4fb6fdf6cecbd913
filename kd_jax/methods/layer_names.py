"""Layers of the outputs by name."""

import fnmatch
import re
from collections.abc import Mapping, Sequence

from kd_jax import kinds, types
from kd_jax.methods import adapters

Layers = Sequence[tuple[str, str]]  # names or globs: (student's, teacher's)


def pairs(
  layers: Layers, student: Mapping, teacher: Mapping
) -> list[tuple[str, str]]:
  """The (student, teacher) names that `layers` means, globs written out.

  Args:
    layers: pairs of names or globs; a glob pairs what it matches in order,
      numbers within names by their value ('stage2' before 'stage10').
    student: the student's outputs or their shapes.
    teacher: the teacher's.

  Raises:
    ValueError: for a name that no output has, with the known ones and their
      shapes, or for globs that match different numbers of layers.
  """
  found = []
  for ours, theirs in layers:
    left = _named(ours, student, 'student')
    right = _named(theirs, teacher, 'teacher')
    if len(left) != len(right):
      raise ValueError(
        f"layers ('{ours}', '{theirs}') match {len(left)} of the student and "
        f'{len(right)} of the teacher: {left} and {right}'
      )
    found += zip(left, right)
  return found


def need(name: str, layers: Layers) -> Layers:
  """The layers that the method `name` was given, if they are pairs.

  Raises:
    ValueError: where they are none, or no pairs.
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


def _named(pattern: str, outputs: Mapping, who: str) -> list[str]:
  """The names that a pattern means, in order; a name means itself."""
  known = {n: x.shape for n, x in outputs.items() if hasattr(x, 'shape')}
  if pattern in known:
    return [pattern]
  names = [n for n in known if fnmatch.fnmatchcase(n, pattern)]
  if not names:
    # The names are listed with their shapes, and not alone.
    error = str(types.unknown(f'layer of the {who}', pattern, known))
    listed = ', '.join(
      f'{n} {adapters.shown(known[n])}' for n in sorted(known, key=_order)
    )
    raise ValueError(f'{error.split(" known:")[0]} known: {listed or "none"}')
  return sorted(names, key=_order)


def _order(name: str) -> list:
  """Sorts names with the numbers in them by value."""
  parts = re.split(r'(\d+)', name)
  return [int(x) if i % 2 else x for i, x in enumerate(parts)]
