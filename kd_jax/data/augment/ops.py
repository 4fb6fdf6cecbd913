"""Steps of augmentations: of images, of images with their label maps; boxes."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import kinds, types

NOTHING, IMAGE, BOTH = 'nothing', 'image', 'image and label'
# The views of an example that a batch may hold.
_VIEWS = ('inputs', 'teacher_inputs', 'strong_inputs')


class Step(NamedTuple):
  """A step of an augmentation.

  Attributes:
    change: (key of the batch, keys of the examples [B], batch) -> batch.
    moves: what it takes to another place: NOTHING; the IMAGE alone, which
      tears image and label map apart; or BOTH.
  """

  change: Callable[[jax.Array, jax.Array, types.Batch], types.Batch]
  moves: str = NOTHING


Interval = Annotated[
  tuple[float, float],
  kinds.Rule('be 0 < low <= high', lambda x: 0 < x[0] <= x[1]),
]
# (pixels [H, W, C], by the nearest pixel) -> pixels.
Move = Callable[[jax.Array, bool], jax.Array]
AT_MOST_ONE = kinds.Rule('end at 1 or below', lambda x: x[1] <= 1)


def each(
  change: Callable[[jax.Array, jax.Array], jax.Array], moves: str = NOTHING
) -> Step:
  """A step that applies (key, image [H, W, C]) -> image to each example."""

  def step(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del key
    return {**batch, 'inputs': jax.vmap(change)(keys, batch['inputs'])}

  return Step(step, moves)


def pair(draw: Callable[[jax.Array, tuple], Move]) -> Step:
  """A step that takes image and label map to the same place.

  Each example draws once. The image is resampled as `draw` says; its labels
  and their mask are resampled by the nearest pixel, and what comes from outside
  of the image does not count. Of a batch of label maps all views move alike.

  Args:
    draw: (key, [H, W, C]) -> move; move(pixels [H, W, C], nearest) -> pixels,
      0 outside of the image where `nearest`.
  """

  def step(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del key
    images, maps = parts(batch)

    def move_example(key, example):
      move = draw(key, example['inputs'].shape)
      moved = {name: move(example[name], False) for name in images}
      for name in maps:
        moved[name] = move(example[name][..., None], True)[..., 0]
      return moved

    chosen = {name: batch[name] for name in (*images, *maps)}
    return {**batch, **jax.vmap(move_example)(keys, chosen)}

  return Step(step, BOTH)


def parts(batch: types.Batch) -> tuple[list[str], list[str]]:
  """Names of the images and of the maps that a geometric step moves.

  A label map belongs to all views of its image; a class, to none.
  """
  if not has_maps(batch):
    return ['inputs'], []
  return [name for name in _VIEWS if name in batch], ['labels', 'mask']


def has_maps(batch: types.Batch) -> bool:
  """Whether the labels are maps i [B, H, W] of the images [B, H, W, C].

  Raises:
    ValueError: for a mask that is not one of pixels.
  """
  shape = batch['inputs'].shape[:-1]
  if len(shape) != 3 or batch['labels'].shape != shape:
    return False
  if batch['mask'].shape != shape:
    raise ValueError(
      f'label maps {list(shape)} with a mask of shape '
      f'{list(batch["mask"].shape)}; legal: one of the same shape'
    )
  return True


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
