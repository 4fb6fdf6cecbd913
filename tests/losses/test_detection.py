"""Losses for detectors, beside NumPy's in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import detection, spatial
from tests.helpers import reference as ref


def test_pearson_is_one_minus_the_correlation_of_channels():
  s, t = ref.draw(0, 3, 4, 5, 2), ref.draw(1, 3, 4, 5, 2)
  n = 3 * 4 * 5
  rows = [x.reshape(n, 2).T for x in (s, t)]
  rho = [np.corrcoef(a, b)[0, 1] for a, b in zip(*rows)]
  expected = (n - 1) / n * (1 - np.mean(rho))
  found = detection.pearson_pkd(s, t)
  assert float(found.mean()) == pytest.approx(expected, rel=1e-5)
  scaled = detection.pearson_pkd(3 * s + 5, t)
  np.testing.assert_allclose(scaled, found, rtol=1e-4)


def test_pearson_resizes_one_side():
  s, t = ref.draw(2, 2, 2, 3, 2), ref.draw(3, 2, 4, 6, 2)
  up = spatial.bilinear(jnp.asarray(s), (4, 6))
  down = spatial.bilinear(jnp.asarray(t), (2, 3))
  np.testing.assert_allclose(
    detection.pearson_pkd(s, t), detection.pearson_pkd(up, t), rtol=1e-6
  )
  np.testing.assert_allclose(
    detection.pearson_pkd(s, t, resize_student=False),
    detection.pearson_pkd(s, down),
    rtol=1e-6,
  )


def test_ld_of_the_code_is_a_mean_over_bins():
  s, t = ref.draw(4, 2, 4, 6), ref.draw(5, 2, 4, 6)
  expected = 100 * ref.kl(ref.probs(t, 10.0), ref.probs(s, 10.0))
  found = detection.ld(s, t, variant='sum')
  np.testing.assert_allclose(found, expected, rtol=2e-5)
  np.testing.assert_allclose(detection.ld(s, t), expected / 6, rtol=2e-5)


BOXES = np.float32([[[10, 5, 30, 24], [0, 0, 64, 9], [40, 40, 50, 50]]])


def _masks(boxes, size, image):
  """The loops that the definition describes."""
  (height, width), fore = size, np.zeros(size)
  for x0, y0, x1, y1 in boxes:
    left, right = (x * width / image[1] for x in (x0, x1))
    top, bottom = (y * height / image[0] for y in (y0, y1))
    left, top = int(np.floor(left)), int(np.floor(top))
    right, bottom = int(np.ceil(right)), int(np.ceil(bottom))
    here = fore[top : bottom + 1, left : right + 1]
    area = (bottom + 1 - top) * (right + 1 - left)
    fore[top : bottom + 1, left : right + 1] = np.maximum(here, 1 / area)
  back = fore == 0
  return fore, back / max(back.sum(), 1)


def test_masks_of_boxes_that_overlap_or_are_padding():
  size, image = (6, 8), (48, 64)
  for count in range(4):
    valid = jnp.arange(3)[None] < count
    found = detection.fgd_masks(jnp.asarray(BOXES), size, image, valid)
    for got, want in zip(found, _masks(BOXES[0][:count], size, image)):
      np.testing.assert_allclose(got[0], want, rtol=1e-6)
  found = detection.fgd_masks(jnp.asarray(BOXES), size, image)
  np.testing.assert_allclose(found[0][0], _masks(BOXES[0], size, image)[0])
  whole = jnp.asarray([[[0.0, 0, 64, 48]]])
  assert float(detection.fgd_masks(whole, size, image)[1].sum()) == 0


def test_attention_has_mean_one():
  places, channels = detection.fgd_attention(ref.draw(6, 2, 3, 4, 5), 0.5)
  np.testing.assert_allclose(places.mean((1, 2)), 1, rtol=1e-5)
  np.testing.assert_allclose(channels.mean(1), 1, rtol=1e-5)


def test_a_new_context_leaves_the_map_as_it_is():
  x = jnp.asarray(ref.draw(7, 2, 3, 4, 6), jnp.float32)
  weights = {
    'mask_kernel': jnp.ones(6),
    'mask_bias': jnp.ones(1),
    'first_kernel': jnp.ones((6, 3)),
    'first_bias': jnp.ones(3),
    'norm_scale': jnp.ones(3),
    'norm_bias': jnp.zeros(3),
    'second_kernel': jnp.zeros((3, 6)),
    'second_bias': jnp.zeros(6),
  }
  np.testing.assert_array_equal(detection.global_context(weights, x), x)
  contexts = {'student': weights, 'teacher': weights}
  boxes = jnp.asarray(np.concatenate([BOXES, BOXES]))
  found = detection.fgd(x, x, boxes, contexts, image=(48, 64))
  np.testing.assert_array_equal(found, 0)
