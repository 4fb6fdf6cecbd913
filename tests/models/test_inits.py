"""init='pytorch' has the standard deviations of the PyTorch originals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from kd_jax import models
from kd_jax.models import inits

IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
# (network, its last layer, standard deviation of its weights, of its biases):
# U(+-1/sqrt(D)) has 1 / sqrt(3 D).
LAST = [
  ('resnet8', 'linear', 64, (3 * 64) ** -0.5, (3 * 64) ** -0.5),
  ('resnet8x4', 'linear', 256, (3 * 256) ** -0.5, (3 * 256) ** -0.5),
  ('wrn_16_2', 'fc', 128, (3 * 128) ** -0.5, 0),
  ('vgg8', 'classifier', 512, 0.01, 0),
  ('shufflenet_v2', 'linear', 1024, (3 * 1024) ** -0.5, (3 * 1024) ** -0.5),
]


def drawn(name: str, seed: int = 0, init: str = 'pytorch') -> dict:
  """{path: array} of the initial parameters, in place of ones."""
  network = models.make_network(name, 100)
  shapes = jax.eval_shape(network.init, jax.random.key(0), IMAGE)['params']
  ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
  filled = network._replace(init=lambda key, inputs: {'params': ones})
  params = inits.wrap(filled, name, init).init(jax.random.key(seed), IMAGE)
  return traverse_util.flatten_dict(params['params'], sep='/')


@pytest.mark.parametrize('name, layer, width, weight, bias', LAST)
def test_the_last_layer(name, layer, width, weight, bias):
  params = drawn(name)
  layer = next(k for k in params if params[k].ndim == 2).rpartition('/')[0]
  kernel, biases = params[f'{layer}/kernel'], params[f'{layer}/bias']
  assert kernel.shape == (width, 100)
  assert np.std(kernel) == pytest.approx(weight, rel=0.03)
  assert np.std(biases) == pytest.approx(bias, rel=0.25)


def test_the_convolutions_of_shufflenet_are_pytorchs_and_others_stay():
  theirs = drawn('shufflenet_v1')
  kernel = theirs['layer3_3/conv1/kernel']
  fan_in = np.prod(kernel.shape[:-1])
  assert np.std(kernel) == pytest.approx((3 * fan_in) ** -0.5, rel=0.03)
  assert np.abs(kernel).max() <= fan_in**-0.5
  same = drawn('resnet8')
  assert np.array_equal(same['conv1/kernel'], np.ones((3, 3, 3, 16)))
  assert np.array_equal(same['bn1/scale'], np.ones(16))


def test_a_network_is_made_with_it():
  plain = models.make_network('resnet8', 10)
  theirs = models.make_network('resnet8', 10, init='pytorch')
  ours, drawn = (
    jax.jit(n.init, static_argnums=1)(jax.random.key(0), IMAGE)['params']
    for n in (plain, theirs)
  )
  last = [k for k in ours if 'kernel' in ours[k] and ours[k]['kernel'].ndim < 4]
  assert len(last) == 1
  for layer in ours:
    equal = jax.tree.map(np.array_equal, ours[layer], drawn[layer])
    assert all(jax.tree.leaves(equal)) == (layer not in last)


def test_it_is_by_seed():
  first, again, other = (drawn('resnet8', s) for s in (0, 0, 1))
  for path, x in first.items():
    np.testing.assert_array_equal(x, again[path])
    if x.ndim == 2:
      assert not np.array_equal(x, other[path])


@pytest.mark.parametrize(
  'name, init, message',
  [
    ('resnet8', 'torch', "unknown init 'torch'; did you mean 'pytorch'"),
    ('mlp', 'pytorch', "network 'mlp' has no PyTorch original"),
  ],
)
def test_what_is_none_is_refused(name, init, message):
  with pytest.raises(ValueError, match=message):
    models.make_network(name, 10, init=init)
