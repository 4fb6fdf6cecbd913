"""Tests of AB and OFD, beside NumPy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from kd_jax.losses import boundaries


def _draw(seed, shape=(2, 3, 3, 4)):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('margin', [1.0, 0.3])
def test_ab(margin):
  students, teachers = [_draw(0), _draw(1)], [_draw(2), _draw(3)]
  expected = np.zeros(2)
  for weight, s, t in zip((0.5, 1), students, teachers):
    for place in np.ndindex(*s.shape):
      a, b = float(s[place]), float(t[place])
      short = max(0, margin - a) if b > 0 else max(0, margin + a)
      expected[place[0]] += 0.003 * weight * short**2
  found = boundaries.ab(students, teachers, margin=margin)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ab_is_0_beyond_the_margin_and_not_at_equality():
  teacher = _draw(4)
  beyond = 1.01 * jnp.sign(teacher)
  assert (boundaries.ab([beyond], [teacher]) == 0).all()
  assert (boundaries.ab([teacher], [teacher]) > 0).all()


def test_ofd_follows_its_three_cases():
  student, teacher = 2 * _draw(5), 2 * _draw(6)
  margin = -np.abs(_draw(7, (4,)))
  expected = np.zeros(2)
  for place in np.ndindex(*student.shape):
    s, t = float(student[place]), float(teacher[place])
    m = float(margin[place[-1]])
    if t > 0 or (m < t <= 0 and s > t):
      expected[place[0]] += (s - t) ** 2
    elif t <= m and s > m:
      expected[place[0]] += (s - m) ** 2
  found = boundaries.ofd(student, teacher, margin)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ofd_lets_the_student_be_silent_where_the_teacher_is():
  teacher, margin = -jnp.abs(_draw(8)) - 1, jnp.full((4,), -0.5)
  silent = jnp.full_like(teacher, -7.0)
  values, gradient = jax.value_and_grad(
    lambda s: boundaries.ofd(s, teacher, margin).sum()
  )(silent)
  assert values == 0
  assert (gradient == 0).all()


def test_ofd_margin_is_the_mean_of_the_negative_part():
  bias = np.asarray([0.0, 0.5, -1.0, 2.0, -8.0])
  scale = np.asarray([1.0, -2.0, 0.5, 1.0, 0.1])
  expected = []
  for b, g in zip(bias, abs(scale)):
    x = np.linspace(min(b, 0) - 10 * g, 0, 20_001)
    weight = stats.norm(b, g).pdf(x)
    area = integrate.simpson(weight, x=x)
    expected.append(integrate.simpson(x * weight, x=x) / area)
  found = boundaries.ofd_margin(bias, scale)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ofd_margin_where_negatives_are_rare_or_nothing_varies():
  bias = jnp.asarray([4.0, 1e4, -1e4, -2.0, 2.0, 0.0])
  scale = jnp.asarray([1.0, 2.0, 1.0, 0.0, 0.0, 0.0])
  found = boundaries.ofd_margin(bias, scale)
  np.testing.assert_allclose(found, [-3, -6, -1e4, -2, 0, 0], rtol=1e-6)


def test_shapes_that_would_broadcast_are_refused():
  with pytest.raises(ValueError, match='differ in shape'):
    boundaries.ab([jnp.ones((2, 3))], [jnp.ones((2, 1))])
  with pytest.raises(ValueError, match='differ in shape'):
    boundaries.ofd(jnp.ones((2, 3)), jnp.ones((1, 3)), jnp.ones(3))
