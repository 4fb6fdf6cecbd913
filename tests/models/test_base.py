"""Any module as a network: Linen, NNX, a function; taps; state; pmap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from kd_jax.models import base

IMAGES = jax.random.normal(jax.random.key(3), (16, 5, 5, 2))
KEY = jax.random.key(0)


class Block(nn.Module):
  @nn.compact
  def __call__(self, x, deterministic):
    x = nn.Conv(4, (3, 3), name='conv')(x)
    x = nn.BatchNorm(use_running_average=deterministic, name='norm')(x)
    self.sow('intermediates', 'attention', x.mean(-1))
    return nn.relu(x)


class Bare(nn.Module):
  """Returns bare logits; names training in its own way."""

  @nn.compact
  def __call__(self, x, training=False):
    x = Block(name='block1')(x, not training)
    x = nn.Dropout(0.5, deterministic=not training)(x.mean((1, 2)))
    return nn.Dense(3, dtype=jnp.bfloat16)(x)


class BareNNX(nnx.Module):
  def __init__(self, rngs):
    self.blocks = nnx.List([nnx.Conv(2, 4, (3, 3), rngs=rngs)])
    self.norm = nnx.BatchNorm(4, rngs=rngs)
    self.drop = nnx.Dropout(0.5, rngs=rngs)
    self.head = nnx.Linear(4, 3, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.norm(self.blocks[0](x))).mean((1, 2))
    return self.head(self.drop(x))


NETWORKS = {
  'linen': lambda taps=(): base.from_linen(Bare(), taps, head='Dense_0'),
  'nnx': lambda taps=(): base.from_nnx(BareNNX, taps, head='head'),
}


@functools.cache
def _variables(kind):
  return NETWORKS[kind]().init(KEY, IMAGES)


@pytest.fixture(params=NETWORKS)
def make(request):
  return NETWORKS[request.param]


def test_bare_module_is_a_network(make):
  network = make()
  variables = network.init(KEY, jax.ShapeDtypeStruct((1, 5, 5, 2), jnp.float32))
  outputs, state = network.apply(variables, IMAGES)
  assert set(outputs) == {'logits'}
  assert outputs['logits'].shape == (16, 3)
  assert outputs['logits'].dtype == jnp.float32
  assert set(variables) == {'params', 'batch_stats'}
  assert state == {'batch_stats': variables['batch_stats']}
  assert base.num_params(variables) == (9 * 2 + 1) * 4 + 2 * 4 + (4 + 1) * 3


def test_init_is_traceable_and_equal(make):
  network = make()
  eager = network.init(KEY, IMAGES)
  jitted = jax.jit(network.init)(KEY, IMAGES)
  shapes = jax.eval_shape(network.init, KEY, IMAGES)
  other = network.init(jax.random.key(1), IMAGES)
  jax.tree.map(np.testing.assert_array_equal, eager, jitted)
  assert jax.tree.map(jnp.shape, eager) == jax.tree.map(jnp.shape, shapes)
  kernel = network.head(eager)['kernel']
  assert not np.array_equal(kernel, network.head(other)['kernel'])


def test_apply_jits_to_the_same_numbers(make):
  network = make()
  variables = _variables(_kind(make))
  apply = lambda v, x, k: network.apply(v, x, train=True, rng=k)  # noqa: E731
  eager, state = apply(variables, IMAGES, KEY)
  jitted, jitted_state = jax.jit(apply)(variables, IMAGES, KEY)
  np.testing.assert_allclose(eager['logits'], jitted['logits'], atol=1e-2)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    state,
    jitted_state,
  )


def test_training_changes_state_and_draws_dropout(make):
  network = make()
  variables = _variables(_kind(make))
  one, state = network.apply(variables, IMAGES, train=True, rng=KEY)
  two, _ = network.apply(variables, IMAGES, train=True, rng=jax.random.key(9))
  same, _ = network.apply(variables, IMAGES, train=True, rng=KEY)
  structure = jax.tree.structure(state['batch_stats'])
  assert structure == jax.tree.structure(variables['batch_stats'])
  before = jax.tree.leaves(variables['batch_stats'])
  after = jax.tree.leaves(state['batch_stats'])
  assert not any(np.array_equal(a, b) for a, b in zip(before, after))
  assert not np.array_equal(one['logits'], two['logits'])
  np.testing.assert_array_equal(one['logits'], same['logits'])


def test_nnx_dropout_without_key_is_refused():
  network = NETWORKS['nnx']()
  variables = _variables('nnx')
  with pytest.raises(ValueError, match="'drop' has dropout.*rng="):
    network.apply(variables, IMAGES, train=True)


class NormedLinen(nn.Module):
  """A third party's: no dropout, so that shards draw nothing."""

  @nn.compact
  def __call__(self, x, train):
    for _ in range(2):
      x = nn.Conv(4, (3, 3))(x)
      x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
    return nn.Dense(3)(x.mean((1, 2)))


class NormedNNX(nnx.Module):
  def __init__(self, rngs):
    self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(4, rngs=rngs)
    self.head = nnx.Linear(4, 3, rngs=rngs)

  def __call__(self, x):
    return self.head(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))


@pytest.mark.parametrize('kind', ['linen', 'nnx'])
def test_batch_norm_sees_the_whole_batch_under_pmap(kind):
  assert jax.local_device_count() == 8
  if kind == 'linen':
    network = base.from_linen(NormedLinen())
  else:
    network = base.from_nnx(NormedNNX)
  variables = network.init(KEY, IMAGES)

  def apply(variables, images, axis_name=None):
    return network.apply(variables, images, train=True, axis_name=axis_name)

  sharded = jax.pmap(
    lambda v, x: apply(v, x, 'data'),
    axis_name='data',
    in_axes=(None, 0),
    out_axes=(0, None),
  )
  whole, state = apply(variables, IMAGES)
  shards, shard_state = sharded(variables, IMAGES.reshape(8, 2, 5, 5, 2))
  close = lambda a, b: np.testing.assert_allclose(  # noqa: E731
    a, b, rtol=1e-5, atol=1e-6
  )
  close(shards['logits'].reshape(16, 3), whole['logits'])
  jax.tree.map(close, shard_state, state)
  alone, _ = apply(variables, IMAGES[:2])
  assert abs(alone['logits'] - whole['logits'][:2]).max() > 1e-3


def test_taps_show_features_by_path(make):
  taps = {'linen': ['block1/*', 'block1'], 'nnx': ['blocks/*', 'norm']}[
    _kind(make)
  ]
  network = make(taps)
  variables = _variables(_kind(make))
  outputs, _ = network.apply(variables, IMAGES)
  names = {
    'linen': {'block1', 'block1/conv', 'block1/norm', 'block1/attention'},
    'nnx': {'blocks/0', 'norm'},
  }[_kind(make)]
  assert set(outputs) == names | {'logits'}
  plain, _ = make().apply(variables, IMAGES)
  np.testing.assert_array_equal(plain['logits'], outputs['logits'])
  trained, _ = network.apply(variables, IMAGES, train=True, rng=KEY)
  assert set(trained) == set(outputs)
  if _kind(make) == 'linen':
    np.testing.assert_array_equal(
      outputs['block1'], nn.relu(outputs['block1/norm'])
    )


def test_taps_are_gone_after_a_call():
  network = NETWORKS['nnx'](['norm'])
  variables = _variables('nnx')
  before = nnx.BatchNorm.__call__
  network.apply(variables, IMAGES)
  assert nnx.BatchNorm.__call__ is before


def test_repeated_calls_of_one_module_are_told_apart():
  class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
      dense = nn.Dense(2, name='dense')
      return dense(dense(x))

  network = base.from_linen(Twice(), ['dense'])
  x = jnp.ones((3, 2))
  outputs, _ = network.apply(network.init(KEY, x), x)
  assert set(outputs) == {'dense', 'dense#1', 'logits'}
  np.testing.assert_array_equal(outputs['dense#1'], outputs['logits'])


def test_a_tap_without_match_lists_the_paths(make):
  network = make(['nowhere/*'])
  variables = _variables(_kind(make))
  with pytest.raises(ValueError, match='matches nothing; known') as e:
    network.apply(variables, IMAGES)
  near = {'linen': 'block1/conv', 'nnx': 'blocks/0'}[_kind(make)]
  assert near in str(e.value)
  with pytest.raises(ValueError, match='must be a list'):
    make('block1')


@pytest.mark.parametrize('module', [3, Bare, None])
def test_what_is_no_linen_module_is_refused(module):
  with pytest.raises(ValueError, match='a Linen module is needed'):
    base.from_linen(module)


def test_head_is_the_last_classifier(make):
  network = make()
  variables = _variables(_kind(make))
  head = network.head(variables)
  assert head['kernel'].shape == (4, 3)
  assert head['bias'].shape == (3,)
  wrong = base.from_linen(Bare(), head='Dense_7')
  with pytest.raises(ValueError, match="no layer 'Dense_7'"):
    wrong.head(variables)


def test_head_without_bias_has_zeros():
  module = nn.Sequential([nn.Dense(3, use_bias=False)])
  network = base.from_linen(module, head='layers_0')
  variables = network.init(KEY, jnp.ones((1, 2)))
  np.testing.assert_array_equal(network.head(variables)['bias'], np.zeros(3))


def test_any_pure_function_is_a_network():
  weights = [jnp.ones((2, 3))]
  network = base.from_function(lambda w, x: x @ w[0], weights)
  variables = network.init(KEY, None)
  outputs, state = network.apply(variables, jnp.ones((4, 2)), train=True)
  np.testing.assert_array_equal(outputs['logits'], np.full((4, 3), 2.0))
  assert state == {}
  assert base.num_params(variables) == 6


def test_a_function_is_told_what_it_asks_for():
  seen = {}

  def apply(variables, inputs, train, rng):
    seen.update(train=train, rng=rng)
    return {'logits': inputs, 'feature': variables['memory']['m']}

  given = {'params': {}, 'memory': {'m': jnp.ones(2)}}
  network = base.from_function(apply, given)
  outputs, state = network.apply(given, jnp.ones((1, 2)), train=True, rng=KEY)
  assert seen['train'] is True and seen['rng'] is KEY
  assert set(outputs) == {'logits', 'feature'}
  assert state == {'memory': given['memory']}


def test_what_is_no_network_is_refused_in_one_line():
  for value, got in [({'features': 1}, 'features'), ((1, 2), 'tuple')]:
    network = base.from_function(lambda v, x, value=value: value, {})
    with pytest.raises(ValueError, match='must return logits') as e:
      network.apply({'params': {}}, jnp.ones(1))
    assert got in str(e.value) and '\n' not in str(e.value)


def _kind(make):
  return next(k for k, v in NETWORKS.items() if v is make)
