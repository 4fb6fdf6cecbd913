"""Fake quantization rounds as int8 does, and trains through its rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from kd_jax import models
from kd_jax.models import base, fake_quant

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).normal(size=(32, 6, 6, 1)).astype(np.float32)


def test_weights_lie_on_the_steps_of_their_channel():
  kernel = jax.random.normal(KEY, (3, 3, 4, 5)) * np.arange(1.0, 6.0).reshape(
    1, 1, 1, 5
  )
  made = fake_quant.fake_weights(kernel)
  scale = np.abs(kernel).max((0, 1, 2), keepdims=True) / 127
  steps = np.asarray(made) / scale
  np.testing.assert_allclose(steps, np.round(steps), atol=2e-5)
  assert np.abs(np.round(steps)).max() == 127
  assert (np.abs(made - kernel) <= 0.5001 * scale).all()


def test_weights_pass_the_gradient_straight_through():
  kernel = jax.random.normal(KEY, (4, 3))
  target = jax.random.normal(jax.random.key(1), (4, 3))
  loss = lambda w: (fake_quant.fake_weights(w) * target).sum()  # noqa: E731
  found = jax.grad(loss)(kernel)
  np.testing.assert_allclose(found, target, rtol=1e-6)


def test_a_kernel_of_zeros_stays_and_is_finite():
  kernel = jnp.zeros((4, 3))
  np.testing.assert_array_equal(fake_quant.fake_weights(kernel), kernel)


@pytest.mark.parametrize('low, high', [(-1.0, 3.0), (0.0, 2.0), (-5.0, 0.1)])
def test_activations_hold_zero_and_clip(low, high):
  x = jnp.linspace(2 * low - 1, 2 * high + 1, 1001)
  made = np.asarray(fake_quant.fake_activations(x, low, high))
  scale = (high - low) / 255
  inside = (x > low + scale) & (x < high - scale)
  assert np.abs(made - x)[inside].max() <= 0.5001 * scale
  assert made.min() >= low - scale and made.max() <= high + scale
  assert fake_quant.fake_activations(jnp.zeros(()), low, high) == 0
  assert len(np.unique(np.round(made / scale))) == 256


def test_activations_pass_no_gradient_beyond_their_range():
  x = jnp.array([-9.0, -0.5, 0.3, 1.7, 9.0])
  grad = jax.grad(lambda x: fake_quant.fake_activations(x, -1.0, 2.0).sum())
  np.testing.assert_allclose(grad(x), [0, 1, 1, 1, 0], atol=1e-6)


def network(**options):
  return models.make_network('cnn', 3, hidden=8, **options)


@functools.cache
def seen():
  """A wrapped network that saw one batch, and its variables."""
  made = network(quantize='int8')
  variables = jax.jit(made.init)(KEY, IMAGES)
  step = jax.jit(functools.partial(made.apply, train=True))
  return made, variables, {**variables, **step(variables, IMAGES)[1]}


def test_the_first_batch_sets_the_ranges_and_others_move_them():
  made, start, first = seen()
  assert set(first['ranges']) == {'conv1', 'conv2', 'hidden1', 'logits'}
  assert all(v == 0 for v in jax.tree.leaves(start['ranges']))
  own = first['ranges']['conv1']
  np.testing.assert_allclose(own['low'], IMAGES.min(), rtol=1e-6)
  np.testing.assert_allclose(own['high'], IMAGES.max(), rtol=1e-6)
  step = jax.jit(functools.partial(made.apply, train=True))
  moved = step(first, 2 * IMAGES)[1]['ranges']['conv1']
  np.testing.assert_allclose(moved['high'], 1.01 * own['high'], rtol=1e-5)


def test_predicting_leaves_the_ranges_and_rounds():
  made, _, variables = seen()
  outputs, state = jax.jit(made.apply)(variables, IMAGES)
  jax.tree.map(
    np.testing.assert_array_equal, state, {'ranges': variables['ranges']}
  )
  plain = jax.jit(network().apply)(fake_quant.without(variables), IMAGES)[0]
  scale = np.abs(plain['logits']).max()
  error = np.abs(outputs['logits'] - plain['logits']).max() / scale
  assert 1e-4 < error < 0.05


def test_gradients_reach_every_parameter():
  made, _, variables = seen()

  def loss(params):
    held = {**variables, 'params': params}
    return (made.apply(held, IMAGES)[0]['logits'] ** 2).mean()

  for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(variables['params'])):
    assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0


def test_it_trains():
  made, _, variables = seen()
  labels = jnp.arange(32) % 3
  tx = optax.adam(1e-2)

  @jax.jit
  def step(variables, state):
    def loss(params):
      held = {**variables, 'params': params}
      outputs, new = made.apply(held, IMAGES, train=True)
      losses = optax.softmax_cross_entropy_with_integer_labels(
        outputs['logits'], labels
      )
      return losses.mean(), new

    (value, new), grad = jax.value_and_grad(loss, has_aux=True)(
      variables['params']
    )
    update, state = tx.update(grad, state)
    params = optax.apply_updates(variables['params'], update)
    return {'params': params, **new}, state, value

  state, values = tx.init(variables['params']), []
  for _ in range(40):
    variables, state, value = step(variables, state)
    values.append(float(value))
  assert values[-1] < 0.5 * values[0]


def test_replicas_share_their_ranges():
  made, start, _ = seen()
  parts = jnp.asarray(IMAGES).reshape(2, 16, 6, 6, 1)
  run = functools.partial(made.apply, train=True, axis_name='data')
  spread = jax.vmap(run, in_axes=(None, 0), axis_name='data')
  _, state = jax.jit(spread)(start, parts)
  own = state['ranges']['conv1']
  np.testing.assert_allclose(own['high'], [IMAGES.max()] * 2, rtol=1e-6)
  np.testing.assert_allclose(own['low'], [IMAGES.min()] * 2, rtol=1e-6)


def test_layers_are_named_in_the_order_they_run():
  class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
      layer = nn.Dense(3, name='shared')
      x = nn.Dense(3, name='zz')(x.reshape(len(x), -1))
      return nn.Dense(2, name='aa')(layer(layer(x)))

  made = base.from_linen(Twice())
  variables = made.init(KEY, IMAGES)
  found = fake_quant.layers(made, variables, IMAGES)
  assert found == ['zz', 'shared', 'shared#1', 'aa']


def test_what_cannot_be_is_refused():
  with pytest.raises(ValueError, match="unknown quantize 'int4'.*int8"):
    network(quantize='int4')
  bare = base.from_function(lambda v, x: x.mean((1, 2)), {'params': {}})
  with pytest.raises(ValueError, match='no Conv or Dense'):
    fake_quant.wrap(bare).init(KEY, IMAGES)
