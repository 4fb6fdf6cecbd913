"""Temperatures of an example's own, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import logits, temperatures
from tests.helpers import reference as ref

S, T = ref.draw(0, 5, 7), ref.draw(1, 5, 7)
S32, T32 = np.float32(S), np.float32(T)
LABELS = np.array([0, 3, 6, 3, 1], np.int32)


def _normkd(student, t_norm=2.0):
  own, theirs = (
    t_norm * z.std(-1, ddof=1, keepdims=True) for z in (student, T)
  )
  return theirs[:, 0] ** 2 * ref.kl(
    ref.probs(T, theirs), ref.probs(student, own)
  )


@pytest.mark.parametrize('t_norm', [1.0, 2.0])
def test_normkd(t_norm):
  ref.agree(
    lambda s: temperatures.normkd(s, T32, t_norm=t_norm),
    lambda s: _normkd(s, t_norm),
    S,
  )


def test_normkd_sees_no_scale_of_the_student():
  scale = np.array([[0.1], [1], [2], [5], [50]], np.float32)
  got = temperatures.normkd(S32 * scale, T32)
  np.testing.assert_allclose(got, temperatures.normkd(S32, T32), rtol=1e-4)


@pytest.mark.parametrize('level', [0.0, 0.1, 1e4])
def test_logits_that_are_all_equal_have_a_finite_gradient(level):
  flat = np.full_like(S32, level)
  for student, teacher in ((flat, T32), (S32, flat), (flat, flat)):
    ref.finite(lambda s, t=teacher: temperatures.normkd(s, t), student)
    ref.finite(
      lambda s, t=teacher: temperatures.normkd_dkd(s, t, LABELS), student
    )
  np.testing.assert_array_equal(temperatures.normkd(S32, flat), 0)


def test_normkd_is_made_of_both_parts_of_dkd():
  alike = temperatures.normkd_dkd(S32, T32, LABELS, alpha=0.3, beta=0.7)
  parts = [
    temperatures.normkd_dkd(S32, T32, LABELS, alpha=a, beta=b)
    for a, b in ((1.0, 0.0), (0.0, 1.0))
  ]
  np.testing.assert_allclose(alike, 0.3 * parts[0] + 0.7 * parts[1], rtol=1e-5)
  # KD = TCKD + (1 - p_t,y) NCKD, at any temperatures.
  spread = T.std(-1, ddof=1, keepdims=True) * 2
  hit = ref.probs(T, spread)[np.arange(5), LABELS]
  whole = parts[0] + (1 - hit) * parts[1]
  np.testing.assert_allclose(whole, temperatures.normkd(S32, T32), rtol=1e-5)


def test_kd_each_adds_a_little_in_code():
  each = np.array([1.0, 2.0, 4.0, 8.0, 16.0], np.float32)
  paper = temperatures.kd_each(S32, T32, each)
  code = temperatures.kd_each(S32, T32, each, variant='code')
  np.testing.assert_array_equal(paper, logits.kd(S32, T32, temperature=each))
  assert (code > paper - 1e-5).all() and (code != paper).any()
  np.testing.assert_allclose(code, paper, atol=1e-3)
  slope = jax.grad(lambda t: jnp.sum(temperatures.kd_each(S32, T32, t)))(each)
  assert np.isfinite(slope).all() and (slope != 0).all()
  with pytest.raises(ValueError, match="'papr'; did you mean 'paper'"):
    temperatures.kd_each(S32, T32, each, variant='papr')
