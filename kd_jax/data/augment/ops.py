"""Helpers for augmentations: per-example vmap, boxes, checks of options."""

import numbers
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kd_jax import types

# (key of the batch, keys of the examples [B], batch) -> batch
Step = Callable[[jax.Array, jax.Array, types.Batch], types.Batch]


def each(change: Callable[[jax.Array, jax.Array], jax.Array]) -> Step:
  """A step that applies (key, image [H, W, C]) -> image to each example."""

  def step(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del key
    return {**batch, 'inputs': jax.vmap(change)(keys, batch['inputs'])}

  return step


def unit(images: jax.Array) -> jax.Array:
  """Images as f32; uint8 is scaled to [0, 1]."""
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32) / 255
  return images.astype(jnp.float32)


def box(low: jax.Array, high: jax.Array, shape: tuple) -> jax.Array:
  """A mask bool [H, W, 1] of rows and columns low..high-1, as (row, column)."""
  rows = jnp.arange(shape[0])[:, None, None]
  columns = jnp.arange(shape[1])[None, :, None]
  inside = (rows >= low[0]) & (rows < high[0])
  return inside & (columns >= low[1]) & (columns < high[1])


def whole(name: str, value: object) -> int:
  """`value` as an integer >= 0."""
  if isinstance(value, bool) or not isinstance(value, numbers.Integral):
    raise ValueError(f'{name}={value!r}; legal: an integer >= 0')
  if value < 0:
    raise ValueError(f'{name}={value}; legal: an integer >= 0')
  return int(value)


def fraction(name: str, value: object) -> None:
  """Refuses what is no number in [0, 1]."""
  if not isinstance(value, numbers.Real) or not 0 <= value <= 1:
    raise ValueError(f'{name}={value!r}; legal: a number in [0, 1]')


def positive(name: str, value: object) -> None:
  """Refuses what is no finite number > 0."""
  if not isinstance(value, numbers.Real) or not 0 < value < float('inf'):
    raise ValueError(f'{name}={value!r}; legal: a number > 0')


def interval(name: str, value: object, most: float) -> None:
  """Refuses what is no pair 0 < low <= high <= most."""
  if len(value) != 2 or not 0 < value[0] <= value[1] <= most:
    raise ValueError(f'{name}={value}; legal: two numbers in (0, {most}]')
