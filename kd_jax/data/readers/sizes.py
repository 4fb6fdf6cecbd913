"""Brings images, and label maps with them, to one height and width."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# A side in pixels, or (height, width); 0 and () leave images as they are.
Size = int | Sequence[int]


def stack(images: Sequence[np.ndarray], where: str) -> np.ndarray:
  """Images as one array, or a ValueError that names `where`."""
  shapes = {np.shape(image) for image in images}
  if len(shapes) > 1:
    first, second = sorted(shapes)[:2]
    raise ValueError(
      f"images of '{where}' differ in shape, such as {list(first)} and "
      f"{list(second)}; legal: one shape: give 'size'"
    )
  return np.asarray(images)


def pair(size: Size) -> tuple[int, int] | None:
  """`size` as (height, width), or None where nothing is to be changed."""
  if isinstance(size, int):
    return (size, size) if size else None
  return tuple(size) or None


def check_size(size: Any, where: str) -> Size:
  """`size`, or a ValueError that names `where`."""
  plain = isinstance(size, int)
  sides = [size, size] if plain else list(size)
  whole = all(type(side) is int and side >= 0 for side in sides)
  if not whole or len(sides) not in (0, 2) or (0 in sides and size != 0):
    raise ValueError(
      f'size={size!r} of {where}; legal: a side in pixels, (height, width), or '
      '0 to leave images as they are'
    )
  return size if isinstance(size, int) else tuple(size)


def fit(image: np.ndarray, size: Size) -> np.ndarray:
  """Scales an image [H, W, C] until it covers `size`, and crops the center."""
  sides = pair(size)
  if not sides or image.shape[:2] == sides:
    return image
  if image.dtype != np.uint8:
    raise ValueError(f"'size' of {image.dtype} images; legal: uint8 images")
  try:
    from PIL import Image
  except ImportError as error:
    raise ValueError("'size' needs Pillow: pip install pillow") from error
  channels = image.shape[-1]
  (high, wide), (top, left) = _covering(image.shape, sides)
  picture = Image.fromarray(image[..., 0] if channels == 1 else image)
  picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
  picture = picture.crop((left, top, left + sides[1], top + sides[0]))
  return np.asarray(picture).reshape(*sides, channels)


def fit_map(labels: np.ndarray, size: Size) -> np.ndarray:
  """Brings a label map [H, W] to where `fit` brings its image, by the nearest
  pixel."""
  sides = pair(size)
  if not sides or labels.shape == sides:
    return labels
  whole, start = _covering(labels.shape, sides)
  rows, columns = (
    ((np.arange(side) + first + 0.5) * old / scaled).astype(int)
    for side, first, old, scaled in zip(sides, start, labels.shape, whole)
  )
  return labels[rows[:, None], columns]


def _covering(shape: tuple, sides: tuple[int, int]) -> tuple[tuple, tuple]:
  """The size that a scaled image has, and where the crop starts in it."""
  scale = max(side / old for side, old in zip(sides, shape))
  whole = tuple(
    max(side, round(old * scale)) for side, old in zip(sides, shape)
  )
  return whole, tuple((w - side) // 2 for w, side in zip(whole, sides))
