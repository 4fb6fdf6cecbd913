"""Losses of a number, and of yes or no to each class: closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import independent, logits

rng = np.random.default_rng(0)
Z, T = rng.normal(size=(2, 6, 5)).astype(np.float32)
Y = rng.integers(0, 2, (6, 5)).astype(np.float32)
LABELS = rng.integers(0, 5, 6).astype(np.int32)


def sigmoid(z):
  return 1 / (1 + np.exp(-np.float64(z)))


def test_squared_error():
  y = rng.normal(size=6).astype(np.float32)
  found = independent.squared_error(Z, y)
  np.testing.assert_allclose(found, (Z[:, 0] - y) ** 2, rtol=1e-6)


def test_binary_cross_entropy_is_that_of_each_class():
  p = sigmoid(Z)
  want = -(Y * np.log(p) + (1 - Y) * np.log(1 - p)).sum(-1)
  found = independent.binary_cross_entropy(Z, Y)
  np.testing.assert_allclose(found, want, rtol=1e-5)
  hot = np.eye(5, dtype=np.float32)[LABELS]
  np.testing.assert_array_equal(
    independent.binary_cross_entropy(Z, LABELS),
    independent.binary_cross_entropy(Z, hot),
  )
  gradient = jax.grad(lambda z: independent.binary_cross_entropy(z, Y).sum())(Z)
  np.testing.assert_allclose(gradient, p - Y, atol=1e-5)


@pytest.mark.parametrize('temperature', [1.0, 2.5])
def test_binary_kd_is_a_sum_of_kl(temperature):
  p, q = sigmoid(T / temperature), sigmoid(Z / temperature)
  kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
  found = independent.binary_kd(Z, T, temperature=temperature)
  np.testing.assert_allclose(found, temperature**2 * kl.sum(-1), rtol=1e-4)


def test_binary_kd_of_one_class_is_kd_of_two():
  z, t = (np.stack([0 * x[:, 0], x[:, 0]], -1) for x in (Z, T))
  np.testing.assert_allclose(
    independent.binary_kd(Z[:, :1], T[:, :1], temperature=3.0),
    logits.kd(z, t, temperature=3.0),
    rtol=1e-5,
  )


def test_finite_at_the_edges():
  far = jnp.asarray([[1e4, -1e4, 0.0]])
  labels = jnp.asarray([[0.0, 1.0, 1.0]])
  for loss in (
    lambda z: independent.binary_cross_entropy(z, labels).sum(),
    lambda z: independent.binary_kd(z, -far).sum(),
  ):
    value, gradient = jax.value_and_grad(loss)(far)
    assert np.isfinite(value) and np.isfinite(gradient).all()
