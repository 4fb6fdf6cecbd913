"""Helpers for augmentations: per-example vmap, boxes, checks of options."""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp

from kd_jax import kinds, types

# (key of the batch, keys of the examples [B], batch) -> batch
Step = Callable[[jax.Array, jax.Array, types.Batch], types.Batch]

Interval = Annotated[
  tuple[float, float],
  kinds.Rule('be 0 < low <= high', lambda x: 0 < x[0] <= x[1]),
]
AT_MOST_ONE = kinds.Rule('end at 1 or below', lambda x: x[1] <= 1)


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
