"""Tests of flow matrices and factors, beside NumPy's in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import factors


def _layers(seed, *shapes):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape) for shape in shapes]


def _f32(xs):
  return [x.astype(np.float32) for x in xs]


def _flow(a, b):
  return np.einsum('bhwc,bhwd->bcd', a, b) / (a.shape[1] * a.shape[2])


def _halve(x):
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def test_fsp_pools_the_larger_neighbor():
  shapes = (2, 4, 4, 2), (2, 4, 4, 3), (2, 2, 2, 5)
  s, t = _layers(0, *shapes), _layers(1, *shapes)
  first = _flow(s[0], s[1]) - _flow(t[0], t[1])
  second = _flow(_halve(s[1]), s[2]) - _flow(_halve(t[1]), t[2])
  expected = (first**2).mean((1, 2)) + (second**2).mean((1, 2))
  np.testing.assert_allclose(factors.fsp(_f32(s), _f32(t)), expected, rtol=1e-5)


def test_fsp_refuses_one_layer_and_other_channels():
  one, two, other = jnp.ones((1, 2, 2, 3)), jnp.ones((1, 2, 2, 2)), None
  with pytest.raises(ValueError, match='at least 2'):
    factors.fsp((one,), (one,))
  other = jnp.ones((1, 2, 2, 1))
  with pytest.raises(ValueError, match='differ in shape'):
    factors.fsp((one, two), (one, other))


@pytest.mark.parametrize(('p1', 'p2'), [(2, 1), (1, 1), (2, 2), (3, 3.0)])
def test_factor(p1, p2):
  s, t = _layers(2, (3, 4, 4, 2), (3, 8, 8, 5))

  def normal(x):
    q = (x**p1).mean(3).reshape(3, -1)
    return q / np.sqrt((q**2).sum(1, keepdims=True))

  expected = (abs(normal(s) - normal(_halve(t))) ** p2).mean(1)
  found = factors.factor(*_f32([s, t]), p1=p1, p2=p2)
  np.testing.assert_allclose(found, expected, rtol=2e-5)
  scaled = factors.factor(*_f32([30 * s, t / 30]), p1=p1, p2=p2)
  np.testing.assert_allclose(scaled, expected, rtol=2e-5)
