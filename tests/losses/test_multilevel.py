"""Logit losses over the batch, against float64 NumPy and their invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import logits, multilevel
from tests.helpers import reference as ref

S, T = ref.draw(0, 5, 6), ref.draw(1, 5, 6)
S32, T32 = np.float32(S), np.float32(T)


def _correlation(a, b):
  """Pearson's, over the last axis, with the 1e-8 of the source."""
  a, b = (x - x.mean(-1, keepdims=True) for x in (a, b))
  norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  return (a * b).sum(-1) / (norms + 1e-8)


def test_dist():
  def expected(student):
    p, q = ref.probs(T, 2.0), ref.probs(student, 2.0)
    intra = 1 - _correlation(p.T, q.T).mean()
    return 4 * (0.5 * (1 - _correlation(p, q)) + 3 * intra)

  ref.agree(
    lambda s: multilevel.dist(s, T32, beta=0.5, gamma=3.0, temperature=2.0),
    expected,
    S,
  )


def test_dist_sees_no_affine_change_of_the_probabilities():
  # Mixed with the uniform distribution, every row and every column of p is
  # scaled and shifted; and softmax takes a shift of the logits away.
  mixed = np.log(0.6 * ref.probs(T) + 0.4 / 6) + np.arange(5)[:, None]
  got = multilevel.dist(np.float32(mixed), T32)
  assert np.all(got < 1e-5 * multilevel.dist(S32, T32))


def test_dist_falls_as_the_correlation_rises():
  # One known code adds the correlation of the classes, and so lowers it.
  steps = [
    multilevel.dist(S32 + share * (T32 - S32), T32, beta=0.0).mean()
    for share in (0.0, 0.5, 0.9, 1.0)
  ]
  assert steps[0] > steps[1] > steps[2] > steps[3]
  np.testing.assert_allclose(steps[3], 0, atol=1e-6)


def test_dist_keeps_the_digits_of_a_small_loss():
  student = np.float32(T + ref.draw(2, 5, 6, scale=0.01)).astype(np.float64)
  p, q = ref.probs(T), ref.probs(student)
  expected = 1 - _correlation(p, q)
  got = multilevel.dist(np.float32(student), T32, gamma=0.0)
  assert ref.apart(got, expected) < 1e-3


def _class_level(student, temperature):
  p, q = ref.probs(T, temperature), ref.probs(student, temperature)
  return np.full(5, ((q.T @ q - p.T @ p) ** 2).sum() / 6)


def _batch_level(student, temperature):
  p, q = ref.probs(T, temperature), ref.probs(student, temperature)
  return ((q @ q.T - p @ p.T) ** 2).sum(-1)


def test_mlld_class():
  ref.agree(
    lambda s: multilevel.mlld_class(s, T32, temperature=2.0),
    lambda s: _class_level(s, 2.0),
    S,
  )


def test_mlld_batch():
  ref.agree(
    lambda s: multilevel.mlld_batch(s, T32, temperature=2.0),
    lambda s: _batch_level(s, 2.0),
    S,
  )


def test_mlld_sums_its_levels_over_its_temperatures():
  def expected(student):
    value = 0
    for temperature in (4.0, 2.0):
      p, q = ref.probs(T, temperature), ref.probs(student, temperature)
      value = value + 0.5 * temperature**2 * ref.kl(p, q)
      value = value + 2 * _class_level(student, temperature)
      value = value + 3 * _batch_level(student, temperature)
    return value

  ref.agree(
    lambda s: multilevel.mlld(
      s,
      T32,
      temperatures=(4.0, 2.0),
      instance_weight=0.5,
      class_weight=2.0,
      batch_weight=3.0,
    ),
    expected,
    S,
  )


def test_mlld_instance_is_kd():
  got = multilevel.mlld_instance(S32, T32, temperature=3.0)
  expected = logits.kd(S32, T32, temperature=3.0)
  np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize('loss', [multilevel.dist, multilevel.mlld])
def test_finite_where_a_correlation_has_no_spread(loss):
  # Constant rows and columns have norm 0, whose square root has no slope.
  for teacher in (np.zeros((4, 6)), 1e4 * np.eye(4, 6)):
    teacher = np.float32(teacher)
    ref.finite(functools.partial(loss, teacher=teacher), np.zeros((4, 6)))


def test_temperatures_may_be_traced():
  got = jax.jit(lambda t: multilevel.mlld(S32, T32, temperatures=(t, 2 * t)))(
    jnp.float32(2.0)
  )
  expected = multilevel.mlld(S32, T32, temperatures=(2.0, 4.0))
  np.testing.assert_allclose(got, expected, rtol=1e-6)
