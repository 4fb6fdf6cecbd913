"""Tests of pooling, upsampling and resizing."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import spatial
from tests import golden


def _adaptive(x, axis, length):
  """The definition: means over bins from floor to ceil."""
  old = x.shape[axis]
  bins = []
  for i in range(length):
    start, stop = i * old // length, -(-(i + 1) * old // length)
    bins.append(np.take(x, range(start, stop), axis).mean(axis))
  return np.stack(bins, axis)


@pytest.mark.parametrize(
  ('old', 'new'),
  [((8, 8), (4, 4)), ((7, 5), (3, 2)), ((5, 6), (5, 1)), ((3, 4), (7, 6))],
)
def test_pool_is_the_mean_over_bins(old, new):
  x = np.random.default_rng(0).normal(size=(2, *old, 3))
  expected = _adaptive(_adaptive(x, 1, new[0]), 2, new[1])
  found = spatial.pool(x.astype(np.float32), new)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_upsample_repeats_the_nearest():
  x = np.arange(2 * 2 * 3).reshape(1, 2, 3, 2).astype(np.float32)
  twice = spatial.upsample(x, (4, 6))
  np.testing.assert_array_equal(twice, x.repeat(2, 1).repeat(2, 2))
  uneven = spatial.upsample(x, (3, 5))
  expected = x[:, [0, 0, 1]][:, :, [0, 0, 1, 1, 2]]
  np.testing.assert_array_equal(uneven, expected)


RESIZED = sorted((golden.VALUES / 'dense/ops').glob('*.npz'))


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize('path', RESIZED, ids=lambda path: path.stem)
def test_bilinear_is_pytorchs(path, align):
  with np.load(path) as arrays:
    x, expected = arrays['in_map'], arrays[f'bilinear_align_{align}']
  found = spatial.bilinear(x, expected.shape[1:3], align_corners=align)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_bilinear_at_its_edges():
  x = jnp.arange(6.0).reshape(1, 2, 3, 1)
  assert (spatial.bilinear(x, (2, 3)) == x).all()
  one = spatial.bilinear(x, (1, 1), align_corners=True)
  assert float(one[0, 0, 0, 0]) == 0
  same = spatial.bilinear(x[:, :1, :1], (4, 5), align_corners=True)
  assert same.shape == (1, 4, 5, 1) and (same == 0).all()
  half = spatial.bilinear(x.astype(jnp.bfloat16), (4, 6))
  assert half.dtype == jnp.bfloat16


def test_resize_pools_one_axis_and_repeats_the_other():
  x = np.random.default_rng(1).normal(size=(2, 6, 2, 3)).astype(np.float32)
  expected = x.reshape(2, 3, 2, 2, 3).mean(2).repeat(2, 2)
  found = spatial.resize(x, (3, 4))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_dtype_stays_and_sums_are_f32():
  x = jnp.full((1, 64, 64, 1), 1 + 2**-7, jnp.bfloat16)
  pooled = spatial.pool(x, (1, 1))
  assert pooled.dtype == jnp.bfloat16
  assert float(pooled[0, 0, 0, 0]) == 1 + 2**-7


def test_align_takes_the_smaller_of_each_axis():
  small, large = jnp.ones((1, 4, 8, 2)), jnp.ones((1, 8, 2, 3))
  s, t = spatial.align(small, large)
  assert s.shape == (1, 4, 2, 2)
  assert t.shape == (1, 4, 2, 3)
  rows = jnp.ones((1, 5))
  assert spatial.align(rows, large)[0] is rows
