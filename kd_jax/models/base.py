"""Makes networks, pairs of pure functions, from Linen, NNX or functions."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax.models import adapt, linen_bridge
from kd_jax.types import Outputs, PyTree, Variables


class Network(NamedTuple):
  """A network as two pure functions; its variables are an argument.

  `init(key, inputs) -> variables` takes an array or a ShapeDtypeStruct
  [B, H, W, C], of which it reads only shape and dtype; it may be traced.
  `apply(variables, inputs, *, train=False, rng=None, axis_name=None)
  -> (outputs, state)`: `outputs['logits']` is f32; `state` holds the
  collections of `variables` other than 'params', unchanged unless `train`.
  `rng` is a key for dropout. `axis_name` is the mapped axis under pmap, over
  which BatchNorm then computes its statistics.
  `head(variables) -> {'kernel' [D, K], 'bias' [K]}` is the last linear
  classifier, for methods that reuse the teacher's; None where it is unknown.
  """

  init: Callable[[jax.Array, PyTree], Variables]
  apply: Callable[..., tuple[Outputs, PyTree]]
  head: Callable[[Variables], Mapping[str, jax.Array]] | None = None


def from_linen(
  module: nn.Module,
  taps: Sequence[str] = (),
  head: str | Callable | None = None,
) -> Network:
  """A network from a Linen module that returns logits or a dict with 'logits'.

  Args:
    module: unbound; its `__call__(inputs)` may take one of `train`,
      `training`, `is_training`, `deterministic`, `use_running_average`.
    taps: glob patterns over module paths ('block1/*', 'Dense_0') and sown
      intermediates. The outputs of matching modules appear in the network's
      outputs under their path (those of a second call as 'path#1').
    head: path in `params` of the last linear layer ('Dense_2').

  Returns:
    Network. Its `apply` raises ValueError, with the known paths, for a tap
    that matches nothing.

  Raises:
    ValueError: it is no Linen module.
  """
  if not isinstance(module, nn.Module):
    raise ValueError(
      f'a Linen module is needed, such as Net(...), not {module!r}'
    )
  init, apply = linen_bridge.functions(module, adapt.patterns(taps))
  return Network(init, apply, _head(head) if isinstance(head, str) else head)


def from_nnx(
  make: Any, taps: Sequence[str] = (), head: str | Callable | None = None
) -> Network:
  """A network from `make(rngs) -> flax.nnx.Module`, or from a module.

  The network of a module is initialized to the module's values, for any key.

  The module returns logits or a dict with 'logits'. Its `nnx.Param`s are the
  parameters, its other variables the state; its random streams start from
  `rng` at every call. Taps and head are as in `from_linen`, with paths such as
  'blocks/0/conv'.
  """
  # Linen works with versions of JAX with which nnx does not import.
  from kd_jax.models import nnx_bridge

  init, apply = nnx_bridge.functions(make, adapt.patterns(taps))
  return Network(init, apply, _head(head) if isinstance(head, str) else head)


def is_nnx(value: Any) -> bool:
  """Whether a value is an NNX module; does not import nnx."""
  return any(
    kind.__name__ == 'Module' and kind.__module__.startswith('flax.nnx')
    for kind in type(value).__mro__
  )


def from_function(apply: Callable[..., Any], variables: PyTree) -> Network:
  """A network from a pure `apply(variables, inputs)` and its variables.

  Args:
    apply: returns logits [B, ..., K] or a dict with 'logits'; receives
      `train`, `rng` and `axis_name` where its signature names them.
    variables: any pytree of arrays; without 'params' all of it is parameters.

  Returns:
    Network whose `init` returns `variables`, for any key.
  """
  bare = not (isinstance(variables, Mapping) and 'params' in variables)
  taken = inspect.signature(apply).parameters

  def init(key, inputs):
    del key, inputs
    arrays = jax.tree.map(jnp.asarray, variables)
    return {'params': arrays} if bare else dict(arrays)

  def call(variables, inputs, *, train=False, rng=None, axis_name=None):
    options = {'train': train, 'rng': rng, 'axis_name': axis_name}
    options = {k: v for k, v in options.items() if k in taken}
    arrays = variables['params'] if bare else variables
    outputs = adapt.as_outputs(apply(arrays, inputs, **options))
    return outputs, adapt.collections(variables)

  return Network(init, call)


def make_forward(network: Network) -> Callable[[Variables, PyTree], jax.Array]:
  """Makes (variables, inputs [B, ...]) -> logits, without train mode."""

  def forward(variables, inputs):
    outputs, _ = network.apply(variables, inputs, train=False)
    return outputs['logits']

  return forward


def variable_shapes(network: Network, inputs: PyTree) -> Variables:
  """The variables of a network as shapes, for inputs or their shapes [B, ...].

  JAX caches the trace by function and input shape.
  """
  return jax.eval_shape(network.init, jax.random.key(0), inputs)


def output_shapes(network: Network, inputs: PyTree) -> Outputs:
  """The outputs of a network as shapes, for inputs or their shapes [B, ...].

  Raises:
    ValueError: one line, where the inputs are vectors [B, D] that it cannot
      read: a network for images.
  """
  try:
    variables = variable_shapes(network, inputs)
    return jax.eval_shape(network.apply, variables, inputs)[0]
  except Exception as error:
    if len(getattr(inputs, 'shape', ())) != 2:
      raise
    why = f'{type(error).__name__}: {error}'.split('\n')[0]
    raise ValueError(
      f'the network cannot read vectors [N, {inputs.shape[1]}] ({why}); give '
      "it images [N, H, W, C], or take a network for vectors, such as 'mlp'"
    ) from error


def num_params(variables: Variables) -> int:
  """The number of scalars in 'params'; `variables` may be shapes."""
  return sum(math.prod(x.shape) for x in jax.tree.leaves(variables['params']))


def _matrix(kernel):
  """[D, K] of a dense layer, or of a 1x1 convolution's [1, 1, D, K]."""
  if len(kernel.shape) == 2:
    return kernel
  if isinstance(kernel, jax.ShapeDtypeStruct):
    return jax.ShapeDtypeStruct(kernel.shape[2:], kernel.dtype)
  return kernel.reshape(kernel.shape[2:])


def _head(path):
  """Makes variables -> the linear layer at `path` of 'params'."""

  def head(variables):
    node = variables['params']
    for part in path.split('/'):
      if part not in node:
        raise ValueError(
          f"no layer '{path}' for the head; known here: {', '.join(node)}"
        )
      node = node[part]
    kernel = _matrix(node['kernel'])
    bias = node.get('bias')
    if bias is None:
      bias = jnp.zeros(kernel.shape[-1:], kernel.dtype)
    return {'kernel': kernel, 'bias': bias}

  return head
