"""Laws of the losses of made images; golden values are in tests/golden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import synthesis
from kd_jax.models import batch_norms


def _draw(*shape, seed=0, scale=1.0):
  return scale * jax.random.normal(jax.random.key(seed), shape)


def _moments(x, mean, var):
  return {'bn': batch_norms.moments(x, mean, var)}


CASES = {
  'one_hot': (synthesis.one_hot, (4, 5)),
  'activation': (synthesis.activation, (4, 7)),
  'entropy': (synthesis.information_entropy, (4, 5)),
  'variation': (synthesis.total_variation, (4, 5, 6, 2)),
  'variation_l1': (
    lambda x: synthesis.total_variation(x, variant='l1'),
    (4, 5, 6, 2),
  ),
  'norm': (synthesis.image_norm, (4, 5, 6, 2)),
  'norm_batch': (
    lambda x: synthesis.image_norm(x, variant='batch'),
    (4, 5, 6, 2),
  ),
  'batch_norm': (
    lambda x: synthesis.batch_norm(_moments(x, jnp.ones(2), jnp.ones(2))),
    (4, 5, 6, 2),
  ),
}


@pytest.mark.parametrize('case', CASES)
def test_values_are_per_example_and_slopes_finite_everywhere(case):
  loss, shape = CASES[case]
  x = _draw(*shape)
  values = loss(x)
  assert values.shape == (4,) and values.dtype == jnp.float32
  # The scalar of the source does not depend on the order of examples.
  np.testing.assert_allclose(loss(x[::-1]).mean(), values.mean(), rtol=1e-5)
  slope = jax.jit(jax.grad(lambda x: loss(x).mean()))
  for point in (x, jnp.zeros(shape), 1e4 * x):
    assert np.isfinite(slope(point)).all()
  low = loss(x.astype(jnp.bfloat16))
  assert low.dtype == jnp.float32


def test_a_sure_teacher_and_even_classes_are_the_minimum():
  sure = 40 * jnp.eye(5)
  np.testing.assert_allclose(synthesis.one_hot(sure), 0, atol=1e-6)
  even = synthesis.information_entropy(sure, variant='nats')
  np.testing.assert_allclose(even, -np.log(5), rtol=1e-6)
  logits = _draw(6, 5)
  assert (synthesis.information_entropy(logits, variant='nats') > even[0]).all()


def test_variants_differ_by_the_stated_factors():
  logits, features = _draw(6, 5), _draw(6, 7)
  nats = synthesis.information_entropy(logits, variant='nats')
  for variant, factor in (('code', np.log(10)), ('paper', 5)):
    other = synthesis.information_entropy(logits, variant=variant)
    np.testing.assert_allclose(other * factor, nats, rtol=1e-6)
  paper = synthesis.activation(features, variant='paper')
  np.testing.assert_allclose(paper, 7 * synthesis.activation(features), 1e-6)
  for loss in (synthesis.information_entropy, synthesis.activation):
    with pytest.raises(ValueError, match="variant 'papr'.*'paper'"):
      loss(logits, variant='papr')


def test_flat_images_and_the_statistics_of_training_cost_nothing():
  flat = jnp.ones((3, 4, 4, 2)) * jnp.arange(3.0).reshape(3, 1, 1, 1)
  np.testing.assert_array_equal(synthesis.total_variation(flat), 0)
  x = _draw(8, 4, 4, 2, scale=3.0) + 5
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  right = synthesis.batch_norm(_moments(x, mean, var))
  np.testing.assert_allclose(right, 0, atol=1e-3)
  off = synthesis.batch_norm(_moments(x, mean + jnp.asarray([3, 4]), var))
  np.testing.assert_allclose(off, 5, rtol=1e-3)
