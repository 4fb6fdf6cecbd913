"""Changes of color and shape, beside Pillow and NumPy."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.data import augment
from kd_jax.data.augment import color, rand_augment

_IMAGE = np.random.default_rng(0).integers(20, 230, (32, 32, 3), np.uint8)


def _pillow(name):
  """What Pillow makes of the image."""
  image = pytest.importorskip('PIL.Image')
  enhance = pytest.importorskip('PIL.ImageEnhance')
  ops = pytest.importorskip('PIL.ImageOps')
  picture = image.fromarray(_IMAGE)
  return np.asarray(
    {
      'brighten': lambda: enhance.Brightness(picture).enhance(1.4),
      'harden': lambda: enhance.Contrast(picture).enhance(1.4),
      'saturate': lambda: enhance.Color(picture).enhance(0.3),
      'sharpen': lambda: enhance.Sharpness(picture).enhance(1.7),
      'posterize': lambda: ops.posterize(picture, 3),
      'solarize': lambda: ops.solarize(picture, 128),
      'stretch': lambda: ops.autocontrast(picture),
      'equalize': lambda: ops.equalize(picture),
    }[name]()
  )


@pytest.mark.parametrize(
  ('name', 'argument', 'bound'),
  [
    ('brighten', 1.4, 1),
    ('harden', 1.4, 1),
    ('saturate', 0.3, 1),
    # Pillow rounds the blur before it goes beyond it.
    ('sharpen', 1.7, 2),
    ('posterize', 3, 0),
    ('solarize', 128 / 255, 0),
    ('stretch', None, 1),
    ('equalize', None, 0),
  ],
)
def test_colors_are_pillows(name, argument, bound):
  arguments = () if argument is None else (argument,)
  image = jnp.asarray(_IMAGE / 255, jnp.float32)
  ours = getattr(color, name)(image, *arguments)
  difference = np.round(np.asarray(ours) * 255) - _pillow(name)
  assert abs(difference).max() <= bound
  assert abs(_pillow(name) - _IMAGE.astype(int)).max() > 10


def test_hue_turns_as_in_the_standard_library():
  image = jnp.asarray(_IMAGE[:4, :4] / 255, jnp.float32)
  expected = np.empty(image.shape)
  for place in np.ndindex(4, 4):
    hue, saturation, value = colorsys.rgb_to_hsv(*map(float, image[place]))
    expected[place] = colorsys.hsv_to_rgb((hue + 0.3) % 1, saturation, value)
  np.testing.assert_allclose(color.turn_hue(image, 0.3), expected, atol=1e-5)
  np.testing.assert_allclose(color.turn_hue(image, 0.0), image, atol=1e-6)
  gray = jnp.full((2, 2, 3), 0.5)
  np.testing.assert_array_equal(color.turn_hue(gray, 0.3), gray)


def test_flat_and_gray_images_stay_finite():
  flat = jnp.full((4, 4, 1), 0.5)
  for change in (color.stretch, color.equalize, color.gray):
    np.testing.assert_array_equal(change(flat), flat)
  for change in (color.harden, color.saturate):
    np.testing.assert_allclose(change(flat, 1.7), flat, rtol=1e-6)
  assert color.turn_hue(flat, 0.2) is flat


def test_jitter_stays_within_its_ranges():
  batch = {
    'inputs': jnp.full((200, 4, 4, 1), 100, jnp.uint8),
    'index': jnp.arange(200), 'labels': jnp.zeros(200),
  }  # fmt: skip
  step = augment.make_augment(
    [
      {
        'name': 'color_jitter',
        'brightness': 0.4,
        'contrast': 0,
        'saturation': 0,
      }
    ]
  )
  factor = step(jax.random.key(0), batch)['inputs'][:, 0, 0, 0] * 255 / 100
  assert 0.6 <= factor.min() < 0.65 and 1.35 < factor.max() <= 1.4


@pytest.mark.parametrize('side', [7, 8])
def test_warps_are_exact_where_pixels_meet_pixels(side):
  image = np.random.default_rng(0).normal(size=(side, side, 2))
  same, none = jnp.eye(2), jnp.zeros(2)
  np.testing.assert_array_equal(
    rand_augment.warp(jnp.asarray(image), same, none), image.astype(np.float32)
  )
  turned = rand_augment.warp(
    jnp.asarray(image), jnp.array([[0.0, -1.0], [1.0, 0.0]]), none
  )
  np.testing.assert_array_equal(turned, np.rot90(image, -1).astype(np.float32))
  moved = rand_augment.warp(jnp.asarray(image), same, jnp.array([2.0, -1.0]))
  expected = np.zeros(image.shape, np.float32)
  expected[:-2, 1:] = image[2:, :-1]
  np.testing.assert_array_equal(moved, expected)


def test_every_change_of_rand_augment_is_drawn():
  size = 600
  batch = {
    'inputs': jnp.tile(jnp.asarray(_IMAGE[None, :16, :16]), (size, 1, 1, 1)),
    'index': jnp.arange(size), 'labels': jnp.zeros(size),
  }  # fmt: skip
  step = augment.make_augment(
    [{'name': 'rand_augment', 'operations': 1, 'magnitude': 12}]
  )
  found = np.asarray(jax.jit(step)(jax.random.key(0), batch)['inputs'])
  assert found.min() >= 0 and found.max() <= 1
  # Nine kinds have a sign, five have none.
  kinds, counts = np.unique(found.reshape(size, -1), axis=0, return_counts=True)
  assert len(kinds) == 2 * 9 + 5
  assert counts.min() > 5 and counts.max() < 75
