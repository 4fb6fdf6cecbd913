"""Tests of the losses between two features, beside NumPy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import features, spatial
from tests.helpers import reference as ref


def _maps(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape) for shape in shapes]


def _close(found, expected, rtol=1e-5):
  np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-7)


def _f32(*trees):
  return jax.tree.map(lambda x: x.astype(np.float32), trees)


def _call(loss, *sides, **kwargs):
  return jax.jit(lambda *s: loss(*s, **kwargs))(*_f32(*sides))


def _unit(x, axis):
  return x / np.sqrt((x**2).sum(axis, keepdims=True))


def _attention(x, p):
  return _unit((x**p).mean(-1).reshape(len(x), -1), 1)


def test_mean_and_sum_of_squares():
  s, t = _maps((3, 4, 2), (3, 4, 2))
  _close(_call(features.feature_mse, s, t), ((s - t) ** 2).mean((1, 2)))
  _close(_call(features.feature_sse, s, t), ((s - t) ** 2).sum((1, 2)))


def test_cosine():
  s, t = _maps((3, 4, 5), (3, 4, 5))
  expected = 1 - (_unit(s, 2) * _unit(t, 2)).sum(2).mean(1)
  _close(_call(features.feature_cosine, s, t), expected)
  _close(_call(features.feature_cosine, s, -3 * s), [2, 2, 2])
  empty = _call(features.feature_cosine, np.zeros_like(s), t)
  _close(empty, [1, 1, 1])
  near = s + 1e-3 * t
  gap = _unit(s, 2) - _unit(near, 2)
  found = _call(features.feature_cosine, s, near)
  _close(found / 1e-7, (gap**2).sum(2).mean(1) / 2 / 1e-7, rtol=1e-3)


@pytest.mark.parametrize('power', [1, 2.0, 3, 4])
def test_at(power):
  s, t = _maps((3, 4, 4, 2), (3, 8, 8, 5))
  small = t.reshape(3, 4, 2, 4, 2, 5).mean((2, 4))
  gap = _attention(s, power) - _attention(small, power)
  _close(_call(features.at, s, t, power=power), (gap**2).mean(1))
  gap = _attention(abs(s), power) - _attention(abs(small), power)
  expected = np.sqrt((gap**2).sum(1)) / 2
  _close(_call(features.at, s, t, power=power, variant='paper'), expected)


@pytest.mark.parametrize('power', [1.0, 2.0, 3.0, 2.5])
def test_at_of_a_traced_power_is_that_of_a_known_one(power):
  s, t = _f32(*_maps((3, 4, 4, 2), (3, 4, 4, 5)))
  traced = jax.jit(lambda p: features.at(s, t, power=p))(power)
  _close(traced, features.at(s, t, power=power), rtol=1e-4)


def test_at_ignores_scale():
  s, t = _maps((3, 4, 4, 2), (3, 4, 4, 5))
  for variant in ('code', 'paper'):
    plain = _call(features.at, s, t, variant=variant)
    _close(_call(features.at, 50 * s, t / 50, variant=variant), plain)


@pytest.mark.parametrize(
  'shapes',
  [
    [(2, 3, 3, 2), (2, 3, 3, 4)],  # few channels
    [(2, 2, 2, 6), (2, 2, 2, 8)],  # few places
    [(2, 4, 4, 3), (2, 2, 2, 8)],
  ],
)
def test_nst_is_the_mean_over_all_pairs_of_channels(shapes):
  s, t = _maps(*shapes)
  places = min(shapes[0][1], shapes[1][1])
  size = (places, places)
  pooled = [np.asarray(spatial.pool(x, size)) for x in _f32(s, t)]
  s_, t_ = (_unit(x.reshape(2, -1, x.shape[-1]), 1) for x in pooled)

  def kernel(x, y):
    pairs = (x[:, :, :, None] * y[:, :, None, :]).sum(1)
    return (pairs**2).mean((1, 2))

  expected = kernel(s_, s_) + kernel(t_, t_) - 2 * kernel(s_, t_)
  _close(_call(features.nst, s, t), expected, rtol=1e-4)


def test_hierarchical_context():
  s, t = _maps((2, 8, 8, 3), (2, 8, 8, 3))
  expected, weights = ((s - t) ** 2).mean((1, 2, 3)), 1
  for size, weight in ((4, 0.5), (2, 0.25), (1, 0.125)):
    step = 8 // size
    gap = (s - t).reshape(2, size, step, size, step, 3).mean((2, 4))
    expected = expected + weight * (gap**2).mean((1, 2, 3))
    weights += weight
  expected /= weights
  _close(_call(features.hierarchical_context, (s,), (t,)), expected)
  tiny = s[:, :1, :1], t[:, :1, :1]
  twice = _call(features.hierarchical_context, (s, tiny[0]), (t, tiny[1]))
  _close(twice, expected + ((tiny[0] - tiny[1]) ** 2).mean((1, 2, 3)))


@pytest.mark.parametrize('normalize', [True, False])
def test_cat(normalize):
  s, t = _maps((2, 4, 4, 3), (2, 8, 8, 3))
  pooled = [
    x.reshape(2, 2, n, 2, n, 3).mean((2, 4)) for x, n in ((s, 2), (t, 4))
  ]
  if normalize:
    pooled = [_unit(x, (1, 2)) for x in pooled]
  expected = ((pooled[0] - pooled[1]) ** 2).mean((1, 2, 3))
  _close(_call(features.cat, s, t, normalize=normalize), expected)


def test_vid_and_its_variance_learns():
  mean, teacher, raw = _maps((2, 3, 3, 4), (2, 3, 3, 4), (4,))
  variance = np.log1p(np.exp(raw)) + 1e-5
  error = (mean - teacher) ** 2
  expected = (error / variance + np.log(variance)).mean((1, 2, 3)) / 2
  _close(_call(features.vid_nll, mean, teacher, raw), expected)

  def loss(raw):
    return jnp.mean(features.vid_nll(mean, teacher, raw))

  # A variance that no gradient reaches is a known defect of one framework.
  slope = (1 / variance - error.mean((0, 1, 2)) / variance**2) / 2 / 4
  slope = slope / (1 + np.exp(-raw))
  _close(jax.grad(loss)(jnp.asarray(raw, jnp.float32)), slope, rtol=1e-4)
  best = np.log(np.expm1(error.mean((0, 1, 2)) - 1e-5))
  assert abs(jax.grad(loss)(jnp.asarray(best, jnp.float32))).max() < 1e-6


def test_vid_at_equality_is_the_mean_log_deviation():
  (teacher,) = _maps((2, 3, 3, 2))
  raw = np.log(np.expm1(np.asarray([5.0, 0.5]) - 1e-5))
  expected = np.log([5.0, 0.5]).mean() / 2
  _close(_call(features.vid_nll, teacher, teacher, raw), [expected] * 2)


@pytest.mark.parametrize(
  ('loss', 'student', 'teacher'),
  [
    (features.feature_mse, (2, 1, 1, 3), (2, 4, 4, 3)),
    (features.feature_sse, (2, 3), (2, 1)),
    (features.feature_cosine, (2, 3), (2, 4)),
    (features.at, (2, 5, 3), (2, 6, 3)),
    (features.nst, (2, 5, 3), (2, 1, 3)),
    (features.cat, (2, 4, 4, 3), (2, 4, 4, 1)),
  ],
)
def test_shapes_that_would_broadcast_are_refused(loss, student, teacher):
  with pytest.raises(ValueError, match='differ in shape'):
    loss(jnp.ones(student), jnp.ones(teacher))


def test_bad_variants_and_layers_are_refused():
  x = jnp.ones((2, 4, 4, 3))
  with pytest.raises(ValueError, match="did you mean 'paper'"):
    features.at(x, x, variant='papr')
  with pytest.raises(ValueError, match='2 student and 1 teacher layers'):
    features.hierarchical_context((x, x), (x,))


def test_vkd_normalizes_the_teacher_alone():
  student, teacher = ref.draw(0, 4, 6), ref.draw(1, 4, 6)
  spread = np.sqrt(teacher.var(-1, keepdims=True) + 1e-5)
  normal = (teacher - teacher.mean(-1, keepdims=True)) / spread

  def expected(student):
    gap = np.abs(student - normal)
    return np.where(gap < 1, gap**2 / 2, gap - 0.5).mean(-1)

  ref.agree(lambda s: features.vkd(s, np.float32(teacher)), expected, student)
