"""Tests of the norms and products that the feature losses share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import geometry


def _slope(function, x):
  return jax.grad(lambda x: jnp.sum(function(x)))(x)


def test_unit_rows_and_their_slopes_at_zero():
  x = jnp.asarray([[3.0, 4.0], [0.0, 0.0], [3e-15, 0.0], [3e8, -4e8]])
  expected = [[0.6, 0.8], [0, 0], [0, 0], [0.6, -0.8]]
  np.testing.assert_allclose(geometry.unit(x), expected, rtol=1e-6)
  assert (_slope(geometry.unit, x)[1:3] == 0).all()
  assert jnp.isfinite(_slope(geometry.unit, x)).all()


def test_power_of_known_and_traced_exponents():
  x = jnp.asarray([-2.0, 0.0, 3.0])
  for p, expected in [(2, [4, 0, 9]), (3, [-8, 0, 27]), (1, [-2, 0, 3])]:
    np.testing.assert_allclose(geometry.power(x, p), expected)
    np.testing.assert_allclose(geometry.power(x, float(p)), expected)
    traced = jax.jit(geometry.power)(x, float(p))
    np.testing.assert_allclose(traced, expected, rtol=1e-6)
  half = geometry.power(x, 1.5)
  np.testing.assert_allclose(half, np.abs([-2.0, 0, 3]) ** 1.5, rtol=1e-6)
  for p in (1.5, 2.0, 3.0):
    known = _slope(lambda x, p=p: geometry.power(x, p), x)
    traced = jax.jit(lambda p: _slope(lambda x: geometry.power(x, p), x))(p)
    np.testing.assert_allclose(traced, known, rtol=1e-5)


def test_squared_distances_keep_their_digits_far_from_the_origin():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(6, 9))
  exact = ((x[:, None] - x[None, :]) ** 2).sum(2)
  far = (x + 100).astype(np.float32)
  rounded = far.astype(np.float64)
  exact = ((rounded[:, None] - rounded[None, :]) ** 2).sum(2)
  found = geometry.squared_distances(jnp.asarray(far))
  np.testing.assert_allclose(found, exact, rtol=2e-5)


def test_equal_rows_have_distance_0_and_no_slope():
  row = jnp.asarray(np.random.default_rng(1).normal(size=(1, 50)), jnp.float32)
  x = jnp.concatenate([row, row, row + 1, row * 0.1, row])
  found = geometry.squared_distances(x)
  same = np.ix_([0, 1, 4], [0, 1, 4])
  assert (found[same] == 0).all()
  assert (np.delete(np.asarray(found[2]), 2) > 0).all()
  slope = _slope(lambda x: geometry.squared_distances(x)[same], x)
  assert (slope == 0).all()


def test_rows_apart_by_rounding_alone_count_as_equal():
  rng = np.random.default_rng(2)
  one, other = rng.normal(size=(2, 1, 64)).astype(np.float32)
  noise = 1 + 2e-7 * rng.normal(size=(10, 64)).astype(np.float32)
  found = geometry.squared_distances(jnp.concatenate([one * noise, other]))
  assert (found[:10, :10] == 0).all()
  assert (found[:10, 10] > 1).all()


def test_smooth_l1():
  x = jnp.asarray([-3.0, -1.0, -0.5, 0.0, 0.5, 2.0])
  expected = [2.5, 0.5, 0.125, 0, 0.125, 1.5]
  np.testing.assert_allclose(geometry.smooth_l1(x), expected)


def test_pairs_refuses_unequal_numbers():
  assert geometry.pairs('ab', 'cd') == [('a', 'c'), ('b', 'd')]
  with pytest.raises(ValueError, match='2 student and 1 teacher layers'):
    geometry.pairs('ab', 'c')
  with pytest.raises(ValueError, match='at least 2'):
    geometry.pairs('a', 'b', least=2)
