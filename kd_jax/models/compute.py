"""Says how a network computes, which is apart from what it is.

The variables of a network are f32 wherever they are kept: in a state, in a
folder, in a checkpoint. A run may compute it in another precision, in parts of
a batch, or twice to keep less.
"""

import contextlib
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

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


@functools.lru_cache(256)
def in_microbatches(network: base.Network, parts: int) -> base.Network:
  """`network`, which predicts for a batch in parts, one after the other.

  Memory of its activations falls to a share of 1 / parts. Its outputs are the
  same to rounding. Training, and a batch that does not divide, are as before.

  Args:
    network: whose predictions of an example depend on no other, as those of
      every network outside of training should.
    parts: of a batch; part i has the examples i, i + parts, .. so that a batch
      over several devices stays where it is.
  """

  def apply(variables, inputs, *, train=False, **options):
    whole = functools.partial(network.apply, train=train, **options)
    (size,) = {x.shape[0] for x in jax.tree.leaves(inputs)}
    if train or size % parts:
      return whole(variables, inputs)
    outputs = jax.lax.map(
      lambda part: whole(variables, part)[0],
      jax.tree.map(
        lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), inputs
      ),
    )
    joined = jax.tree.map(
      lambda x: x.swapaxes(0, 1).reshape(size, *x.shape[2:]), outputs
    )
    return joined, adapt.collections(variables)

  return network._replace(apply=apply)


@functools.lru_cache(256)
def with_remat(network: base.Network) -> base.Network:
  """`network`, which in training keeps few activations for its gradient.

  Of a Linen network without taps the inputs of its blocks are kept, and the
  backward pass computes each block again; blocks are the modules under the
  outermost one that are no layers of Linen. Any other network is computed
  again as a whole: of use where several train at once, or a teacher and the
  losses need the memory in between. Gradients are the same to rounding.

  Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost",
    https://arxiv.org/abs/1604.06174, section 4.
  """

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    def whole(variables, inputs, rng):
      return network.apply(
        variables, inputs, train=train, rng=rng, axis_name=axis_name
      )

    if not train:
      return whole(variables, inputs, rng)
    blocks = _Blocks()
    with nn.intercept_methods(blocks):
      result = whole(variables, inputs, rng)
    if blocks.count:
      return result
    return jax.checkpoint(whole)(variables, inputs, rng)

  return network._replace(apply=apply)


class _Blocks:
  """Intercepts the calls of a Linen network's blocks: `nn.remat` of each.

  Attributes:
    count: blocks so far.
  """

  def __init__(self):
    self.count, self._inside = 0, False

  def __call__(self, call, args, kwargs, context):
    module = context.module
    if (
      self._inside
      or context.method_name != '__call__'
      or len(module.path) != 1
      or type(module).__module__.startswith('flax.')
      # Taps would see the call of a block twice.
      or module.is_mutable_collection('intermediates')
    ):
      return call(*args, **kwargs)
    self.count += 1
    leaves, tree = jax.tree.flatten((args, kwargs))
    traced = [isinstance(x, jax.Array) for x in leaves]

    def run(module, arrays):
      arrays = iter(arrays)
      filled = [next(arrays) if t else x for t, x in zip(traced, leaves)]
      args, kwargs = jax.tree.unflatten(tree, filled)
      return module(*args, **kwargs)

    with self._in_block():
      return nn.remat(run)(module, [x for t, x in zip(traced, leaves) if t])

  @contextlib.contextmanager
  def _in_block(self):
    self._inside = True
    try:
      yield
    finally:
      self._inside = False
