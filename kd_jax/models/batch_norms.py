"""Reads what the batch norms of a network see, beside its outputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax.models import base
from kd_jax.types import Outputs, PyTree, Variables

KEY = 'batch_norms'


def read(network: base.Network) -> base.Network:
  """`network`, whose outputs tell the moments of its batch norms' inputs too.

  `outputs['batch_norms']` is {path of the layer: `moments`}, in the order of
  the forward pass, where it is not in training; {} of a network without batch
  norms of Linen that have running statistics. Nothing is computed of what no
  loss reads.
  """

  def apply(
    variables: Variables, inputs: PyTree, *, train: bool = False, **options
  ) -> tuple[Outputs, PyTree]:
    if train:
      return network.apply(variables, inputs, train=True, **options)
    reader = _Reader()
    with nn.intercept_methods(reader):
      outputs, state = network.apply(variables, inputs, **options)
    return {**outputs, KEY: reader.layers}, state

  return network._replace(apply=apply)


def moments(
  x: jax.Array, mean: jax.Array, var: jax.Array
) -> dict[str, jax.Array]:
  """The moments of each example about the running mean.

  Those of a batch are means of them, on one device or gathered from several.

  Args:
    x: the input of a batch norm [B, ..., C].
    mean, var: running statistics [C].

  Returns:
    f32 [B, C] each: 'mean' of x - mean and 'square' of its square, over space;
    'var', the running variance in the place of each example.
  """
  shift = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])
  shift -= mean.reshape(1, 1, -1)
  return {
    'mean': shift.mean(1),
    'square': (shift**2).mean(1),
    'var': jnp.broadcast_to(var, (x.shape[0], x.shape[-1])),
  }


class _Reader:
  """Intercepts the calls of batch norms that use their running statistics.

  Attributes:
    layers: {path: moments} so far.
  """

  def __init__(self):
    self.layers: dict[str, dict[str, jax.Array]] = {}

  def __call__(self, call: Callable, args: tuple, kwargs: dict, context: Any):
    module = context.module
    if isinstance(module, nn.BatchNorm) and context.method_name == '__call__':
      statistics = module.variables.get('batch_stats', {})
      if 'mean' in statistics:
        name = '/'.join(module.path)
        self.layers[name] = moments(args[0], **statistics)
    return call(*args, **kwargs)
