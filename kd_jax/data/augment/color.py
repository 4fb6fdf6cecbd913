"""Changes the color of f32 images [H, W, C] in [0, 1], of 1 or 3 channels.

Functions that blend take a factor: 1 gives the image, 0 its opposite (black,
gray, blurred), a larger factor the image farther from its opposite.
"""

from typing import Annotated

import jax
import jax.numpy as jnp

from kd_jax import kinds
from kd_jax.data.augment import ops


def color_jitter(
  brightness: kinds.Share = 0.4,
  contrast: kinds.Share = 0.4,
  saturation: kinds.Share = 0.4,
  hue: Annotated[float, kinds.within(0, 0.5)] = 0.0,
) -> ops.Step:
  """Changes brightness, contrast, saturation and hue at random, in this order.

  Factors are uniform in [1 - x, 1 + x]; the hue turns by a part of its circle
  that is uniform in [-hue, hue]. Torchvision's ColorJitter draws the order too.

  Args:
    brightness, contrast, saturation: x, each in [0, 1].
    hue: in [0, 0.5]; images of one channel do not change.

  Returns:
    A step; images become f32 in [0, 1].
  """
  strengths = (brightness, contrast, saturation)

  def jitter(key: jax.Array, image: jax.Array) -> jax.Array:
    image = ops.unit(image)
    draws = jax.random.uniform(key, (4,), minval=-1, maxval=1)
    changes = (brighten, harden, saturate)
    for draw, strength, change in zip(draws, strengths, changes):
      image = change(image, 1 + strength * draw)
    return turn_hue(image, hue * draws[3]) if hue else image

  return ops.each(jitter)


def gray(image: jax.Array) -> jax.Array:
  """Luma [H, W, 1], by the weights of ITU-R BT.601."""
  if image.shape[-1] == 1:
    return image
  red, green, blue = (image[..., i : i + 1] for i in range(3))
  return 0.299 * red + 0.587 * green + 0.114 * blue


def _away(image, opposite, factor) -> jax.Array:
  """Blends with the opposite, or moves away from it; clipped to [0, 1]."""
  return jnp.clip(opposite + factor * (image - opposite), 0, 1)


def brighten(image: jax.Array, factor: jax.Array) -> jax.Array:
  """Blends with black."""
  return _away(image, jnp.zeros_like(image), factor)


def harden(image: jax.Array, factor: jax.Array) -> jax.Array:
  """Changes the contrast: blends with the mean of the gray image."""
  mean = gray(image).mean()
  return _away(image, jnp.full_like(image, mean), factor)


def saturate(image: jax.Array, factor: jax.Array) -> jax.Array:
  """Blends with the gray image."""
  return _away(image, jnp.broadcast_to(gray(image), image.shape), factor)


def sharpen(image: jax.Array, factor: jax.Array) -> jax.Array:
  """Blends with a 3x3 blur (center 5/13, others 1/13), except at the border."""
  height, width, _ = image.shape
  total = 4 * image[1:-1, 1:-1]
  for row in range(3):
    for column in range(3):
      total += image[row : height - 2 + row, column : width - 2 + column]
  return _away(image, image.at[1:-1, 1:-1].set(total / 13), factor)


def turn_hue(image: jax.Array, turn: jax.Array) -> jax.Array:
  """Turns the hue of HSV by `turn` circles; value and chroma stay."""
  if image.shape[-1] == 1:
    return image
  value, least = image.max(axis=-1), image.min(axis=-1)
  chroma = value - least
  safe = jnp.where(chroma > 0, chroma, 1)
  red, green, blue = (image[..., i] for i in range(3))
  # In sixths of the circle, from red.
  sector = jnp.select(
    [value == red, value == green],
    [(green - blue) / safe, 2 + (blue - red) / safe],
    4 + (red - green) / safe,
  )
  sector = sector + 6 * turn
  place = [(start + sector) % 6 for start in (5, 3, 1)]
  fall = [jnp.clip(jnp.minimum(k, 4 - k), 0, 1) for k in place]
  return jnp.stack([value - chroma * f for f in fall], axis=-1)


def posterize(image: jax.Array, bits: int) -> jax.Array:
  """Keeps the upper `bits` of the eight bits of a pixel."""
  step = 2 ** (8 - bits)
  return jnp.floor(jnp.round(image * 255) / step) * step / 255


def solarize(image: jax.Array, threshold: float) -> jax.Array:
  """Inverts pixels of at least `threshold`."""
  return jnp.where(image >= threshold, 1 - image, image)


def stretch(image: jax.Array) -> jax.Array:
  """Autocontrast: stretches each channel to the range [0, 1]."""
  low = image.min(axis=(0, 1), keepdims=True)
  high = image.max(axis=(0, 1), keepdims=True)
  flat = high <= low
  return jnp.where(flat, image, (image - low) / jnp.where(flat, 1, high - low))


def equalize(image: jax.Array) -> jax.Array:
  """Flattens the histogram of each channel.

  A pixel becomes (number of darker pixels + step / 2) / step, in integers; step
  is a 255th of the number of pixels that are not the brightest. In small images
  the rounding of step is visible; it is the same as in Pillow.
  """

  def channel(pixels: jax.Array) -> jax.Array:
    level = jnp.round(pixels * 255).astype(jnp.int32)
    counts = jnp.zeros(256, jnp.int32).at[level].add(1)
    darker = (counts.cumsum() - counts)[level]
    step = darker.max() // 255
    flatter = (darker + step // 2) // jnp.maximum(step, 1)
    return jnp.where(step > 0, jnp.minimum(flatter, 255) / 255, pixels)

  return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)
