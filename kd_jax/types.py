"""Defines the types that all modules share, and errors for unknown names."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line is parsed before JAX is imported
  import jax

PyTree = Any

# What a network returns. 'logits' is f32 [B, ..., K]; every other key is a
# feature that the network's docstring names, [B, ...].
Outputs = Mapping[str, 'jax.Array']

# A network (or the learned part of a method) at one moment: {'params': ...}
# and whatever else it carries, such as 'batch_stats'.
Variables = Mapping[str, PyTree]

# 'inputs' [B, H, W, C] (or a dict of arrays), 'labels' i32 [B, ...] or soft
# f32 [B, ..., K], 'index' i32 [B], 'mask' f32 [B, ...] (1 = counts). Optional:
# 'labelled' f32 [B] (0 = the example has no label, and one that names nothing),
# 'teacher_inputs' and 'strong_inputs' (other views of the same examples),
# 'signals' {network: outputs} (stored ones, in place of a frozen teacher).
Batch = Mapping[str, PyTree]

# Name -> f32 []: the means of one step.
Metrics = Mapping[str, 'jax.Array']


def unknown(
  kind: str, name: object, known: Iterable[str], of: str = ''
) -> ValueError:
  """The error for a name that no table holds, with the near and known ones.

  Args:
    kind: what it should be the name of, such as 'method'.
    name: that is not known.
    known: the legal ones.
    of: what names it, such as "term 'soft'".
  """
  start = f"{of} names an unknown {kind}, '{name}'" if of else ''
  return _listed(start or f"unknown {kind} '{name}'", name, known)


def lacks(
  owner: str, kind: str, name: object, known: Iterable[str]
) -> ValueError:
  """The error for something that an owner does not have.

  Args:
    owner: such as "network 'cnn'".
    kind: such as 'option'.
    name: of what it does not have.
    known: the names of what it has.
  """
  return _listed(f"{owner} has no {kind} '{name}'", name, known)


def _listed(start: str, name: object, known: Iterable[str]) -> ValueError:
  known = sorted(known)
  near = difflib.get_close_matches(str(name), known, n=1)
  hint = f" did you mean '{near[0]}'?" if near else ''
  return ValueError(f'{start};{hint} known: {", ".join(known) or "none"}')
