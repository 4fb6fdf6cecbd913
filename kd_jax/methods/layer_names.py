"""Finds pairs of layers in the outputs by names, globs or rules.

A glob may hold '#', any number: 'layer#' is 'layer0' and 'layer11', but not
'layer0_scores'. A rule behind a glob takes some of its matches:

  'layer# every second'   (or third, fourth, or a number) each last of two
  'layer# last 2'         the last ones; 'last' alone, the last one
  'layer# evenly'         as many as the other side has, each the last of its
                          share: layer (i + 1) n / k - 1 of n for the i-th of k
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence

from kd_jax import kinds, types
from kd_jax.methods import adapters

# Names, globs or rules: (student's, teacher's).
Layers = Sequence[tuple[str, str]]

_RULE = re.compile(r'(.+) (every|last|evenly)(?: (\w+))?')
_WORDS = {'second': 2, 'third': 3, 'fourth': 4}


def pairs(
  layers: Layers, student: Mapping, teacher: Mapping
) -> list[tuple[str, str]]:
  """The pairs (student's, teacher's) of layer names that match `layers`.

  Args:
    layers: pairs of names, globs or rules. Two globs pair their matches in
      order; numbers within names are ordered by value ('stage2' before
      'stage10').
    student: the student's outputs or their shapes.
    teacher: the teacher's.

  Raises:
    ValueError: for a name that no output has, with the known ones and their
      shapes, for globs that match different numbers of layers, or a rule that
      is none.
  """
  names = []
  for ours, theirs in layers:
    left, evenly = _chosen(ours, student, 'student')
    right, spread = _chosen(theirs, teacher, 'teacher')
    if evenly:
      left = _evenly(ours, left, len(right))
    elif spread:
      right = _evenly(theirs, right, len(left))
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


def _chosen(pattern: str, outputs: Mapping, who: str) -> tuple[list, bool]:
  """The names that a name, glob or rule takes, and whether 'evenly' is left."""
  rule = None if pattern in outputs else _RULE.fullmatch(pattern)
  if rule is None:
    return _matches(pattern, outputs, who), False
  glob, word, number = rule.groups()
  names = _matches(glob, outputs, who)
  if word == 'evenly' and number is None:
    return names, True
  count = _WORDS.get(number, number or '1')
  if word == 'evenly' or not str(count).isdecimal() or int(count) < 1:
    raise ValueError(
      f"layers '{pattern}': no such rule; legal: 'GLOB every second' (third, "
      "fourth, or a number), 'GLOB last', 'GLOB last 2', 'GLOB evenly'"
    )
  count = int(count)
  names = names[count - 1 :: count] if word == 'every' else names[-count:]
  return names, False


def _evenly(pattern: str, names: list[str], count: int) -> list[str]:
  """`count` of the names, each the last of an equal share of them."""
  if not count or len(names) % count:
    raise ValueError(
      f"layers '{pattern}': its {len(names)} layers are no multiple of the "
      f"other side's {count}"
    )
  share = len(names) // count
  return names[share - 1 :: share]


def _matches(pattern: str, outputs: Mapping, who: str) -> list[str]:
  """The names that match a pattern, in order; a known name matches itself."""
  # What no term reads is None in a step, and counts.
  there = [n for n, x in outputs.items() if x is None or hasattr(x, 'shape')]
  if pattern in there:
    return [pattern]
  names = [n for n in there if fnmatch.fnmatchcase(n, pattern)]
  if not names and '#' in pattern:
    numbered = fnmatch.translate(pattern).replace(re.escape('#'), '[0-9]+')
    names = [n for n in there if re.match(numbered, n)]
  if not names:
    known = {n: outputs[n].shape for n in there if outputs[n] is not None}
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
