"""The variables of a Linen module, drawn without running it."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import types


def init(module: nn.Module, rngs, *inputs, **options) -> types.Variables:
  """What `module.init` draws; only the shapes of the inputs count.

  Args:
    module: of Linen.
    rngs: a key, or {stream: key}.
    *inputs: trees of arrays or `jax.ShapeDtypeStruct`s.
    **options: of the module's call.
  """
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs
  )
  if isinstance(jax.tree.leaves(rngs)[0], jax.core.Tracer):
    # Nothing is run within a trace, and this is traced faster.
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return module.init(rngs, *zeros, **options)
  # The forward pass that shapes the parameters is never run, and the draws
  # are compiled once a shape, not once a network.
  return module.lazy_init(rngs, *shapes, **options)
