"""RandAugment: applies a few changes, drawn at random from many."""

from typing import Annotated

import jax
import jax.numpy as jnp

from kd_jax import kinds
from kd_jax.data.augment import color, ops

# The largest change of each kind, as in torchvision's RandAugment.
_SHEAR = 0.3
_TRANSLATE = 150 / 331
_DEGREES = 30.0
_BLEND = 0.9


def rand_augment(
  operations: kinds.Whole = 2,
  magnitude: Annotated[int, kinds.within(0, 30)] = 9,
  geometric: bool = True,
) -> ops.Step:
  """Applies `operations` changes, each drawn from fourteen.

  Five move pixels (shear and translate each way, rotate; nearest pixel, gaps
  are black); nine do not (none, brightness, saturation, contrast, sharpness,
  posterize, solarize, autocontrast, equalize). Changes that have a direction
  draw its sign.

  Args:
    operations: number of changes, applied in turn.
    magnitude: size of each change, 0 to 30.
    geometric: False draws from the nine that move no pixel, as label maps need.

  Returns:
    A step; images become f32 in [0, 1].

  Source: E. D. Cubuk, B. Zoph, J. Shlens, Q. V. Le, RandAugment, 2019,
    https://arxiv.org/abs/1909.13719; the set of changes and their ranges are
    torchvision's; pixels are not rounded between changes.
  """
  level = magnitude / 30
  painters = _painters(level)
  moving = 5 if geometric else 0

  def change(key: jax.Array, image: jax.Array) -> jax.Array:
    choose, toss = jax.random.split(key)
    kind = jax.random.randint(choose, (), 0, moving + len(painters))
    sign = jnp.where(jax.random.bernoulli(toss), 1.0, -1.0)
    if geometric:
      # The five that move share one warp: under vmap every branch is computed.
      image = warp(image, *_motion(kind, sign * level, image.shape))
    return jax.lax.switch(jnp.maximum(kind - moving + 1, 0), [
      lambda x, sign: x, *painters
    ], image, sign)  # fmt: skip

  def view(key: jax.Array, image: jax.Array) -> jax.Array:
    image = ops.unit(image)
    for change_key in jax.random.split(key, operations):
      image = change(change_key, image)
    return image

  return ops.each(view, ops.IMAGE if geometric else ops.NOTHING)


def _painters(level: float) -> list:
  """The nine changes that move no pixel: (image, sign) -> image."""
  step = _BLEND * level
  bits = 8 - round(4 * level)
  return [
    lambda image, sign: image,
    lambda image, sign: color.brighten(image, 1 + sign * step),
    lambda image, sign: color.saturate(image, 1 + sign * step),
    lambda image, sign: color.harden(image, 1 + sign * step),
    lambda image, sign: color.sharpen(image, 1 + sign * step),
    lambda image, sign: color.posterize(image, bits),
    lambda image, sign: color.solarize(image, 1 - level),
    lambda image, sign: color.stretch(image),
    lambda image, sign: color.equalize(image),
  ]


def _motion(kind, amount, shape) -> tuple[jax.Array, jax.Array]:
  """Matrix and offset of the change `kind`; identity for kinds from 5 on."""
  height, width, _ = shape
  size = [
    jnp.where(kind == place, amount * largest, 0.0)
    for place, largest in enumerate((
      _SHEAR, _SHEAR, _TRANSLATE * height, _TRANSLATE * width,
      jnp.deg2rad(_DEGREES),
    ))
  ]  # fmt: skip
  shear_x, shear_y, down, right, angle = size
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  matrix = jnp.array([[cos, shear_y - sin], [shear_x + sin, cos]])
  return matrix, jnp.array([down, right])


def warp(image: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
  """The image whose pixel p is the given image's pixel at matrix p + offset.

  Args:
    image: [H, W, C].
    matrix: f32 [2, 2], for (row, column), counted from the center.
    offset: f32 [2], in pixels.

  Returns:
    [H, W, C], from the nearest pixels; pixels outside are black.
  """
  height, width, _ = image.shape
  middle = jnp.array([height - 1, width - 1]).reshape(2, 1, 1) / 2
  grid = jnp.indices((height, width)) - middle
  # Written out: a matrix product may run in low precision on accelerators.
  source = matrix[:, :1, None] * grid[:1] + matrix[:, 1:, None] * grid[1:]
  source = jnp.round(source + middle + offset.reshape(2, 1, 1))
  row, column = source.astype(jnp.int32)
  inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
  pixels = image[row.clip(0, height - 1), column.clip(0, width - 1)]
  return jnp.where(inside[..., None], pixels, 0)
