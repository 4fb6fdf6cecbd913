"""Tests of the relation losses, beside NumPy's in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import relations


def _rows(seed, shape=(5, 6)):
  return np.random.default_rng(seed).normal(size=shape)


def _call(loss, *sides, **kwargs):
  sides = [np.asarray(x, np.float32) for x in sides]
  return jax.jit(lambda *s: loss(*s, **kwargs))(*sides)


def _huber(x):
  return np.where(abs(x) < 1, x**2 / 2, abs(x) - 0.5)


def _unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _distances(x):
  distance = np.linalg.norm(x[:, None] - x[None, :], axis=2)
  return distance / distance[distance > 0].mean()


def _angles(x):
  b = len(x)
  cosines = np.zeros((b, b, b))
  for i in range(b):
    for j in range(b):
      for k in range(b):
        if i not in (j, k):
          cosines[i, j, k] = _unit(x[j] - x[i]) @ _unit(x[k] - x[i])
  return cosines


def test_rkd_distance_and_angle():
  s, t = _rows(0), _rows(1, (5, 9))
  distance = _huber(_distances(s) - _distances(t)).mean(1)
  angle = _huber(_angles(s) - _angles(t)).mean((1, 2))
  found = _call(relations.rkd_distance, s, t)
  np.testing.assert_allclose(found, distance, rtol=1e-5)
  found = _call(relations.rkd_angle, s, t)
  np.testing.assert_allclose(found, angle, rtol=1e-5)
  found = _call(relations.rkd, s, t, distance_weight=3.0, angle_weight=7.0)
  np.testing.assert_allclose(found, 3 * distance + 7 * angle, rtol=1e-5)


def test_rkd_counts_equal_rows_as_distance_0():
  s, t = _rows(2), _rows(3)
  s[1] = s[0]
  pairs = np.linalg.norm(s[:, None] - s[None, :], axis=2)
  ratio = pairs / (pairs.sum() / 20)
  expected = _huber(ratio - _distances(t)).mean(1)
  found = _call(relations.rkd_distance, s, t)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_rkd_ignores_motion_and_scale():
  s, t = _rows(4), _rows(5)
  turn, _ = np.linalg.qr(_rows(6, (6, 6)))
  plain = _call(relations.rkd, s, t)
  found = _call(relations.rkd, 20 * s @ turn + 3, 0.05 * t @ turn.T - 1)
  np.testing.assert_allclose(found, plain, rtol=1e-4)
  moved = _call(relations.rkd, s, 9 * s @ turn + 2)
  assert abs(moved).max() < 1e-5 * abs(plain).max()


def _similarity(x, order):
  gram = x.reshape(len(x), -1) @ x.reshape(len(x), -1).T
  return gram / np.linalg.norm(gram, ord=order, axis=1, keepdims=True)


def test_sp_divides_rows_by_their_l2_norm():
  s, t = _rows(7, (4, 3, 3, 2)), _rows(8, (4, 2, 2, 5))
  squares = (_similarity(s, 2) - _similarity(t, 2)) ** 2
  expected = squares.sum(1) / 4
  found = _call(relations.sp, s, t)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert float(found.mean()) == pytest.approx(squares.sum() / 16, rel=1e-5)
  # The L1 norm of a known implementation is another loss.
  wrong = ((_similarity(s, 1) - _similarity(t, 1)) ** 2).sum(1) / 4
  assert not np.allclose(found, wrong, rtol=0.1)
  scaled = _call(relations.sp, 40 * s, t / 40)
  np.testing.assert_allclose(scaled, expected, rtol=1e-5)


def _neighbors(x):
  p = (1 + _unit(x) @ _unit(x).T) / 2
  return p / p.sum(1, keepdims=True)


def test_pkt_is_the_kl_from_teacher_to_student():
  s, t = _rows(9), _rows(10, (5, 8))
  p_s, p_t = _neighbors(s), _neighbors(t)
  expected = (p_t * np.log(p_t / p_s)).mean(1)
  found = _call(relations.pkt, s, t)
  np.testing.assert_allclose(found, expected, rtol=2e-5)
  other = (p_s * np.log(p_s / p_t)).mean(1)
  assert not np.allclose(found, other, rtol=0.05)
  scaled = _call(relations.pkt, 30 * s, t * np.arange(1, 6)[:, None])
  np.testing.assert_allclose(scaled, expected, rtol=1e-4)


def test_pkt_keeps_its_digits_near_equality():
  t = np.abs(_rows(11, (32, 16))) + 1
  s = t + 1e-2 * _rows(12, (32, 16))
  rounded = [x.astype(np.float32).astype(np.float64) for x in (s, t)]
  p_s, p_t = map(_neighbors, rounded)
  expected = (p_t * np.log(p_t / p_s)).mean()
  found = _call(relations.pkt, s, t).mean()
  assert float(found) == pytest.approx(expected, rel=1e-3)


def test_cc_code_is_the_mean_over_neighbors():
  s, t = _rows(13), _rows(14)
  gap = abs(s - t)
  products = (gap[:-1] * gap[1:]).sum(1)
  found = _call(relations.cc, s, t)
  assert float(found.mean()) == pytest.approx(products.mean(), rel=1e-6)
  assert float(found[0]) == pytest.approx(products[0] / 2 * 5 / 4, rel=1e-6)
  assert (_call(relations.cc, s[:1], t[:1]) == 0).all()


def test_cc_paper_is_the_series_of_a_gaussian():
  s, t = _rows(15), _rows(16, (5, 9))

  def kernel(x, order):
    cosine = _unit(x) @ _unit(x).T
    terms = [(0.8 * cosine) ** p / math.factorial(p) for p in range(order + 1)]
    return math.exp(-0.8) * sum(terms)

  expected = ((kernel(s, 2) - kernel(t, 2)) ** 2).mean(1)
  found = _call(relations.cc, s, t, variant='paper')
  np.testing.assert_allclose(found, expected, rtol=1e-5)

  def gaussian(x):
    x = _unit(x)
    return np.exp(-0.4 * ((x[:, None] - x[None, :]) ** 2).sum(2))

  limit = ((gaussian(s) - gaussian(t)) ** 2).mean(1)
  found = _call(relations.cc, s, t, variant='paper', order=12)
  np.testing.assert_allclose(found, limit, rtol=1e-5)


def test_ickd():
  s, t = _rows(17, (3, 4, 4, 5)), _rows(18, (3, 2, 2, 5))
  grams = [np.einsum('bhwc,bhwd->bcd', x, x) for x in (s, t)]
  gap = _unit(grams[0]) - _unit(grams[1])
  expected = (gap**2).sum((1, 2)) / 5
  found = _call(relations.ickd, s, t)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  expected = ((grams[0] - grams[1]) ** 2).sum((1, 2)) / 25
  found = _call(relations.ickd, s, t, variant='paper')
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_batch_of_one_is_finite():
  one = jnp.ones((1, 4))
  losses = relations.rkd, relations.sp, relations.pkt, relations.cc

  def together(student):
    return sum(loss(student, 2 * one).sum() for loss in losses)

  assert jnp.isfinite(jax.jit(jax.grad(together))(3 * one)).all()


def test_bad_variants_and_shapes_are_refused():
  x = jnp.ones((2, 3))
  with pytest.raises(ValueError, match="unknown variant 'compact'"):
    relations.cc(x, x, variant='compact')
  with pytest.raises(ValueError, match="unknown variant 'l1'"):
    relations.ickd(x[:, None], x[:, None], variant='l1')
  with pytest.raises(ValueError, match='differ in shape'):
    relations.cc(x, jnp.ones((2, 1)))
  with pytest.raises(ValueError, match='differ in shape'):
    relations.ickd(x[:, None], jnp.ones((2, 1, 1)))
