"""Precision: what a network computes in, and what stays f32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from kd_jax import kinds, models
from kd_jax.models import base, compute
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
  assert products.operands(program) == {BF16}
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
