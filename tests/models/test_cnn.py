"""The plain CNNs and MLPs: sizes, names, pooling, dropout, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kd_jax import models
from kd_jax.models import base, layers

KEY = jax.random.key(0)


def _shapes(network, *shape):
  """Shapes of variables and outputs, nothing computed."""
  inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = jax.eval_shape(network.init, KEY, inputs)
  return variables, jax.eval_shape(network.apply, variables, inputs)[0]


def test_teacher_and_student_have_the_published_sizes():
  sizes = {}
  for name in ('cnn_teacher', 'cnn_student'):
    variables, _ = _shapes(models.make_network(name, 10), 1, 28, 28, 1)
    sizes[name] = base.num_params(variables)
  assert sizes == {'cnn_teacher': 3_604_682, 'cnn_student': 105_866}
  ratio = sizes['cnn_teacher'] / sizes['cnn_student']
  assert round(ratio, 2) == 34.05


def test_every_layer_is_shown_by_name():
  _, outputs = _shapes(models.make_network('cnn_teacher', 10), 2, 29, 30, 3)
  assert {k: v.shape for k, v in outputs.items()} == {
    'conv1_pre': (2, 29, 30, 64),
    'conv1': (2, 29, 30, 64),
    'conv2_pre': (2, 29, 30, 64),
    'conv2': (2, 29, 30, 64),
    'pool1': (2, 14, 15, 64),
    'conv3_pre': (2, 14, 15, 128),
    'conv3': (2, 14, 15, 128),
    'conv4_pre': (2, 14, 15, 128),
    'conv4': (2, 14, 15, 128),
    'pool2': (2, 7, 7, 128),
    'hidden1_pre': (2, 512),
    'hidden1': (2, 512),
    'hidden2_pre': (2, 256),
    'hidden2': (2, 256),
    'features': (2, 256),
    'logits': (2, 10),
  }


def test_intermediate_size_and_perceptron():
  network = models.make_network('cnn', 7, hidden=32)
  variables, outputs = _shapes(network, 1, 8, 8, 1)
  assert outputs['conv1'].shape == (1, 8, 8, 8)
  assert outputs['pool2'].shape == (1, 2, 2, 16)
  assert outputs['features'].shape == (1, 32)
  assert network.head(variables)['kernel'].shape == (32, 7)
  student, _ = _shapes(models.make_network('cnn_student', 7), 1, 8, 8, 1)
  same, _ = _shapes(models.make_network('cnn', 7, hidden=64), 1, 8, 8, 1)
  assert jax.tree.map(jnp.shape, student) == jax.tree.map(jnp.shape, same)
  mlp, outputs = _shapes(models.make_network('mlp', 10), 1, 28, 28, 1)
  assert base.num_params(mlp) == 785 * 1200 + 1201 * 1200 + 1201 * 10
  assert outputs['hidden2_pre'].shape == (1, 1200)


def test_a_pooled_one_classifies_the_mean_of_its_last_map():
  network = models.make_network('cnn', 7, hidden=16, pooled=True)
  images = jax.random.uniform(KEY, (2, 8, 8, 1))
  variables = network.init(KEY, images)
  outputs, _ = network.apply(variables, images)
  assert outputs['final'].shape == (2, 2, 2, 16)
  assert set(outputs) >= {'conv3_pre', 'pool2'} and 'pool3' not in outputs
  np.testing.assert_allclose(outputs['pooled'], outputs['final'].mean((1, 2)))
  head = network.head(variables)
  logits = outputs['pooled'] @ head['kernel'] + head['bias'][None]
  np.testing.assert_allclose(outputs['logits'], logits, rtol=1e-5)


@pytest.mark.parametrize(
  'name, options', [('cnn', {'hidden': 16}), ('mlp', {'widths': (8, 4)})]
)
def test_bf16_computes_and_logits_are_f32(name, options):
  images = jax.random.uniform(KEY, (4, 9, 7, 1))
  narrow = models.make_network(name, 5, dtype='bfloat16', **options)
  variables = narrow.init(KEY, images)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  outputs, _ = jax.jit(narrow.apply)(variables, images)
  wide = models.make_network(name, 5, **options)
  wide, _ = jax.jit(wide.apply)(variables, images)
  assert outputs['hidden1'].dtype == jnp.bfloat16
  assert outputs['logits'].dtype == jnp.float32
  np.testing.assert_allclose(outputs['logits'], wide['logits'], atol=5e-2)


@pytest.mark.parametrize('shape', [(6, 8), (7, 5), (2, 3)])
def test_max_pool_is_the_usual_one(shape):
  x = jax.random.normal(KEY, (2, *shape, 3))
  np.testing.assert_array_equal(
    layers.max_pool(x), nn.max_pool(x, (2, 2), (2, 2))
  )
  pad = ((1, 1), (1, 1))
  np.testing.assert_array_equal(
    layers.max_pool_3_2(x), nn.max_pool(x, (3, 3), (2, 2), pad)
  )


def test_dropout_drops_only_in_training():
  images = jax.random.uniform(KEY, (64, 28))
  network = models.make_network('mlp', 3, widths=[8], input_dropout=0.5)
  variables = network.init(KEY, images)
  one, _ = network.apply(variables, images, train=True, rng=KEY)
  two, _ = network.apply(variables, images, train=True, rng=jax.random.key(1))
  still, _ = network.apply(variables, images)
  moving, _ = network.apply(variables, images, rng=KEY)
  assert not np.array_equal(one['hidden1'], two['hidden1'])
  np.testing.assert_array_equal(still['logits'], moving['logits'])


@pytest.mark.parametrize(
  'name, options, message',
  [
    ('cnn_studnet', {}, "unknown network 'cnn_studnet'; did you mean"),
    ('cnn', {'hiden': 3}, "network 'cnn' has no option 'hiden'; did you"),
    ('cnn', {'hidden': 2.5}, 'must be of type int; got float 2.5'),
    ('cnn', {'hidden': True}, 'must be of type int; got bool True'),
    ('cnn', {'hidden': 30}, 'multiple of 4; got 30'),
    ('cnn', {'pooled': True, 'dropout': 0.5}, 'pooled has none'),
    ('mlp', {'widths': 30}, 'must be of type list of int; got int 30'),
    ('mlp', {'widths': [0]}, 'widths must be positive'),
    ('mlp', {'dropout': 1}, 'dropout must be at least 0 and below 1; got 1'),
    ('mlp', {'dtype': 'float16'}, "unknown dtype 'float16'; did you mean"),
    (
      'mlp',
      {'classes': 0},
      "'classes' of network 'mlp' must be at least 1, not 0",
    ),
  ],
)
def test_mistakes_are_one_line(name, options, message):
  with pytest.raises(ValueError) as e:
    models.make_network(name, **{'classes': 10, **options})
  assert message in str(e.value) and '\n' not in str(e.value)


def test_images_too_small_are_refused():
  with pytest.raises(ValueError, match='too small'):
    _shapes(models.make_network('cnn_student', 10), 1, 3, 3, 1)


@pytest.mark.parametrize(
  'pool, options',
  [
    (layers.max_pool, ((2, 2), (2, 2))),
    (layers.max_pool_3_2, ((3, 3), (2, 2), [(1, 1), (1, 1)])),
  ],
)
def test_its_gradient_survives_what_xla_computes_twice(pool, options):
  """A product before the pool: a jitted maximum may see it rounded twice."""
  key = jax.random.key(0)
  x, y = jax.random.normal(key, (2, 4, 8, 8, 16))
  kernel = jax.random.normal(key, (16, 16)) / 3

  def loss(pooled):
    return lambda x: (jnp.tanh(pooled((x @ kernel) * y - 0.1 * x)) ** 2).sum()

  ours = jax.jit(jax.grad(loss(pool)))(x)
  theirs = jax.grad(loss(lambda x: nn.max_pool(x, *options)))(x)
  np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)
