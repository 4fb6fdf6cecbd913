"""How a network computes: precision, blocks computed again, microbatches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from kd_jax import kinds, models
from kd_jax.models import base, compute, text
from tests.helpers import products, tiny

KEY = jax.random.key(0)
BF16, F32 = jnp.dtype('bfloat16'), jnp.dtype('float32')
HIGHEST = jax.lax.Precision.HIGHEST
# One of each module of the zoo.
FAMILIES = (
  'cnn', 'mlp', 'resnet8', 'wrn_16_1', 'vgg8', 'mobilenet_v1', 'mobilenet_v2',
  'shufflenet_v1', 'shufflenet_v2', 'imagenet_resnet18', 'vit_tiny',
)  # fmt: skip


class Conv(nn.Module):
  """A user's module: convolution, norm, dense, and no word of a dtype."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    x = nn.Conv(8, (3, 3))(x)
    x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
    return nn.Dense(tiny.CLASSES)(nn.relu(x).mean((1, 2)))


class Nnx(nnx.Module):
  """The same in NNX."""

  def __init__(self, rngs):
    self.conv = nnx.Conv(1, 8, (3, 3), rngs=rngs)
    self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
    self.dense = nnx.Linear(8, tiny.CLASSES, rngs=rngs)

  def __call__(self, x):
    x = nnx.relu(self.norm(self.conv(x)))
    return self.dense(x.mean((1, 2)))


def dense(variables, inputs):
  """The same as a function, without the convolution."""
  return inputs.reshape(len(inputs), -1) @ variables['w'] + variables['b'][None]


OWN = {
  'linen': lambda: base.from_linen(Conv(), head='Dense_0'),
  'nnx': lambda: base.from_nnx(Nnx),
  'function': lambda: base.from_function(
    dense,
    {'w': jnp.full((16, tiny.CLASSES), 0.3), 'b': jnp.zeros(tiny.CLASSES)},
  ),
}
own = functools.cache(lambda name: OWN[name]())


def dtypes(tree) -> set:
  return {x.dtype for x in jax.tree.leaves(tree)}


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(n, marks=[] if n in FAMILIES else [pytest.mark.slow])
    for n in models.MODELS
    if n not in text.NETWORKS  # tests/models/text has those
  ],
)
def test_every_product_of_the_zoo_is_in_bf16(name):
  network = compute.with_precision(models.make_network(name, 7), 'bfloat16')
  inputs = jax.ShapeDtypeStruct((2, *models.example_inputs(name)), F32)
  variables = jax.eval_shape(network.init, KEY, inputs)
  assert dtypes(variables) == {F32}
  program, shapes = jax.make_jaxpr(
    lambda v, x: network.apply(v, x, train=True, rng=KEY), return_shape=True
  )(variables, inputs)
  # Resizing asks for all digits of its own weights.
  plain = [
    e
    for e in products.products(program)
    if e.params['precision'] != (HIGHEST, HIGHEST)
  ]
  assert {v.aval.dtype for e in plain for v in e.invars} == {BF16}
  assert dtypes(shapes) == {F32}
  assert dtypes(jax.eval_shape(network.head, variables)) == {F32}


@pytest.mark.parametrize('name', OWN)
def test_a_users_network_in_bf16(name):
  plain = own(name)
  network = compute.with_precision(plain, 'bfloat16')
  batch = tiny.batch()
  variables = network.init(KEY, batch['inputs'])

  def loss(params, network):
    outputs, state = network.apply(
      {**variables, 'params': params}, batch['inputs'], train=True, rng=KEY
    )
    logits = jax.nn.log_softmax(outputs['logits'])
    return -logits[:, 0].mean(), (outputs, state)

  slope = jax.grad(loss, has_aux=True)
  program = jax.make_jaxpr(lambda p: slope(p, network))(variables['params'])
  assert products.operands(program) == {BF16}
  grads, (outputs, state) = slope(variables['params'], network)
  exact, (wide, stats) = slope(variables['params'], plain)
  assert dtypes((grads, outputs, state)) == {F32}
  close = functools.partial(np.testing.assert_allclose, rtol=0.1, atol=0.02)
  jax.tree.map(close, (grads, outputs, state), (exact, wide, stats))
  assert not np.array_equal(outputs['logits'], wide['logits'])


def test_a_part_with_a_dtype_keeps_it():
  class Mixed(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = nn.Dense(4)(x.reshape(len(x), -1))
      return nn.Dense(3, dtype=jnp.float32)(x)

  network = compute.with_precision(base.from_linen(Mixed()), 'bfloat16')
  inputs = tiny.batch()['inputs']
  variables = network.init(KEY, inputs)
  program = jax.make_jaxpr(network.apply)(variables, inputs)
  first, last = products.products(program)
  assert {v.aval.dtype for v in first.invars} == {BF16}
  assert {v.aval.dtype for v in last.invars} == {F32}


def test_lowered_variables_give_the_same_in_half_the_memory():
  network = compute.with_precision(own('linen'), 'bfloat16')
  inputs = tiny.batch()['inputs']
  variables = network.init(KEY, inputs)
  low = compute.lower(variables)
  assert dtypes(low['params']) == {BF16}
  assert dtypes(low['batch_stats']) == {F32}
  size = [
    sum(x.nbytes for x in jax.tree.leaves(v['params']))
    for v in (low, variables)
  ]
  assert 2 * size[0] == size[1]
  whole, part = (network.apply(v, inputs)[0] for v in (variables, low))
  np.testing.assert_array_equal(whole['logits'], part['logits'])
  assert dtypes(network.head(low)) == {F32}


@pytest.mark.parametrize('name', OWN)
def test_highest_and_the_default_hold_for_every_product(name):
  inputs = tiny.batch()['inputs']
  variables = own(name).init(KEY, inputs)

  def traced(precision):
    network = compute.with_precision(own(name), precision)
    slope = jax.grad(lambda v: network.apply(v, inputs)[0]['logits'].sum())
    return jax.make_jaxpr(slope)(variables)

  assert products.precisions(traced('highest')) == {HIGHEST}
  with jax.default_matmul_precision('highest'):
    default = products.precisions(traced('float32'))
  assert HIGHEST not in default


def test_an_unknown_precision_is_refused():
  with pytest.raises(ValueError, match="unknown precision 'f16'") as refused:
    compute.with_precision(own('linen'), 'f16')
  for known in kinds.PRECISIONS:
    assert known in str(refused.value)


def bytes_of(tree) -> int:
  return sum(x.nbytes for x in jax.tree.leaves(tree))


def same(tree, expected, tolerance: float) -> None:
  """Arrays that differ by no more than this share of their norm."""
  for ours, theirs in zip(
    jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True
  ):
    gap = np.linalg.norm(np.asarray(ours - theirs, 'f4'))
    assert gap <= tolerance * np.linalg.norm(np.asarray(theirs, 'f4')) + 1e-6


def kept(network, variables, inputs):
  """Value, new state and gradient in training, and what it keeps for that."""

  def loss(params):
    outputs, state = network.apply(
      {**variables, 'params': params}, inputs, train=True, rng=KEY
    )
    return (outputs['logits'] ** 2).mean(), state

  value, pull, state = jax.jit(
    lambda params: jax.vjp(loss, params, has_aux=True)
  )(variables['params'])
  return (value, state, pull(1.0)), bytes_of(pull)


class Drops(nn.Module):
  """Two blocks with dropout and norms."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    for i in range(2):
      x = tiny.Net(16, 0.5, name=f'block{i}')(x, train=train)['hidden']
    return nn.Dense(tiny.CLASSES)(x)


BLOCKS = {
  'resnet8': lambda: models.make_network('resnet8', 7),
  'vit_tiny': lambda: models.make_network('vit_tiny', 7, patch=4),
  'dropout': lambda: base.from_linen(Drops()),
  'low': lambda: compute.with_precision(
    models.make_network('resnet8', 7), 'bfloat16'
  ),
  'exits': lambda: models.make_network('resnet8', 7, exits=['stage1']),
}


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(n, marks=[] if n == 'dropout' else [pytest.mark.slow])
    for n in BLOCKS
  ],
)
def test_remat_keeps_less_and_gives_the_same(name):
  network = BLOCKS[name]()
  inputs = jax.random.normal(KEY, (64, 8, 8, 3))
  variables = network.init(KEY, inputs)
  again = compute.with_remat(network)
  expected, before = kept(network, variables, inputs)
  got, after = kept(again, variables, inputs)
  same(got, expected, 0.1 if name == 'low' else 1e-4)
  held = bytes_of((variables, inputs))
  assert after - held < 0.6 * (before - held)
  program = str(jax.make_jaxpr(again.apply)(variables, inputs))
  assert 'checkpoint' not in program and 'remat' not in program


@pytest.mark.parametrize('name', OWN)
def test_remat_of_any_other_network_is_of_the_whole(name):
  inputs = tiny.batch()['inputs']
  variables = own(name).init(KEY, inputs)
  expected, _ = kept(own(name), variables, inputs)
  got, after = kept(compute.with_remat(own(name)), variables, inputs)
  assert after <= 2 * bytes_of((variables, inputs))
  same(got, expected, 1e-5)


def test_remat_of_a_tapped_network_shows_each_block_once():
  network = base.from_linen(Drops(), ['block*'])
  inputs = tiny.batch()['inputs']
  variables = network.init(KEY, inputs)
  outputs, _ = compute.with_remat(network).apply(
    variables, inputs, train=True, rng=KEY
  )
  plain, _ = network.apply(variables, inputs, train=True, rng=KEY)
  assert outputs.keys() == plain.keys()


@pytest.mark.parametrize('name', ['resnet8', 'low', *OWN])
def test_microbatches_predict_the_same(name):
  network = BLOCKS[name]() if name in BLOCKS else own(name)
  inputs = jax.random.normal(KEY, (12, 4, 4, 3 if name in BLOCKS else 1))
  variables = network.init(KEY, inputs)
  expected, state = network.apply(variables, inputs)
  for parts in (2, 12):
    split = compute.in_microbatches(network, parts)
    outputs, after = jax.jit(split.apply)(variables, inputs)
    same((outputs, after), (expected, state), 1e-2 if name == 'low' else 1e-5)
    program = str(jax.make_jaxpr(split.apply)(variables, inputs))
    assert 'scan' in program
    assert f'{12 // parts},4,4' in program


def test_microbatches_leave_training_and_other_batches_alone():
  network = own('linen')
  split = compute.in_microbatches(network, 4)
  inputs = tiny.batch()['inputs']
  variables = network.init(KEY, inputs)
  for images, options in ((inputs, dict(train=True)), (inputs[:6], {})):
    got, expected = (
      n.apply(variables, images, **options) for n in (split, network)
    )
    jax.tree.map(np.testing.assert_array_equal, got, expected)
