"""Augmentations that move, crop or blank pixels and keep their colors."""

import math
from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp

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

  def crop(key: jax.Array, image: jax.Array) -> jax.Array:
    row, column = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)

  return ops.each(crop)


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

  def crop(key: jax.Array, image: jax.Array) -> jax.Array:
    keys = jax.random.split(key, 3)
    area = jax.random.uniform(keys[0], (), minval=scale[0], maxval=scale[1])
    low, high = (math.log(x) / 2 for x in ratio)
    stretch = jnp.exp(jax.random.uniform(keys[1], (), minval=low, maxval=high))
    # The part of each side that is cropped, and where it starts, in pixels.
    part = jnp.sqrt(area) * jnp.stack([1 / stretch, stretch])
    part = jnp.minimum(part, 1)
    size = jnp.array(image.shape[:2], jnp.float32)
    start = jax.random.uniform(keys[2], (2,)) * (1 - part) * size
    return jax.image.scale_and_translate(
      ops.unit(image), image.shape, (0, 1), 1 / part, -start / part, 'linear'
    )

  return ops.each(crop)


def flip(probability: kinds.Share = 0.5) -> ops.Step:
  """Mirrors an image left to right, with a probability."""

  def mirror(key: jax.Array, image: jax.Array) -> jax.Array:
    chosen = jax.random.bernoulli(key, probability)
    return jnp.where(chosen, image[:, ::-1], image)

  return ops.each(mirror)


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
