"""Laws that every feature, relation and contrastive loss keeps."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import extend

from kd_jax.losses import (
  boundaries,
  contrastive,
  dense,
  detection,
  factors,
  features,
  pixel_relations,
  relations,
  svd,
)

B = 6
MAP, ROW = (B, 4, 4, 3), (B, 7)
LAYERS = ((B, 4, 4, 3), (B, 2, 2, 5))
MARGIN = np.asarray([-4.0, -5.0, -6.0], np.float32)
RAW = np.asarray([0.5, -1.0, 2.0], np.float32)


class Case(NamedTuple):
  """A loss, the shape of its two sides, and what is true of it."""

  loss: Callable
  shape: tuple
  zero: bool = True  # 0 at equality
  ordered: bool = False  # depends on the order of the batch


def _bound(function, **kwargs):
  return functools.partial(function, **kwargs)


def _ofd(student, teacher):
  return boundaries.ofd(student, teacher, MARGIN)


def _vid(student, teacher):
  return features.vid_nll(student, teacher, RAW)


def _ifvd(student, teacher):
  """Two classes and void: the same for all, for the order does not count."""
  labels = np.arange(16, dtype=np.int32).reshape(1, 4, 4) % 3 - 1
  labels = np.broadcast_to(labels, (len(student), 4, 4))
  return dense.ifvd(student, teacher, jnp.asarray(labels), classes=2)


CASES = {
  'feature_mse': Case(features.feature_mse, MAP),
  'feature_sse': Case(features.feature_sse, MAP),
  'feature_cosine': Case(features.feature_cosine, MAP),
  'at': Case(features.at, MAP),
  'at odd': Case(_bound(features.at, power=3), MAP),
  'at real': Case(_bound(features.at, power=2.5), MAP),
  'at paper': Case(_bound(features.at, variant='paper'), MAP),
  'nst by channels': Case(features.nst, MAP),
  'nst by places': Case(features.nst, (B, 2, 2, 6)),
  'hierarchical': Case(features.hierarchical_context, LAYERS),
  'cat': Case(features.cat, MAP),
  'cat plain': Case(_bound(features.cat, normalize=False), MAP),
  'vid': Case(_vid, MAP, zero=False),
  'fsp': Case(factors.fsp, LAYERS),
  'factor': Case(factors.factor, MAP),
  'kdsvd': Case(svd.kdsvd, LAYERS),
  'kdsvd columns': Case(
    _bound(svd.kdsvd, variant='mdistiller', components=2), LAYERS
  ),
  'ab': Case(boundaries.ab, LAYERS, zero=False),
  'ofd': Case(_ofd, MAP),
  'rkd': Case(relations.rkd, ROW),
  'sp': Case(relations.sp, MAP),
  'pkt': Case(relations.pkt, ROW),
  'cc': Case(relations.cc, ROW, ordered=True),
  'cc paper': Case(_bound(relations.cc, variant='paper'), ROW),
  'ickd': Case(relations.ickd, MAP),
  'ickd paper': Case(_bound(relations.ickd, variant='paper'), MAP),
  'info_nce': Case(contrastive.info_nce, ROW, zero=False),
  'cwd': Case(dense.cwd, MAP),
  'ifvd': Case(_ifvd, MAP),
  # 'code' detaches a norm: its gradient is not its slope.
  'skd paper': Case(_bound(pixel_relations.skd_pairwise, variant='paper'), MAP),
  'skd cirkd': Case(_bound(pixel_relations.skd_pairwise, variant='cirkd'), MAP),
  'cirkd': Case(pixel_relations.cirkd_minibatch, MAP),
  'pearson': Case(detection.pearson_pkd, MAP),
}
every = pytest.mark.parametrize('name', CASES)


def _draw(shape, seed, dtype=np.float32):
  """Normal numbers of a shape, or a tuple of them for a tuple of shapes."""
  rng = np.random.default_rng(seed)
  if isinstance(shape[0], tuple):
    return tuple(rng.normal(size=s).astype(dtype) for s in shape)
  return rng.normal(size=shape).astype(dtype)


def _map(function, *trees):
  return jax.tree.map(function, *trees)


@functools.cache
def _compiled(name):
  """Values [B], and the gradient of their mean by the student."""

  def mean(student, teacher):
    values = CASES[name].loss(student, teacher)
    return jnp.mean(values), values

  gradient = jax.jit(jax.grad(mean, has_aux=True))
  return lambda *sides: _map(np.asarray, gradient(*sides)[::-1])


def _norm(tree):
  leaves = [np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)]
  return np.linalg.norm(np.concatenate(leaves))


def _finite(*trees):
  return all(np.isfinite(x).all() for x in jax.tree.leaves(trees))


@every
def test_gives_one_f32_value_per_example(name):
  case = CASES[name]
  sides = _draw(case.shape, 0), _draw(case.shape, 1)
  values, _ = _compiled(name)(*sides)
  assert values.shape == (B,)
  assert values.dtype == np.float32
  assert (values != 0).all()


@every
def test_equal_sides_cost_nothing(name):
  case = CASES[name]
  side = _draw(case.shape, 2)
  values, gradient = _compiled(name)(side, side)
  assert _finite(values, gradient)
  far, steep = _compiled(name)(_draw(case.shape, 3), side)
  if case.zero:
    assert np.abs(values).max() < 1e-5 * np.abs(far).max()
    assert _norm(gradient) < 1e-4 * _norm(steep)


BENT = {
  'zeros': np.zeros_like,
  'ones': np.ones_like,
  'rows': lambda x: np.broadcast_to(x[:1], x.shape).copy(),
  'huge': lambda x: 1e4 * np.sign(x),
  'tiny': lambda x: x / 10_000,
}


@every
def test_degenerate_features_stay_finite(name):
  case = CASES[name]
  student, teacher = _draw(case.shape, 4), _draw(case.shape, 5)
  for kind, bend in BENT.items():
    odd = _map(bend, student), _map(bend, teacher)
    for pair in [odd, (odd[0], teacher), (student, odd[1])]:
      values, gradient = _compiled(name)(*pair)
      assert _finite(values, gradient), kind
      assert kind in ('huge', 'tiny') or _norm(gradient) < 1e4, kind


@every
def test_order_of_the_batch(name):
  case = CASES[name]
  student, teacher = _draw(case.shape, 6), _draw(case.shape, 7)
  order = np.asarray([3, 0, 5, 1, 4, 2])
  values, gradient = _compiled(name)(student, teacher)
  turn = functools.partial(_map, lambda x: x[order])
  turned, turned_gradient = _compiled(name)(turn(student), turn(teacher))
  if case.ordered:
    assert not np.allclose(values[order], turned, rtol=1e-3)
    return
  np.testing.assert_allclose(turned, values[order], rtol=1e-4, atol=1e-6)
  gap = _map(np.subtract, turned_gradient, turn(gradient))
  assert _norm(gap) < 1e-4 * _norm(gradient)


@every
def test_bf16_is_computed_in_f32(name):
  case = CASES[name]
  student = _draw(case.shape, 8, jnp.bfloat16)
  teacher = _draw(case.shape, 9, jnp.bfloat16)
  values = jax.jit(case.loss)(student, teacher)
  wide = functools.partial(_map, lambda x: x.astype(np.float32))
  expected, _ = _compiled(name)(wide(student), wide(teacher))
  assert values.dtype == np.float32
  np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)


@every
def test_gradient_is_the_finite_difference_in_f64(name):
  case = CASES[name]
  with jax.enable_x64(True):
    student = _draw(case.shape, 10, np.float64)
    teacher = _draw(case.shape, 11, np.float64)
    along = _draw(case.shape, 12, np.float64)
    values, gradient = _compiled(name)(student, teacher)
    assert values.dtype == np.float64

    def moved(step):
      side = _map(lambda x, d: x + step * d, student, along)
      return float(np.mean(_compiled(name)(side, teacher)[0]))

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    leaves = jax.tree.leaves(_map(lambda g, d: np.sum(g * d), gradient, along))
    assert sum(map(float, leaves)) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
  ('loss', 'values'),
  [
    (lambda x, s, t: features.at(s, t, power=x), (2.0, 3.0, 2.5)),
    (lambda x, s, t: factors.factor(s, t, p1=x), (2.0, 1.0)),
    (lambda x, s, t: boundaries.ab((s,), (s + t,), margin=x), (1.0, 0.5)),
    (lambda x, s, t: relations.rkd(s, t, angle_weight=x), (50.0, 1.0)),
    (lambda x, s, t: relations.pkt(s, t, epsilon=x), (1e-7, 1e-2)),
    (lambda x, s, t: relations.cc(s, t, variant='paper', gamma=x), (0.4, 2.0)),
    (
      lambda x, s, t: contrastive.info_nce(
        s.reshape(B, -1), t.reshape(B, -1), temperature=x
      ),
      (0.07, 1.0),
    ),
    (lambda x, s, t: dense.cwd(s, t, temperature=x), (4.0, 1.0)),
    (
      lambda x, s, t: pixel_relations.cirkd_minibatch(s, t, temperature=x),
      (0.1, 1.0),
    ),
  ],
  ids=['at', 'factor', 'ab', 'rkd', 'pkt', 'cc', 'info_nce', 'cwd', 'cirkd'],
)
def test_hyperparameters_may_be_traced(loss, values):
  student, teacher = _draw(MAP, 13), _draw(MAP, 14)
  lanes = jax.jit(jax.vmap(loss, (0, None, None)))
  together = lanes(jnp.asarray(values), student, teacher)
  alone = jax.jit(loss, static_argnums=0)
  apart = jnp.stack([alone(x, student, teacher) for x in values])
  np.testing.assert_allclose(together, apart, rtol=1e-4)
  assert not np.allclose(apart[0], apart[1])


def _sizes(jaxpr):
  for equation in jaxpr.eqns:
    for variable in equation.outvars:
      yield variable.aval.size
    for sub in extend.core.jaxprs_in_params(equation.params):
      yield from _sizes(sub)


@pytest.mark.parametrize(
  ('name', 'shape', 'limit'),
  [
    ('rkd', (8, 100), 1000),  # [B, B, D] would be 6400
    ('sp', (8, 100), 1000),
    ('pkt', (8, 100), 1000),
    ('cc paper', (8, 100), 1000),
    ('info_nce', (8, 100), 1000),
    ('nst by channels', (2, 8, 8, 16), 3000),  # [B, C, C, HW]: 32768
    ('nst by places', (2, 4, 4, 64), 3000),  # [B, C, C]: 8192
    ('cirkd', (4, 8, 8, 8), 5000),  # [B, B, P, P]: 65536
  ],
)
def test_builds_nothing_larger_than_it_must(name, shape, limit):
  def mean(student, teacher):
    return jnp.mean(CASES[name].loss(student, teacher))

  side = jnp.ones(shape)
  assert max(_sizes(jax.make_jaxpr(jax.grad(mean))(side, side).jaxpr)) < limit
