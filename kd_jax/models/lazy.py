"""Initializes Linen modules without running their forward pass."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import types


def init(module: nn.Module, rngs, *inputs, **options) -> types.Variables:
  """The variables that `module.init` returns.

  Args:
    module: of Linen.
    rngs: a key, or {stream: key}.
    *inputs: trees of arrays or `jax.ShapeDtypeStruct`s; only shapes and dtypes
      are read.
    **options: of the module's call.
  """
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs
  )
  if isinstance(jax.tree.leaves(rngs)[0], jax.core.Tracer):
    # Within a trace nothing runs, and `init` traces faster.
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return module.init(rngs, *zeros, **options)
  # The forward pass is only traced; each parameter's initializer is compiled
  # once per shape, not once per network.
  return module.lazy_init(rngs, *shapes, **options)
