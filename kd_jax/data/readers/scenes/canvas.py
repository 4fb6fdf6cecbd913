"""A picture of a street that is being painted, and its perspective."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# The classes, and the colors in which a report draws them.
PALETTE = {
  'sky': (70, 130, 180),
  'building': (105, 75, 70),
  'fence': (190, 153, 153),
  'road': (128, 64, 128),
  'marking': (235, 235, 235),
  'pavement': (244, 35, 232),
  'tree': (107, 142, 35),
  'pole': (153, 153, 153),
  'sign': (220, 220, 0),
  'car': (0, 0, 142),
  'person': (220, 20, 60),
}
NAMES = tuple(PALETTE)
VOID = 255
_LABELS = {name: np.uint8(i) for i, name in enumerate(NAMES)}
_LABELS['void'] = np.uint8(VOID)


class Scene(NamedTuple):
  """A picture that is being painted, and where its road lies.

  Attributes:
    image: f32 [H, W, 3], in [0, 1] but for a few pixels.
    labels: u8 [H, W].
    texture: f32 [H, W, 1], of deviation 1.
    rows: f32 [H, 1], of the centers of pixels.
    columns: f32 [1, W].
    horizon: its row.
    middle: column of the vanishing point.
    drift: by how much the road's center moves right down to the lower border,
      in heights of the camera, as all lengths below.
    road: half of the road's width.
    walk: the width of a pavement.
  """

  image: np.ndarray
  labels: np.ndarray
  texture: np.ndarray
  rows: np.ndarray
  columns: np.ndarray
  horizon: float
  middle: float
  drift: float
  road: float
  walk: float


# The color of a shape: (rgb), or (rows [h, 1], columns [1, w]) -> [h, w, 3].
Color = np.ndarray | Callable[[np.ndarray, np.ndarray], np.ndarray]


def paint(
  scene: Scene,
  bounds: tuple[float, float, float, float],
  inside: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
  color: Color,
  name: str = '',
  rough: float = 0.03,
) -> None:
  """Paints a shape.

  Args:
    bounds: (top, bottom, left, right) in pixels; what lies outside of the
      image is left out.
    inside: (rows [h, 1], columns [1, w]) -> bool [h, w]; None is everywhere.
    color: of it.
    name: of its class; '' leaves the class that is there.
    rough: amplitude of the texture.
  """
  height, width = scene.labels.shape
  top, bottom = (min(max(round(x), 0), height) for x in bounds[:2])
  left, right = (min(max(round(x), 0), width) for x in bounds[2:])
  if top >= bottom or left >= right:
    return
  box = slice(top, bottom), slice(left, right)
  rows, columns = scene.rows[box[0]], scene.columns[:, box[1]]
  where = np.True_ if inside is None else inside(rows, columns)
  color = color(rows, columns) if callable(color) else color
  color = color + np.float32(rough) * scene.texture[box]
  np.copyto(
    scene.image[box], color, where=where[..., None], casting='same_kind'
  )
  if name:
    np.copyto(scene.labels[box], _LABELS[name], where=where)


def bar(scene, rows, column, half, color, name='', inside=None) -> None:
  """Paints `inside` of an upright rectangle: rows (top, bottom), half width."""
  paint(scene, (*rows, column - half, column + half), inside, color, name)


def oval(scene, row, column, high, wide, color, name='', rough=0.03) -> None:
  """An ellipse of these half axes around a point."""

  def inside(rows, columns):
    return ((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 < 1

  bounds = row - high, row + high, column - wide, column + wide
  paint(scene, bounds, inside, color, name, rough)


def random_color(rng, low: float = 0.1, high: float = 0.9, vivid: float = 0.3):
  """A random color: gray of a brightness in [low, high], tinted."""
  gray, *tint = rng.random(4).tolist()
  gray = low + (high - low) * gray - 2 * vivid * sum(tint) / 3
  rgb = [min(max(gray + 2 * vivid * x, 0), 1) for x in tint]
  return np.array(rgb, np.float32)


def leaves(rng):
  """The color of a tree: green, yellowish or dark."""
  green = np.array([0.25, 0.38, 0.15], 'f4') * rng.uniform(0.5, 1.4)
  return (green + rng.uniform(-0.08, 0.08, 3)).astype('f4')


def side(rng) -> int:
  """-1 is left, 1 is right."""
  return 1 if rng.random() < 0.5 else -1


def unit(scene: Scene, depth: float) -> float:
  """Pixels of a camera's height at a depth: 0 is the horizon, 1 the border."""
  return depth * (len(scene.labels) - scene.horizon)


def column(scene: Scene, place, depth):
  """The column of a place across the road (0: its center) at a depth."""
  return scene.middle + (place + scene.drift) * unit(scene, depth)


def across(scene: Scene, rows, columns):
  """The place across the road of pixels below the horizon: inverts `column`."""
  return (columns - scene.middle) / (rows - scene.horizon) - scene.drift
