"""The words that every floor shares: aliases with their shapes, one error."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import jax

PyTree = Any
Array = jax.Array

# What a network returns. 'logits' is f32 [B, ..., K]; every other key is a
# feature that the network's docstring names, [B, ...].
Outputs = Mapping[str, Array]

# A network (or the learned part of a method) at one moment: {'params': ...}
# and whatever else it carries, such as 'batch_stats'.
Variables = Mapping[str, PyTree]

# 'inputs' [B, H, W, C] (or a dict of arrays), 'labels' i32 [B, ...] or soft
# f32 [B, ..., K], 'index' i32 [B], 'mask' f32 [B, ...] (1 = counts). Optional:
# 'teacher_inputs' and 'strong_inputs' (other views of the same examples),
# 'signals' {network: outputs} (stored ones, in place of a frozen teacher).
Batch = Mapping[str, PyTree]

# Name -> f32 []: the means of one step.
Metrics = Mapping[str, Array]


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
  """The error for a name that no table holds, with the near and known ones."""
  known = sorted(known)
  near = difflib.get_close_matches(str(name), known, n=1)
  hint = f" did you mean '{near[0]}'?" if near else ''
  return ValueError(
    f"unknown {kind} '{name}';{hint} known: {', '.join(known) or 'none'}"
  )
