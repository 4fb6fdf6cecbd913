"""Paints the things of a street: cars, people, trees, poles, signs."""

import numpy as np

from kd_jax.data.readers.scenes import canvas


def car(rng, scene: canvas.Scene, depth: float) -> None:
  """From behind or from the side, on a lane or parked."""
  unit = canvas.unit(scene, depth)
  parked = rng.random() < 0.5
  place = (
    scene.road * (0.8 if parked else rng.uniform(0.1, 0.6)) * canvas.side(rng)
  )
  column, foot = canvas.column(scene, place, depth), scene.horizon + unit
  wide = unit * (rng.uniform(1.1, 1.3) if rng.random() < 0.7 else 2.6) / 2
  tall = unit * rng.uniform(0.85, 1.3)
  body = canvas.random_color(rng, 0.08, 0.9, 0.3)
  glass = canvas.random_color(rng, 0.05, 0.5, 0.1)
  dark = np.full(3, 0.07, 'f4')
  canvas.oval(scene, foot, column, 0.12 * unit, 1.1 * wide, dark)  # its shadow
  belt = foot - 0.55 * tall
  for x in (-0.75, 0.75):
    wheel = column + x * wide
    canvas.bar(
      scene, (foot - 0.3 * tall, foot), wheel, 0.15 * wide, dark, 'car'
    )

  def cabin(rows, columns):
    slope = 0.65 + 0.3 * (rows - foot + tall) / (0.45 * tall)
    return abs(columns - column) < wide * slope

  glass_top, sill = foot - 0.9 * tall, foot - 0.12 * tall
  canvas.bar(scene, (foot - tall, belt), column, wide, body, 'car', cabin)
  canvas.bar(scene, (glass_top, belt), column, 0.6 * wide, glass, 'car')
  canvas.bar(scene, (belt, sill), column, wide, body, 'car')
  light = np.array([0.8, 0.15, 0.1], 'f4')
  rows = belt + 0.1 * tall, belt + 0.25 * tall
  for x in (-0.78, 0.78):
    canvas.bar(scene, rows, column + x * wide, 0.07 * wide, light, 'car')


def _on_the_pavement(rng, scene: canvas.Scene, depth: float, low=0.0, high=1.0):
  """A column on one of the pavements; 0 is the kerb, 1 the wall."""
  place = scene.road + scene.walk * rng.uniform(low, high)
  return canvas.column(scene, place * canvas.side(rng), depth)


def person(rng, scene: canvas.Scene, depth: float) -> None:
  """On a pavement, or crossing the road."""
  unit = canvas.unit(scene, depth)
  if rng.random() < 0.3:
    column = canvas.column(scene, rng.uniform(-1, 1) * scene.road, depth)
  else:
    column = _on_the_pavement(rng, scene, depth, 0.05, 0.9)
  foot, tall = scene.horizon + unit, unit * rng.uniform(0.85, 1.2)
  wide = 0.15 * tall
  coat = canvas.random_color(rng, 0.1, 0.8, 0.4)
  legs = canvas.random_color(rng, 0.08, 0.5, 0.15)
  skin = np.array([0.8, 0.6, 0.5], 'f4') * rng.uniform(0.4, 1.1)
  stride = rng.uniform(0.2, 1) * wide
  for x in (-0.5, 0.5):
    rows, leg = (foot - 0.48 * tall, foot), column + x * stride
    canvas.bar(scene, rows, leg, 0.4 * wide, legs, 'person')
  canvas.oval(
    scene, foot - 0.63 * tall, column, 0.23 * tall, wide, coat, 'person'
  )
  head = max(0.08 * tall, 0.7)
  canvas.oval(scene, foot - 0.92 * tall, column, head, head, skin, 'person')


def tree(rng, scene: canvas.Scene, depth: float) -> None:
  """A trunk and a crown of several ovals."""
  unit = canvas.unit(scene, depth)
  column, foot = _on_the_pavement(rng, scene, depth), scene.horizon + unit
  tall, half = unit * rng.uniform(2.2, 4), max(0.09 * unit, 0.6)
  bark = canvas.random_color(rng, 0.15, 0.4, 0.08)
  canvas.bar(scene, (foot - tall, foot), column, half, bark, 'tree')
  leaves, rough = canvas.leaves(rng), rng.uniform(0.06, 0.16)
  for _ in range(4):
    row, high = foot - tall * rng.uniform(0.7, 1), unit * rng.uniform(0.4, 0.8)
    x = column + unit * rng.uniform(-0.6, 0.6)
    shade = leaves * np.float32(rng.uniform(0.8, 1.2))
    canvas.oval(scene, row, x, high, 1.2 * high, shade, 'tree', rough)


def pole(rng, scene: canvas.Scene, depth: float, tall=(2.5, 4.5)) -> tuple:
  """A post by the kerb; its top, its column and what is a unit there."""
  unit = canvas.unit(scene, depth)
  column = _on_the_pavement(rng, scene, depth, 0.05, 0.3)
  foot, half = scene.horizon + unit, max(0.05 * unit, 0.5)
  top = foot - unit * rng.uniform(*tall)
  metal = canvas.random_color(rng, 0.15, 0.7, 0.05)
  left = np.floor(column - half)  # a pixel wide at least
  bounds = top, foot, left, left + max(1, round(2 * half))
  canvas.paint(scene, bounds, None, metal, 'pole')
  return top, column, unit


def sign(rng, scene: canvas.Scene, depth: float) -> None:
  """A round, square or triangular plate on a post."""
  top, column, unit = pole(rng, scene, depth, (1.4, 2.4))
  half = max(unit * rng.uniform(0.22, 0.4), 1.2)
  kind = rng.integers(3)
  rim = canvas.random_color(rng, 0.2, 0.8, 0.6)
  plate = canvas.random_color(rng, 0.3, 0.9, 0.6)
  for size, color in ((half, rim), (0.65 * half, plate)):

    def inside(rows, columns, size=size):
      x, y = abs(columns - column) / size, (rows - top) / size
      square = (x < 0.9) & (abs(y) < 0.9)
      return (x**2 + y**2 < 1, square, x < (y + 1) / 2)[kind]

    rows = top - size, top + size
    canvas.bar(scene, rows, column, size, color, 'sign', inside)


def box(rng, scene: canvas.Scene, depth: float) -> None:
  """A box on the pavement that belongs to no class."""
  unit = canvas.unit(scene, depth)
  column, foot = _on_the_pavement(rng, scene, depth), scene.horizon + unit
  rows, color = (foot - 0.6 * unit, foot), canvas.random_color(rng, vivid=0.4)
  canvas.bar(scene, rows, column, 0.25 * unit, color, 'void')


def bonnet(rng, scene: canvas.Scene) -> None:
  """The front of the car that carries the camera."""
  height, width = scene.labels.shape
  high = rng.uniform(0.05, 0.12) * height
  column, color = rng.uniform(0.4, 0.6) * width, canvas.random_color(rng)
  canvas.oval(scene, height, column, high, 0.6 * width, color, 'void')
