"""Draws street scenes with a class for every pixel: no download needed.

A scene is a road towards a vanishing point between pavements, rows of houses,
fences and hedges, with cars, people, trees, poles and signs on them, in light
that differs from scene to scene. Colors tell little: a house may be gray as
the road, a car green as a tree, a poster on a wall is no sign. What is meant
for nobody to learn (the car's own bonnet, bins) is void.
"""

import numpy as np

from kd_jax.data.readers.scenes import canvas, street, things

NAMES, PALETTE, VOID = canvas.NAMES, canvas.PALETTE, canvas.VOID

# What stands or drives on a street, and how many: low <= n < high.
_THINGS = (
  (things.car, 1, 6), (things.person, 1, 6), (things.tree, 0, 4),
  (things.pole, 0, 4), (things.sign, 1, 4), (things.box, 0, 2),
)  # fmt: skip
_TEXTURE = 512  # side of the texture that scenes cut theirs from
_SMALLEST = 32  # side of an image on which anything is to be seen


def draw(
  count: int, seed: int, size: tuple[int, int] = (96, 128)
) -> tuple[np.ndarray, np.ndarray]:
  """The first `count` scenes of a seed.

  Args:
    count: N; scene i is the same for every N.
    seed: an integer >= 0.
    size: (height, width), each at least 32.

  Returns:
    Images u8 [N, H, W, 3], and labels u8 [N, H, W]: places in NAMES, or VOID.

  Raises:
    ValueError: for a smaller size.
  """
  if min(size) < _SMALLEST:
    raise ValueError(
      f'scenes of {size[0]}x{size[1]} pixels; legal: at least '
      f'{_SMALLEST}x{_SMALLEST}'
    )
  images = np.empty((count, *size, 3), np.uint8)
  labels = np.empty((count, *size), np.uint8)
  texture = _make_texture(max(_TEXTURE, 2 * max(size)))
  for i in range(count):
    rng = np.random.default_rng((seed, i))
    scene = _empty(rng, size, texture)
    _paint_scene(rng, scene)
    images[i], labels[i] = _expose(rng, scene.image), scene.labels
  return images, labels


def _make_texture(side: int) -> np.ndarray:
  """Cloudy noise f32 [side, side, 1], periodic, mean 0 and deviation 1."""
  noise = np.random.default_rng(0).standard_normal((side, side))
  frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
  spectrum = np.fft.rfft2(noise) / (0.04 + frequency)
  texture = np.fft.irfft2(spectrum, (side, side))
  texture -= texture.mean()
  return (texture / texture.std()).astype(np.float32)[..., None]


def _empty(rng, size, texture) -> canvas.Scene:
  """A scene on which nothing is painted yet."""
  height, width = size
  row, column = (rng.integers(len(texture) - side) for side in size)
  return canvas.Scene(
    np.zeros((height, width, 3), np.float32),
    np.full((height, width), VOID, np.uint8),
    texture[row : row + height, column : column + width],
    np.arange(height, dtype=np.float32)[:, None] + 0.5,
    np.arange(width, dtype=np.float32)[None] + 0.5,
    horizon=rng.uniform(0.32, 0.48) * height,
    middle=rng.uniform(0.3, 0.7) * width,
    drift=rng.uniform(-0.5, 0.5),
    road=rng.uniform(0.7, 1.8),
    walk=rng.uniform(0.4, 1.1),
  )


def _paint_scene(rng, scene: canvas.Scene) -> None:
  """Paints from far to near."""
  street.sky(rng, scene)
  street.ground(rng, scene)
  for side in (-1, 1):
    street.row_of_houses(rng, scene, side)
  kinds = [kind for kind, low, high in _THINGS
           for _ in range(rng.integers(low, high))]  # fmt: skip
  # Even in log depth: as many small ones as large ones.
  depths = np.sort(np.exp(rng.uniform(np.log(0.08), np.log(0.6), len(kinds))))
  for depth, number in zip(depths, rng.permutation(len(kinds))):
    kinds[number](rng, scene, depth)
  if rng.random() < 0.4:
    things.bonnet(rng, scene)


def _expose(rng, image: np.ndarray) -> np.ndarray:
  """The picture as a camera shows it, u8: light, tint, haze, blur, noise."""
  light = rng.uniform(0.55, 1.25) * rng.uniform(0.9, 1.1, 3)
  image = np.clip(image * light.astype('f4'), 0, 1)
  haze = np.float32(rng.uniform(0, 0.25))
  image = image * (1 - haze) + haze * np.float32(rng.uniform(0.5, 0.8))
  image[1:-1] = 0.6 * image[1:-1] + 0.2 * (image[:-2] + image[2:])
  image[:, 1:-1] = 0.6 * image[:, 1:-1] + 0.2 * (image[:, :-2] + image[:, 2:])
  noise = rng.standard_normal(image.shape, np.float32)
  image += np.float32(rng.uniform(0.01, 0.05)) * noise
  return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
