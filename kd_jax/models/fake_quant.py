"""Training for int8: weights and activations rounded as int8 will round them.

Quantized are the kernels (per output channel, symmetric, 127 steps a side) and
the inputs (one range a layer, 255 steps) of every Linen `Conv` and `Dense`.
Biases, norms, sums and products of activations stay f32. Rounding passes
gradients straight through; what lies beyond a range passes none.
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
  """What one forward pass knows and learns of its activations.

  Attributes:
    old: {layer: {'low', 'high'}}.
    new: filled while the network is traced.
    train: whether the ranges move.
    axis_name: over which batches are spread, or None.
  """

  old: dict
  new: dict
  train: bool
  axis_name: str | None


def round_through(x: jax.Array) -> jax.Array:
  """The nearest integer, with the gradient of the identity."""
  return x + jax.lax.stop_gradient(jnp.round(x) - x)


def fake_weights(kernel: jax.Array) -> jax.Array:
  """A kernel [..., O] as int8 can hold it, a scale for each output channel.

  w' = s round(w / s), s = max |w| / 127 over all but the last axis.

  Returns:
    f32 of the same shape; its gradient is that of the identity.

  Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference",
    https://arxiv.org/abs/1712.05877, section 3, with a scale a channel as in
    Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 3.1.
  """
  axes = tuple(range(kernel.ndim - 1))
  scale = jnp.abs(kernel).max(axes, keepdims=True) / 127
  scale = jax.lax.stop_gradient(jnp.where(scale > 0, scale, 1.0))
  return scale * round_through(kernel / scale)


def fake_activations(
  x: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
  """Activations as int8 can hold them: 255 steps from low to high.

  x' = s (clip(round(x / s) + z, 0, 255) - z), s = (high - low) / 255,
  z = round(-low / s), so that 0 is held exactly.

  Args:
    x: of any shape.
    low, high: f32 [], low <= 0 <= high.

  Returns:
    As x; the gradient is that of the clip.

  Source: as `fake_weights`, section 3.1 there.
  """
  low, high = map(jax.lax.stop_gradient, (low, high))
  scale = (high - low) / 255
  scale = jnp.where(scale > 0, scale, 1.0)
  zero = jnp.round(-low / scale)
  steps = jnp.clip(round_through(x / scale) + zero, 0, 255)
  return scale * (steps - zero)


def wrap(network: base.Network, scheme: str = 'int8') -> base.Network:
  """`network`, fake-quantized in training and when it predicts.

  Its variables gain the collection 'ranges', exponential means (0.99) of the
  least and greatest input of each layer over the training batches, the first
  batch as it is.

  Args:
    network: of Linen modules.
    scheme: one of SCHEMES.

  Raises:
    ValueError: an unknown scheme; from `init`, a network without layers.
  """
  if scheme not in SCHEMES:
    raise types.unknown('quantize', scheme, SCHEMES)

  def init(key, inputs):
    own = network.init(key, inputs)
    found = layers(network, own, inputs)
    if not found:
      raise ValueError(
        "quantize='int8' finds no Conv or Dense of Linen in this network"
      )
    nothing = {k: jnp.zeros((), jnp.float32) for k in ('low', 'high')}
    return {**own, RANGES: {layer: dict(nothing) for layer in found}}

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    seen = Ranges(variables[RANGES], {}, train, axis_name)
    own = without(variables)
    outputs, carried = _apply(
      network, seen, own, inputs, train=train, rng=rng, axis_name=axis_name
    )
    return outputs, {**carried, RANGES: seen.new or seen.old}

  return base.Network(init, apply, network.head)


def layers(network: base.Network, variables, inputs) -> list[str]:
  """The layers of a network that `wrap` quantizes, in the order they run."""
  seen = Ranges({}, {}, True, None)
  jax.eval_shape(lambda v, x: _apply(network, seen, v, x), variables, inputs)
  return list(seen.new)


def without(variables: types.Variables) -> dict:
  """The variables of the network that was wrapped."""
  return {k: v for k, v in variables.items() if k != RANGES}


def _apply(network, seen, variables, inputs, **options):
  """Applies a network, every layer of it intercepted."""

  def intercept(call, args, kwargs, context):
    module = context.module
    if context.method_name != '__call__' or not isinstance(
      module, (nn.Conv, nn.Dense)
    ):
      return call(*args, **kwargs)
    return call(_observed(seen, module, args[0]), *args[1:], **kwargs)

  params = jax.tree_util.tree_map_with_path(_weights, variables['params'])
  with nn.intercept_methods(intercept):
    return network.apply({**variables, 'params': params}, inputs, **options)


def _weights(path, leaf):
  named = getattr(path[-1], 'key', None) == 'kernel'
  return fake_weights(leaf) if named and leaf.ndim > 1 else leaf


def _observed(seen: Ranges, module, x):
  """The input of a layer, rounded; its range, moved."""
  layer = name = '.'.join(module.path) or type(module).__name__
  count = 1
  while name in seen.new:
    name, count = f'{layer}#{count}', count + 1
  if not seen.old:
    seen.new[name] = None
    return x
  old = seen.old[name]
  seen.new[name] = _moved(old, x, seen.axis_name) if seen.train else old
  return fake_activations(x, **seen.new[name]).astype(x.dtype)


def _moved(old, x, axis_name):
  """The range with that of a batch taken in."""
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
