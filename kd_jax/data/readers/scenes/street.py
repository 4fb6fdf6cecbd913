"""Paints the sky, the ground and the rows of houses of a street."""

import numpy as np

from kd_jax.data.readers.scenes import canvas

# What stands along a pavement: cumulative probabilities; '' is a gap.
_ROWS = {'building': 0.6, 'fence': 0.75, 'tree': 0.9, '': 1.0}


def sky(rng, scene: canvas.Scene) -> None:
  """From a color above to a paler one at the horizon, with clouds."""
  width = scene.labels.shape[1]
  above = np.array([0.35, 0.5, 0.75], 'f4') + rng.uniform(-0.25, 0.2)
  above = above + (rng.uniform(0, 0.3) * np.array([1, 0.2, -0.8], 'f4'))
  below = np.float32(rng.uniform(0.6, 0.95))

  def color(rows, columns):
    part = (rows / scene.horizon)[..., None]
    return above + (below - above) * part + 0 * columns[..., None]

  bounds = 0, scene.horizon + 2, 0, width
  canvas.paint(scene, bounds, None, color, 'sky', rough=rng.uniform(0, 0.08))


def ground(rng, scene: canvas.Scene) -> None:
  """The road and its pavements, with markings and a shadow."""
  height, width = scene.labels.shape
  below = scene.horizon, height, 0, width
  asphalt = canvas.random_color(rng, 0.25, 0.55, 0.04)
  # Often of almost the same gray.
  stone = np.clip(asphalt + rng.normal(0.08, 0.1), 0.1, 0.9).astype('f4')
  canvas.paint(
    scene, below, None, stone, 'pavement', rough=rng.uniform(0.01, 0.06)
  )
  edge = scene.road

  def on_road(rows, columns):
    return abs(canvas.across(scene, rows, columns)) < edge

  canvas.paint(
    scene, below, on_road, asphalt, 'road', rough=rng.uniform(0.01, 0.06)
  )

  def kerb(rows, columns):
    return abs(abs(canvas.across(scene, rows, columns)) - edge - 0.03) < 0.03

  canvas.paint(scene, below, kerb, stone * rng.uniform(0.6, 1.2))
  _markings(rng, scene, below)
  _shadow(rng, scene)


def _markings(rng, scene: canvas.Scene, below) -> None:
  """Dashes along the center, or lines along the edges, or a crossing."""
  paint = np.float32(rng.uniform(0.65, 0.95)) * np.ones(3, 'f4')
  length, start = rng.uniform(1.5, 3.5), rng.uniform(0, 9)
  dashes, lines, crossing = rng.random(3) < (0.8, 0.4, 0.25)
  far = rng.uniform(1.5, 4)

  def inside(rows, columns):
    place = canvas.across(scene, rows, columns)
    # Lengths along the road, from the camera.
    along = (len(scene.labels) - scene.horizon) / (rows - scene.horizon)
    dashed = (abs(place) < 0.05) & ((along + start) % length < 0.5 * length)
    lined = abs(abs(place) - scene.road * 0.9) < 0.04
    striped = (place % 0.36 < 0.18) & (abs(place) < scene.road * 0.9)
    crossed = striped & (abs(along - far) < 0.6)
    return dashes & dashed | lines & lined | crossing & crossed

  canvas.paint(
    scene, below, inside, paint, 'marking', rough=rng.uniform(0.02, 0.12)
  )


def _shadow(rng, scene: canvas.Scene) -> None:
  """Darkens the ground on one side: an edge in the image that is none."""
  if rng.random() < 0.4:
    return
  side, reach = canvas.side(rng), rng.uniform(-0.5, 1.0)
  first = int(scene.horizon) + 1
  rows = scene.rows[first:]
  place = canvas.across(scene, rows, scene.columns) * side
  shaded = place > reach + 0.4 * np.sin(rng.uniform(1, 4) * np.log(rows))
  part = scene.image[first:]
  part *= np.where(shaded, np.float32(rng.uniform(0.45, 0.8)), 1)[..., None]


def row_of_houses(rng, scene: canvas.Scene, side: int) -> None:
  """Houses, fences and hedges behind the pavement of one side, far to near."""
  width = scene.labels.shape[1]
  slope = side * (scene.road + scene.walk) + scene.drift
  if slope * side < 0.1:  # the pavement's edge runs across the image
    slope = side * 0.1
  near = rng.uniform(0.04, 0.08)
  while near < 3:
    far, near = near, near * rng.uniform(1.3, 2.6)
    draw = rng.random()
    kind = next(k for k, most in _ROWS.items() if draw < most)
    ends = [scene.middle + slope * canvas.unit(scene, d) for d in (far, near)]
    left, right = min(ends), max(ends)
    if kind and right > 0 and left < width:
      _facade(rng, scene, kind, (left, right), slope)


def _facade(rng, scene: canvas.Scene, kind: str, ends, slope: float) -> None:
  """A wall along the pavement between two columns."""
  low, high = {'building': (2, 7), 'fence': (0.5, 1), 'tree': (0.7, 2.5)}[kind]
  tall = rng.uniform(low, high)
  bumpy = 0.35 if kind == 'tree' else 0.0
  ripple = scene.texture[0, :, 0]

  def unit(columns):
    return np.maximum((columns - scene.middle) / slope, 1e-3)

  def inside(rows, columns):
    here = unit(columns)
    top = tall * (1 + bumpy * ripple[columns.astype(int)])
    return (rows < scene.horizon + here) & (rows > scene.horizon - top * here)

  size = max(abs(end - scene.middle) / abs(slope) for end in ends)
  bounds = scene.horizon - 2 * tall * size, scene.horizon + size, *ends
  if kind == 'tree':
    color, rough = canvas.leaves(rng), rng.uniform(0.05, 0.15)
  else:
    color, rough = _wall(rng, scene, kind, tall, unit), rng.uniform(0, 0.06)
  canvas.paint(scene, bounds, inside, color, kind, rough)


def _wall(
  rng, scene: canvas.Scene, kind: str, tall: float, unit
) -> canvas.Color:
  """The color of a wall with windows, or of a fence's boards."""
  wall = canvas.random_color(rng, 0.2, 0.85, 0.15)
  glass = canvas.random_color(rng, 0.05, 0.8, 0.15)
  wide, high = rng.uniform(0.25, 0.6), rng.uniform(0.7, 1.2)
  if kind == 'fence':
    wide, high = rng.uniform(0.08, 0.2), 2 * tall
    glass = wall * rng.uniform(0.4, 0.9)
  poster = rng.random() < 0.3
  advert, place = canvas.random_color(rng, 0.3, 0.8, 0.6), rng.uniform(0, 3)

  def color(rows, columns):
    here = unit(columns)
    up = tall - (scene.horizon - rows) / here  # from the roof down
    along = 6 * np.log(here)
    window = (along / wide % 1 < 0.5) & (up / high % 1 < 0.55)
    shown = np.where(window[..., None], glass, wall)
    if poster:
      hung = (abs(along - place) < 0.5) & (abs(up - tall + 0.3) < 0.35)
      shown = np.where(hung[..., None], advert, shown)
    return shown

  return color
