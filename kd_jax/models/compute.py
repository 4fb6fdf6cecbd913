"""Says how a network computes, which is apart from what it is.

The variables of a network are f32 wherever they are kept: in a state, in a
folder, in a checkpoint. A run may compute it in another precision.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kd_jax import kinds, types
from kd_jax.models import adapt, base

FULL, LOW, HIGHEST = kinds.PRECISIONS


@functools.lru_cache(256)  # JAX caches compilation by a function's identity
def with_precision(network: base.Network, precision: str) -> base.Network:
  """`network`, which computes in a precision; its variables stay f32.

  'float32': products of f32 as JAX's default has them, which on a GPU is TF32;
  'highest': in all digits of f32. 'bfloat16': parameters and inputs are rounded
  to bf16 on their way in, so that all is bf16 that the network does not itself
  ask to be wider (a module whose `dtype` is set keeps it; norms sum in f32).
  Outputs, new statistics and gradients are f32.

  Args:
    network: any.
    precision: one of `kinds.PRECISIONS`.

  Raises:
    ValueError: an unknown precision.
  """
  if precision not in kinds.PRECISIONS:
    raise types.unknown('precision', precision, kinds.PRECISIONS)

  def in_low(variables, inputs, **options):
    kept = adapt.collections(variables)
    outputs, state = network.apply(
      lower(variables), _floats(inputs, jnp.bfloat16), **options
    )
    state = {
      k: jax.tree.map(lambda x, old: x.astype(old.dtype), new, kept[k])
      if k in kept
      else new
      for k, new in state.items()
    }
    return _floats(outputs, jnp.float32), state

  def head(variables):
    return _floats(network.head(variables), jnp.float32)

  if precision != LOW:
    matmuls = {FULL: 'default', HIGHEST: HIGHEST}[precision]
    return network._replace(apply=at_matmuls(network.apply, matmuls))
  return base.Network(network.init, in_low, network.head and head)


def at_matmuls(function: Callable, name: str) -> Callable:
  """`function`, traced with this `jax.default_matmul_precision`."""

  def traced(*args, **options):
    with jax.default_matmul_precision(name):
      return function(*args, **options)

  return traced


def lower(variables: types.Variables) -> types.Variables:
  """Variables with bf16 parameters; statistics stay as they are.

  A network of `with_precision(.., 'bfloat16')` gives the same outputs for
  these, in half of the memory: frozen variables are rounded only once.
  """
  return {**variables, 'params': _floats(variables['params'], jnp.bfloat16)}


def _floats(tree: types.PyTree, dtype) -> types.PyTree:
  """A tree of arrays, whose floating ones are of this dtype."""
  return jax.tree.map(
    lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
    tree,
  )
