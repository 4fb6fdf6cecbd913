"""Encodes outputs for the cache: float32, bfloat16 or int8; all logits or k.

A record holds the outputs of one example:

| dtype    | stored                        | error of a number x, at most      |
|----------|-------------------------------|-----------------------------------|
| float32  | x                             | 0                                 |
| bfloat16 | x to 8 significant bits       | |x| / 256                         |
| int8     | round(x / s), s = max|x|/127  | s / 2; one s per record, output   |

With `top_k` a record holds the k largest logits and one number for all other
classes, the tail: t = log(sum of exp(z_i) over them) - log(K - k). Decoding
gives each of those classes the logit t. So at temperature 1 the k classes keep
their probabilities, the others keep their total mass m, spread evenly, and

  sum_i |p_i - decoded_i| <= 2 m,  KL(p || decoded) <= m log(K - k)   [nats].

Every method can read such logits. A method that compares k + 1 bins (the k
classes and the tail) loses only the differences within the tail: a KL over
bins is never above the KL over classes. At other temperatures the tail has the
mass of K - k equal logits. t never exceeds the k stored logits, so the order
of the k classes and the predicted class stay the same.

With a `distribution` (see `forms`) it holds some classes of the logits in their
place, which are read as such: nothing of the size of all classes is made.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kd_jax import types
from kd_jax.cache import forms

DTYPES = ('float32', 'bfloat16', 'int8')
LOGITS = forms.LOGITS


class Layout(NamedTuple):
  """What a record holds.

  Attributes:
    shapes: {output: its shape for one example}.
    dtype: of the stored numbers, one of DTYPES.
    top_k: number of stored logits; 0 stores all of them.
    distribution: what is stored in place of logits, as `forms.settle` returns
      it; {}: they are.
  """

  shapes: Mapping[str, tuple[int, ...]]
  dtype: str = 'float32'
  top_k: int = 0
  distribution: Mapping[str, Any] = {}


def check(layout: Layout) -> Layout:
  """Refuses a layout that cannot be stored.

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
  """The structured dtype of a record; its itemsize is the bytes per example."""
  stored = {'float32': '<f4', 'bfloat16': '<u2', 'int8': 'i1'}[layout.dtype]
  fields = []
  for name in sorted(layout.shapes):
    shape = tuple(layout.shapes[name])
    if _in_form(layout, name):
      form = forms.make_form(layout.distribution)
      fields.append((name, form.record(shape[-1]), shape[:-1]))
      continue
    if layout.top_k and name == LOGITS:
      classes = np.min_scalar_type(shape[-1] - 1).newbyteorder('<')
      fields.append((f'{name}.classes', classes, (*shape[:-1], layout.top_k)))
      shape = (*shape[:-1], layout.top_k + 1)
    if layout.dtype == 'int8':
      fields.append((f'{name}.scale', '<f4'))
    fields.append((name, stored, shape))
  return np.dtype(fields)


def names(layout: Layout) -> list[str]:
  """The names of the outputs that are read of a record."""
  return [
    read
    for name in layout.shapes
    for read in (
      forms.make_form(layout.distribution).names
      if _in_form(layout, name)
      else [name]
    )
  ]


def pack(layout: Layout, outputs: types.Outputs) -> np.ndarray:
  """Outputs [B, ...] as records [B] of type `record(layout)`.

  Those of a distribution have their own names (`forms.reduce`).
  """
  rows = np.empty(len(next(iter(outputs.values()))), record(layout))
  for name in layout.shapes:
    if _in_form(layout, name):
      form = forms.make_form(layout.distribution)
      stored = tuple(outputs[key] for key in form.names)
      rows[name] = form.pack(rows.dtype[name].base, stored)
      continue
    values = np.asarray(outputs[name], np.float32)
    if layout.top_k and name == LOGITS:
      rows[f'{name}.classes'], values = _largest(values, layout.top_k)
    if layout.dtype == 'int8':
      rows[f'{name}.scale'] = _scale(values)
    rows[name] = _encode(layout.dtype, values)
  return rows


def unpack(layout: Layout, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Decodes `pack`, within its error: f32 outputs [B, ...], classes i32."""
  outputs = {}
  for name, shape in layout.shapes.items():
    if _in_form(layout, name):
      form = forms.make_form(layout.distribution)
      stored = form.unpack(np.ascontiguousarray(rows[name]))
      outputs |= zip(form.names, stored, strict=True)
      continue
    values = _values(layout, rows, name)
    if layout.top_k and name == LOGITS:
      full = np.repeat(values[..., -1:], shape[-1], axis=-1)
      classes = rows[f'{name}.classes'].astype(np.int64)
      np.put_along_axis(full, classes, values[..., :-1], axis=-1)
      values = full
    outputs[name] = values
  return outputs


def _in_form(layout: Layout, name: str) -> bool:
  """Whether an output is stored as a distribution."""
  return bool(layout.distribution) and name == LOGITS


def _largest(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
  """The k largest classes [..., k]; their logits and the tail [..., k + 1]."""
  order = np.argpartition(-logits, k - 1, axis=-1)
  top, rest = (
    np.take_along_axis(logits, part, axis=-1)
    for part in (order[..., :k], order[..., k:])
  )
  tail = _log_mean(rest.astype(np.float64))[..., None].astype(np.float32)
  return order[..., :k], np.concatenate([top, tail], axis=-1)


def _log_mean(values: np.ndarray) -> np.ndarray:
  """The logarithm of the mean of exp(values) over the last axis."""
  top = values.max(axis=-1, keepdims=True)
  log_sum = np.log(np.exp(values - top).sum(axis=-1)) + top[..., 0]
  return log_sum - np.log(values.shape[-1])


def _scale(values: np.ndarray) -> np.ndarray:
  """s f32 [B]: the step of int8 in each record."""
  axes = tuple(range(1, values.ndim))
  return np.abs(values).max(axis=axes, initial=0) / np.float32(127)


def _encode(dtype: str, values: np.ndarray) -> np.ndarray:
  if dtype == 'bfloat16':
    return values.astype(jnp.dtype('bfloat16')).view(np.uint16)
  if dtype == 'float32':
    return values
  scale = _broadcast(_scale(values), values).astype(np.float64)
  with np.errstate(invalid='ignore'):  # inf and nan are in the scale too
    steps = values / np.where(scale > 0, scale, 1)
  return np.clip(np.rint(np.nan_to_num(steps)), -127, 127).astype(np.int8)


def _values(layout: Layout, rows: np.ndarray, name: str) -> np.ndarray:
  """The stored numbers of an output, as f32."""
  stored = np.ascontiguousarray(rows[name])
  if layout.dtype == 'bfloat16':
    return (stored.astype(np.uint32) << 16).view(np.float32)
  if layout.dtype == 'float32':
    return stored.astype(np.float32, copy=False)
  with np.errstate(invalid='ignore'):
    return stored * _broadcast(rows[f'{name}.scale'], stored)


def _broadcast(scale: np.ndarray, values: np.ndarray) -> np.ndarray:
  """The scale [B] as [B, 1, ..], to multiply values [B, ...]."""
  return scale.reshape(-1, *(1,) * (values.ndim - 1))
