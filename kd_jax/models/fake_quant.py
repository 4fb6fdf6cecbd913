"""Quantization-aware training: rounds weights and activations as int8 does.

It quantizes the kernels (per output channel, symmetric, 127 steps per side)
and the inputs (one range per layer, 255 steps) of every Linen `Conv` and
`Dense`. Biases, norms, sums and products of activations stay f32. Rounding has
the gradient of the identity; a value beyond its range has gradient zero.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import types
from kd_jax.models import base

RANGES = 'ranges'  # the collection: {layer: {'low', 'high'}}, f32 []
MOMENTUM = 0.99
SCHEMES = ('int8',)


class Ranges(NamedTuple):
  """The ranges of activations before and after one forward pass.

  Attributes:
    old: {layer: {'low', 'high'}}.
    new: filled while the network is traced.
    train: whether the ranges are updated.
    axis_name: the mapped axis over which a batch is split, or None.
  """

  old: dict
  new: dict
  train: bool
  axis_name: str | None


def round_through(x: jax.Array) -> jax.Array:
  """The nearest integer, with the gradient of the identity."""
  return x + jax.lax.stop_gradient(jnp.round(x) - x)


def fake_weights(kernel: jax.Array) -> jax.Array:
  """Rounds a kernel [..., O] to int8, with a scale for each output channel.

  w' = s round(w / s), s = max |w| / 127 over all but the last axis.

  Returns:
    f32 of the same shape; its gradient is that of the identity.

  Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference",
    https://arxiv.org/abs/1712.05877, section 3, with a scale per channel as in
    Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 3.1.
  """
  axes = tuple(range(kernel.ndim - 1))
  scale = jnp.abs(kernel).max(axes, keepdims=True) / 127
  scale = jax.lax.stop_gradient(jnp.where(scale > 0, scale, 1.0))
  return scale * round_through(kernel / scale)


def fake_activations(
  x: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
  """Rounds activations to int8: 255 steps from low to high.

  x' = s (clip(round(x / s) + z, 0, 255) - z), s = (high - low) / 255,
  z = round(-low / s), so 0 is represented exactly.

  Args:
    x: of any shape.
    low, high: f32 [], low <= 0 <= high.

  Returns:
    Of the shape of x; the gradient is that of the clip.

  Source: as for `fake_weights`, section 3.1.
  """
  low, high = map(jax.lax.stop_gradient, (low, high))
  scale = (high - low) / 255
  scale = jnp.where(scale > 0, scale, 1.0)
  zero = jnp.round(-low / scale)
  steps = jnp.clip(round_through(x / scale) + zero, 0, 255)
  return scale * (steps - zero)


def wrap(network: base.Network, scheme: str = 'int8') -> base.Network:
  """`network`, fake-quantized in training and in prediction.

  Its variables gain the collection 'ranges': exponential means (0.99) of the
  smallest and largest input of each layer over the training batches, starting
  with the first batch.

  Args:
    network: of Linen modules.
    scheme: one of SCHEMES.

  Raises:
    ValueError: an unknown scheme; from `init`, a network without layers.
  """
  if scheme not in SCHEMES:
    raise types.unknown('quantize', scheme, SCHEMES)

  def init(key, inputs):
    variables = network.init(key, inputs)
    names = layers(network, variables, inputs)
    if not names:
      raise ValueError(
        "quantize='int8' finds no Conv or Dense of Linen in this network"
      )
    empty = {k: jnp.zeros((), jnp.float32) for k in ('low', 'high')}
    return {**variables, RANGES: {layer: dict(empty) for layer in names}}

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    ranges = Ranges(variables[RANGES], {}, train, axis_name)
    variables = without(variables)
    outputs, state = _apply(
      network,
      ranges,
      variables,
      inputs,
      train=train,
      rng=rng,
      axis_name=axis_name,
    )
    return outputs, {**state, RANGES: ranges.new or ranges.old}

  return base.Network(init, apply, network.head)


def layers(network: base.Network, variables, inputs) -> list[str]:
  """The layers of a network that `wrap` quantizes, in the order of calls."""
  ranges = Ranges({}, {}, True, None)
  jax.eval_shape(lambda v, x: _apply(network, ranges, v, x), variables, inputs)
  return list(ranges.new)


def without(variables: types.Variables) -> dict:
  """The variables of the wrapped network, without the ranges."""
  return {k: v for k, v in variables.items() if k != RANGES}


def _apply(network, ranges, variables, inputs, **options):
  """Applies a network, with every layer intercepted."""

  def intercept(call, args, kwargs, context):
    module = context.module
    if context.method_name != '__call__' or not isinstance(
      module, (nn.Conv, nn.Dense)
    ):
      return call(*args, **kwargs)
    return call(_quantized(ranges, module, args[0]), *args[1:], **kwargs)

  params = jax.tree_util.tree_map_with_path(_weights, variables['params'])
  with nn.intercept_methods(intercept):
    return network.apply({**variables, 'params': params}, inputs, **options)


def _weights(path, leaf):
  is_kernel = getattr(path[-1], 'key', None) == 'kernel'
  return fake_weights(leaf) if is_kernel and leaf.ndim > 1 else leaf


def _quantized(ranges: Ranges, module, x):
  """The rounded input of a layer; also updates its range."""
  layer = name = '.'.join(module.path) or type(module).__name__
  count = 1
  while name in ranges.new:
    name, count = f'{layer}#{count}', count + 1
  if not ranges.old:
    ranges.new[name] = None
    return x
  old = ranges.old[name]
  ranges.new[name] = _updated(old, x, ranges.axis_name) if ranges.train else old
  return fake_activations(x, **ranges.new[name]).astype(x.dtype)


def _updated(old, x, axis_name):
  """The exponential mean of a range and that of a batch."""
  x = jax.lax.stop_gradient(x).astype(jnp.float32)
  low, high = jnp.minimum(x.min(), 0.0), jnp.maximum(x.max(), 0.0)
  if axis_name is not None:
    low = jax.lax.pmin(low, axis_name)
    high = jax.lax.pmax(high, axis_name)
  first = old['high'] <= old['low']
  keep = jnp.where(first, 0.0, MOMENTUM)
  return {
    'low': keep * old['low'] + (1 - keep) * low,
    'high': keep * old['high'] + (1 - keep) * high,
  }
