"""Augmentations that move, crop or blank pixels and keep their colors.

Those that move take a label map with the image, by the nearest pixel: see
`ops.pair`.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import kinds, types
from kd_jax.data.augment import ops


def shift(pixels: kinds.Whole = 2) -> ops.Step:
  """Shifts an image by up to `pixels` each way; the gap is black.

  Source: the jitter of Hinton, Vinyals, Dean, Distilling the Knowledge in a
    Neural Network, 2015, https://arxiv.org/abs/1503.02531, section 3.
  """
  return pad_crop(pixels)


def pad_crop(pad: kinds.Whole = 4, mode: str = 'constant') -> ops.Step:
  """Pads by `pad` pixels and crops to the original size at a random place.

  Args:
    pad: pixels on each side.
    mode: 'constant' (black) or 'reflect'.
  """
  if mode not in ('constant', 'reflect'):
    raise types.unknown('mode', mode, ('constant', 'reflect'))

  def crop(key: jax.Array, shape: tuple) -> ops.Move:
    del shape
    row, column = jax.random.randint(key, (2,), 0, 2 * pad + 1)

    def move(pixels: jax.Array, nearest: bool) -> jax.Array:
      del nearest  # whole pixels
      padded = jnp.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode)
      return jax.lax.dynamic_slice(padded, (row, column, 0), pixels.shape)

    return move

  return ops.pair(crop)


def resized_crop(
  scale: Annotated[ops.Interval, ops.AT_MOST_ONE] = (0.08, 1.0),
  ratio: ops.Interval = (3 / 4, 4 / 3),
) -> ops.Step:
  """Crops a random part and scales it to the image's size, as for ImageNet.

  Args:
    scale: smallest and largest part of the area.
    ratio: smallest and largest width / height, drawn on a log scale; a side
      longer than the image is cut to it (torchvision draws again instead).

  Returns:
    A step; images become f32.

  Source: C. Szegedy et al., Going Deeper with Convolutions, 2015,
    https://arxiv.org/abs/1409.4842, section 6.
  """

  def crop(key: jax.Array, shape: tuple) -> ops.Move:
    keys = jax.random.split(key, 3)
    area = jax.random.uniform(keys[0], (), minval=scale[0], maxval=scale[1])
    low, high = (math.log(x) / 2 for x in ratio)
    stretch = jnp.exp(jax.random.uniform(keys[1], (), minval=low, maxval=high))
    # The part of each side that is cropped, and where it starts, in pixels.
    part = jnp.sqrt(area) * jnp.stack([1 / stretch, stretch])
    part = jnp.minimum(part, 1)
    size = jnp.array(shape[:2], jnp.float32)
    start = jax.random.uniform(keys[2], (2,)) * (1 - part) * size
    return _zoom(shape[:2], 1 / part, -start / part)

  return ops.pair(crop)


def scale_crop(
  scale: ops.Interval = (0.5, 2.0),
  size: Sequence[int] = (),
  fill: float | Sequence[float] = 0.0,
) -> ops.Step:
  """Scales an image at random and crops it at a random place.

  Where the scaled image is smaller than the crop it lies within, at a random
  place, and the gap does not count.

  Args:
    scale: smallest and largest factor, drawn evenly.
    size: (height, width) of the crop in pixels; () is the image's.
    fill: color of the gap, one number or one per channel, in [0, 1] for uint8;
      the data's mean is 0 for the network.

  Returns:
    A step; images become f32.

  Source: the training of Y. Liu et al., Structured Knowledge Distillation for
    Semantic Segmentation, 2019, https://arxiv.org/abs/1903.04197, section 4.1;
    their code scales in steps of 0.1 and puts a small image in the corner.
  """
  if len(size) not in (0, 2) or any(
    not isinstance(side, int) or side < 1 for side in size
  ):
    raise ValueError(
      f"'size' of augmentation 'scale_crop' is {size!r}; legal: (height, "
      'width) of at least 1 pixel, or ()'
    )

  def crop(key: jax.Array, shape: tuple) -> ops.Move:
    if np.ndim(fill) and len(fill) != shape[-1]:
      raise ValueError(
        f"'fill' of augmentation 'scale_crop' is {fill!r}; legal: one number, "
        f'or {shape[-1]}, one per channel'
      )
    first, second = jax.random.split(key)
    factor = jax.random.uniform(first, (), minval=scale[0], maxval=scale[1])
    to = tuple(size) or shape[:2]
    room = factor * jnp.array(shape[:2]) - jnp.array(to)
    # Whole pixels, so that an image of its own size is not blurred.
    start = jnp.round(jax.random.uniform(second, (2,)) * room)
    return _zoom(to, jnp.stack([factor, factor]), -start, fill)

  return ops.pair(crop)


def _zoom(
  size: tuple, scale: jax.Array, shift: jax.Array, fill: Any = None
) -> ops.Move:
  """Scales pixels, then shifts them; the result has `size` (height, width).

  Pixel p of the result is the pixel at (p + 1/2 - shift) / scale of the given
  one, whose pixels have their centers at halves. Images are resampled linearly
  (over all that a smaller pixel covers), and are f32. `fill` is the color of
  what lies outside of the given pixels; None: nothing does.
  """

  def place(axis: int, length: int) -> tuple[jax.Array, jax.Array]:
    source = (jnp.arange(size[axis]) + 0.5 - shift[axis]) / scale[axis]
    index = jnp.floor(source).astype(jnp.int32)
    clipped = jnp.clip(index, 0, length - 1)
    return clipped, (index == clipped) | (fill is None)

  def move(pixels: jax.Array, nearest: bool) -> jax.Array:
    (row, above), (column, left) = map(place, (0, 1), pixels.shape[:2])
    inside = (above[:, None] & left[None])[..., None]
    if nearest:
      return jnp.where(inside, pixels[row[:, None], column], 0)
    image = jax.image.scale_and_translate(
      ops.unit(pixels), (*size, pixels.shape[-1]), (0, 1), scale, shift,
      'linear',
    )  # fmt: skip
    if fill is None:
      return image
    return jnp.where(inside, image, jnp.asarray(fill, jnp.float32))

  return move


def flip(probability: kinds.Share = 0.5) -> ops.Step:
  """Mirrors an image left to right, with a probability."""

  def mirror(key: jax.Array, shape: tuple) -> ops.Move:
    del shape
    chosen = jax.random.bernoulli(key, probability)
    return lambda pixels, nearest: jnp.where(chosen, pixels[:, ::-1], pixels)

  return ops.pair(mirror)


def cutout(
  size: kinds.Whole = 16, fill: float | Sequence[float] = 0.0
) -> ops.Step:
  """Blanks a square at a random place; a part of it may lie outside.

  Args:
    size: side of the square in pixels.
    fill: its color, one number or one per channel; in [0, 1] for uint8.

  Source: T. DeVries and G. W. Taylor, Improved Regularization of
    Convolutional Neural Networks with Cutout, 2017,
    https://arxiv.org/abs/1708.04552. Their code blanks after normalization:
    give the data's mean as `fill` for the same.
  """

  def blank(key: jax.Array, image: jax.Array) -> jax.Array:
    height, width, channels = image.shape
    center = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    box = ops.box(center - size // 2, center - size // 2 + size, image.shape)
    value = jnp.asarray(fill, jnp.float32)
    if image.dtype == jnp.uint8:
      value = jnp.round(value * 255)
    value = jnp.broadcast_to(value.astype(image.dtype), (1, 1, channels))
    return jnp.where(box, value, image)

  return ops.each(blank)
