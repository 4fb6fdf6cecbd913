"""The form in which outputs are stored: f32, bf16, int8, all classes or k.

A record holds the outputs of one example, each with all its numbers:

| dtype    | stored                        | error of a number x               |
|----------|-------------------------------|-----------------------------------|
| float32  | x                             | 0                                 |
| bfloat16 | x to 8 significant bits       | |x| / 256                         |
| int8     | round(x / s), s = max|x|/127  | s / 2, one s a record and output  |

With `top_k` the logits are their k largest and one number for the rest, the
tail: t = log(sum of exp(z_i) over the rest) - log(K - k). What is read back
gives every class of the rest the logit t. So at temperature 1 the k classes
keep their probabilities, the rest keeps its mass m, spread evenly, and

  sum_i |p_i - read_i| <= 2 m,    KL(p || read) <= m log(K - k)   [nats].

Any method reads such logits, and those that look at the k classes and the rest
as k + 1 bins lose nothing but what happens within the rest (a KL over the bins
is never above that over the classes). At other temperatures the mass of the
rest is that of an even tail. t is never above the k values, so that the order
of the k classes and the class predicted stay.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kd_jax import types

DTYPES = ('float32', 'bfloat16', 'int8')
LOGITS = 'logits'


class Layout(NamedTuple):
  """What a record holds.

  Attributes:
    shapes: {output: shape of one example's}.
    dtype: of the stored numbers, one of DTYPES.
    top_k: how many logits; 0 is all of them.
  """

  shapes: Mapping[str, tuple[int, ...]]
  dtype: str = 'float32'
  top_k: int = 0


def check(layout: Layout) -> Layout:
  """Refuses what cannot be stored.

  Raises:
    ValueError: an unknown dtype, or a top_k outside [0, K).
  """
  if layout.dtype not in DTYPES:
    raise types.unknown('cache.dtype', layout.dtype, DTYPES)
  if not layout.shapes:
    raise ValueError('cache.outputs names no output to store')
  if not layout.top_k:
    return layout
  if LOGITS not in layout.shapes:
    raise ValueError(
      f"cache.top_k={layout.top_k} needs '{LOGITS}' in cache.outputs"
    )
  classes = layout.shapes[LOGITS][-1]
  if not 0 < layout.top_k < classes:
    raise ValueError(
      f'cache.top_k={layout.top_k} of {classes} classes; legal: 0 (all) to '
      f'{classes - 1}'
    )
  return layout


def record(layout: Layout) -> np.dtype:
  """The structured type of a record; its itemsize is bytes per example."""
  stored = {'float32': '<f4', 'bfloat16': '<u2', 'int8': 'i1'}[layout.dtype]
  fields = []
  for name in sorted(layout.shapes):
    shape = tuple(layout.shapes[name])
    if layout.top_k and name == LOGITS:
      classes = np.min_scalar_type(shape[-1] - 1).newbyteorder('<')
      fields.append((f'{name}.classes', classes, (*shape[:-1], layout.top_k)))
      shape = (*shape[:-1], layout.top_k + 1)
    if layout.dtype == 'int8':
      fields.append((f'{name}.scale', '<f4'))
    fields.append((name, stored, shape))
  return np.dtype(fields)


def pack(layout: Layout, outputs: types.Outputs) -> np.ndarray:
  """Outputs [B, ...] as records [B] of type `record(layout)`."""
  rows = np.empty(len(next(iter(outputs.values()))), record(layout))
  for name in layout.shapes:
    values = np.asarray(outputs[name], np.float32)
    if layout.top_k and name == LOGITS:
      rows[f'{name}.classes'], values = _largest(values, layout.top_k)
    if layout.dtype == 'int8':
      rows[f'{name}.scale'] = _scale(values)
    rows[name] = _encode(layout.dtype, values)
  return rows


def unpack(layout: Layout, rows: np.ndarray) -> dict[str, np.ndarray]:
  """The inverse of `pack`, to its error: f32 outputs [B, ...]."""
  outputs = {}
  for name, shape in layout.shapes.items():
    values = _values(layout, rows, name)
    if layout.top_k and name == LOGITS:
      full = np.repeat(values[..., -1:], shape[-1], axis=-1)
      classes = rows[f'{name}.classes'].astype(np.int64)
      np.put_along_axis(full, classes, values[..., :-1], axis=-1)
      values = full
    outputs[name] = values
  return outputs


def bounds(layout: Layout, rows: np.ndarray) -> dict[str, dict[str, float]]:
  """The largest errors of what is stored in `rows`.

  Returns:
    {output: {'absolute' or 'relative': of a number}}; with top_k the logits
    also have 'tail_mass', m at temperature 1, and 'tail_kl', m log(K - k) in
    nats.
  """
  found = {}
  for name in layout.shapes:
    if layout.dtype == 'bfloat16':
      found[name] = {'relative': 2.0**-8}
    elif layout.dtype == 'int8':
      scale = rows[f'{name}.scale'].max(initial=0)
      found[name] = {'absolute': float(scale) / 2}
    else:
      found[name] = {'absolute': 0.0}
  if layout.top_k:
    rest = layout.shapes[LOGITS][-1] - layout.top_k
    values = _values(layout, rows, LOGITS).astype(np.float64)
    values[..., -1] += np.log(rest)
    mass = np.exp(values[..., -1] - _log_sum(values)).max(initial=0)
    found[LOGITS] |= {
      'tail_mass': float(mass),
      'tail_kl': float(mass * np.log(rest)),
    }
  return found


def largest(one: Mapping, other: Mapping) -> dict[str, Any]:
  """The larger of two `bounds`, number by number."""
  return {
    name: {key: max(value, other[name][key]) for key, value in of.items()}
    for name, of in one.items()
  }


def _largest(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
  """The k largest classes [..., k]; their logits and the tail [..., k + 1]."""
  order = np.argpartition(-logits, k - 1, axis=-1)
  kept, rest = (
    np.take_along_axis(logits, part, axis=-1)
    for part in (order[..., :k], order[..., k:])
  )
  tail = _log_sum(rest.astype(np.float64)) - np.log(rest.shape[-1])
  tail = tail[..., None].astype(np.float32)
  return order[..., :k], np.concatenate([kept, tail], axis=-1)


def _log_sum(values: np.ndarray) -> np.ndarray:
  """log sum exp over the last axis."""
  top = values.max(axis=-1, keepdims=True)
  return np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0]


def _scale(values: np.ndarray) -> np.ndarray:
  """s f32 [B]: the step of int8, for each record."""
  axes = tuple(range(1, values.ndim))
  return np.abs(values).max(axis=axes, initial=0) / np.float32(127)


def _encode(dtype: str, values: np.ndarray) -> np.ndarray:
  if dtype == 'bfloat16':
    return values.astype(jnp.dtype('bfloat16')).view(np.uint16)
  if dtype == 'float32':
    return values
  scale = _beside(_scale(values), values).astype(np.float64)
  with np.errstate(invalid='ignore'):  # what is not finite is so in the scale
    steps = values / np.where(scale > 0, scale, 1)
  return np.clip(np.rint(np.nan_to_num(steps)), -127, 127).astype(np.int8)


def _values(layout: Layout, rows: np.ndarray, name: str) -> np.ndarray:
  """The stored numbers of an output as f32."""
  stored = np.ascontiguousarray(rows[name])
  if layout.dtype == 'bfloat16':
    return (stored.astype(np.uint32) << 16).view(np.float32)
  if layout.dtype == 'float32':
    return stored.astype(np.float32, copy=False)
  with np.errstate(invalid='ignore'):
    return stored * _beside(rows[f'{name}.scale'], stored)


def _beside(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Numbers [B] as [B, 1, ..] beside values [B, ...]."""
  return numbers.reshape(-1, *(1,) * (values.ndim - 1))
