"""What is written as ONNX gives in onnxruntime what JAX gives."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kd_jax import models
from kd_jax.export import formats
from kd_jax.export.onnx import writer
from kd_jax.models import base, layers, vit
from tests.helpers import networks_on_disk

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

SIDE = (8, 6, 4)


def close(network, tmp_path: pathlib.Path, shape=SIDE, seed=0):
  """Asserts equality with JAX at two sizes of the batch; the model."""
  images = np.random.default_rng(seed).normal(size=(3, *shape)).astype('f4')
  variables = jax.jit(network.init)(jax.random.key(0), images)
  path = tmp_path / 'model.onnx'
  job = formats.Job(network, variables, shape, {}, '', 'jax', None)
  writer.write(job, path)
  run = writer.make_run(job, path)
  wanted = jax.jit(network.apply)(variables, images)[0]['logits']
  bound = 1e-5 * np.abs(wanted).max()
  assert bound > 0
  for count in (3, 1):
    got = run(images[:count])
    np.testing.assert_allclose(got, wanted[:count], rtol=0, atol=bound)
  return onnx.load(path)


def operations(model) -> list[str]:
  return [node.op_type for node in model.graph.node]


ZOO = {
  'cnn': (models.make_network('cnn', 5, hidden=8), (9, 8, 3)),
  'mlp': (models.make_network('mlp', 5, widths=[7]), (3, 3, 1)),
  'exits': (
    models.make_network('mlp', 5, widths=[7, 6], exits=['hidden1']),
    (3, 3, 1),
  ),
  'branches': (
    models.make_network(
      'cnn', 5, hidden=4, branches={'layer': 'pool1', 'count': 2}
    ),
    (8, 8, 1),
  ),
  'resnet8': (models.make_network('resnet8', 5), (9, 8, 3)),
  'transformer': (base.from_linen(vit.ViT(16, 1, 2, 5, 4, True)), (8, 8, 3)),
}


@pytest.mark.parametrize('name', ZOO)
def test_networks_are_equal_at_any_batch(name, tmp_path):
  network, shape = ZOO[name]
  model = close(network, tmp_path, shape)
  sides = model.graph.input[0].type.tensor_type.shape.dim
  assert sides[0].dim_param == 'batch'
  assert [d.dim_value for d in sides[1:]] == list(shape)


def test_pools_and_relu_are_what_runtimes_know(tmp_path):
  network, shape = ZOO['cnn']
  found = operations(close(network, tmp_path, shape))
  assert found.count('MaxPool') == found.count('Conv') == 2
  assert 'Relu' in found
  assert not {'ReduceMax', 'Max', 'Expand'} & set(found)


def _conv(groups=1, size=3, **options):
  return nn.Conv(
    8, (size, size), padding='SAME', feature_group_count=groups, **options
  )


# Functions of [B, 8, 6, 4], each with operations that others lack.
FUNCTIONS = {
  'dilated': _conv(kernel_dilation=(2, 2)),
  'strided': _conv(strides=(2, 3)),
  'grouped': _conv(groups=2),
  'fast forms': networks_on_disk.Shuffle(),
  'max_pool': lambda x: nn.max_pool(x, (3, 3), (2, 2), 'SAME'),
  'avg_pool': lambda x: nn.avg_pool(x, (2, 3), (2, 3)),
  'max_pool_3_2': layers.max_pool_3_2,
  'layer_norm': nn.LayerNorm(),
  'erf': lambda x: nn.gelu(x, approximate=False),
  'tanh': nn.gelu,
  'softmax': nn.softmax,
  'silu': lambda x: nn.silu(x) + nn.relu6(3 * x) + nn.hard_swish(x),
  'elu': lambda x: nn.elu(x) + nn.leaky_relu(x),
  'softplus': lambda x: jnp.log1p(jnp.abs(x)) + jnp.expm1(-jnp.square(x)),
  'where': lambda x: jnp.where((x > 0) & (x != 1), x**3, jnp.floor(x)),
  'clip': lambda x: jnp.clip(jnp.round(4 * x), -2, 3),
  'einsum': lambda x: jnp.einsum('bhwc,bhvc->bhwv', x, x),
  'einsum_odd': lambda x: jnp.einsum('bhwc,hwd->bcd', x, jnp.ones((8, 6, 2))),
  'class_token': lambda x: jnp.concatenate(
    [jnp.broadcast_to(jnp.arange(4.0), (x.shape[0], 8, 1, 4)), x], 2
  ),
  'slices': lambda x: x[:, 1:7:2, ::-1, 1:3] + x[:, :3, 0:1, :1],
  'subsampled': lambda x: x[:, ::2, 1::2] + x[:, 3:4, 2, None],
  'index': lambda x: x[:, jnp.array([5, 0, 2])][:, :, 1],
  'pad': lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0), (0, 1))),
  'extremes': lambda x: x.max(1) - x.min(1) + x[:, 0].prod(-1, keepdims=True),
  'norm': lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True),
  'running_sums': lambda x: (
    jnp.cumsum(x, 2) + jax.lax.cumsum(x, 1, reverse=True)
  ),
  'computed_places': lambda x: jnp.arange(36.0).reshape(6, 6)[jnp.argmax(x, 2)],
  'argmax': lambda x: jnp.sign(x) * jnp.sqrt(jnp.abs(x)) + jnp.tanh(x),
}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_operations_are_equal(name, tmp_path):
  function = FUNCTIONS[name]
  if isinstance(function, nn.Module):
    network = base.from_linen(function)
  else:
    network = base.from_function(lambda v, x: function(x), {'params': {}})
  close(network, tmp_path)


def test_norm_is_folded_into_constants(tmp_path):
  """Mean, variance and scale of a BatchNorm become two constants."""
  module = nn.BatchNorm()
  found = operations(close(base.from_linen(module), tmp_path))
  assert sorted(found) == ['Add', 'Add', 'Identity', 'Mul']


REFUSED = {
  "operation 'sort'": lambda x: jnp.sort(x, -1),
  "operation 'cummax'": lambda x: jax.lax.cummax(x, 1),
  'transposed convolution': lambda x: jax.lax.conv_transpose(
    x, jnp.ones((3, 3, 4, 2)), (2, 2), 'SAME'
  ),
  'bfloat16': lambda x: (x.astype(jnp.bfloat16) * 2).astype(jnp.float32),
  'size of the batch|any size': lambda x: (
    x[: x.shape[0] // 2] if x.shape[0] > 2 else x
  ),
}


@pytest.mark.parametrize('words', REFUSED)
def test_what_onnx_lacks_is_named_in_one_line(words, tmp_path):
  function = REFUSED[words]
  network = base.from_function(lambda v, x: function(x), {'params': {}})
  job = formats.Job(network, {'params': {}}, SIDE, {}, '', 'jax', None)
  with pytest.raises(ValueError, match=words) as caught:
    writer.write(job, tmp_path / 'model.onnx')
  assert '\n' not in str(caught.value)
  assert not list(tmp_path.iterdir())
