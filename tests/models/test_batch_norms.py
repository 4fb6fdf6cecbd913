"""The inputs of batch norms are read, of any Linen network, in their order."""

import jax
import numpy as np
import pytest

from kd_jax.models import base, batch_norms, make_network
from tests.helpers import tiny


def _tapped(network, module, images, variables, taps):
  """The inputs of layers, by taps on the layers before them."""
  tapped = base.from_linen(module, taps=taps)
  return tapped.apply(variables, images)[0]


def test_the_moments_are_those_of_the_layers_input():
  module, images = tiny.Net(6), tiny.batch()['inputs']
  network = base.from_linen(module)
  variables = network.init(jax.random.key(0), images)
  _, state = network.apply(variables, images, train=True)
  variables = {**variables, **state}
  outputs, kept = batch_norms.read(network).apply(variables, images)
  before = _tapped(network, module, images, variables, ['Dense_0'])['Dense_0']
  (layer,) = outputs.pop(batch_norms.KEY).values()
  running = variables['batch_stats']['BatchNorm_0']
  shift = layer['mean'].mean(0)
  np.testing.assert_allclose(
    shift + running['mean'], before.mean(0), rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(
    layer['square'].mean(0) - shift**2, before.var(0), rtol=1e-4, atol=1e-5
  )
  np.testing.assert_array_equal(layer['var'][0], running['var'])
  plain, _ = network.apply(variables, images)
  assert outputs.keys() == plain.keys() and kept.keys() == state.keys()
  np.testing.assert_array_equal(outputs['logits'], plain['logits'])


@pytest.mark.parametrize(
  'name, count', [('resnet8', 9), ('wrn_16_1', 13), ('mlp', 0), ('vgg8', 5)]
)
def test_networks_of_the_zoo_tell_all_of_theirs(name, count):
  network = batch_norms.read(make_network(name, 10))
  images = jax.ShapeDtypeStruct((2, 32, 32, 3), 'float32')
  layers = base.output_shapes(network, images)[batch_norms.KEY]
  assert len(layers) == count
  if name == 'resnet8':
    assert list(layers)[:3] == ['bn1', 'layer1_0/bn1', 'layer1_0/bn2']
    assert layers['bn1']['mean'].shape == (2, 16)


def test_training_reads_nothing():
  network = batch_norms.read(tiny.networks()['teacher'])
  images = tiny.batch()['inputs']
  variables = network.init(jax.random.key(0), images)
  assert batch_norms.KEY not in network.apply(variables, images, train=True)[0]
