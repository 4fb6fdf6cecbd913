"""A network: two pure functions, made from Linen, NNX or any function."""

import contextlib
import fnmatch
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from kd_jax.types import Array, Outputs, PyTree, Variables

# The names under which modules take "we are training" (True: as it is).
_TRAIN_FLAGS = {
  'train': True,
  'training': True,
  'is_training': True,
  'deterministic': False,
  'use_running_average': False,
}


class Network(NamedTuple):
  """Two pure functions that are a network; what changes is an argument.

  `init(key, inputs) -> variables` takes an array or a ShapeDtypeStruct
  [B, H, W, C] of which only shape and dtype matter; it may be traced.
  `apply(variables, inputs, *, train=False, rng=None, axis_name=None)
  -> (outputs, state)`: `outputs['logits']` is f32; `state` holds the
  collections of `variables` other than 'params', unchanged unless `train`.
  `rng` is a key for dropout. `axis_name` names the mapped axis under pmap,
  over which BatchNorm then takes its statistics.
  `head(variables) -> {'kernel' [D, K], 'bias' [K]}` is the last linear
  classifier, for methods that reuse a teacher's; None where it is not known.
  """

  init: Callable[[Array, PyTree], Variables]
  apply: Callable[..., tuple[Outputs, PyTree]]
  head: Callable[[Variables], Mapping[str, Array]] | None = None


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
      intermediates; what they match appears in the outputs under its path
      (a second call of the same module as 'path#1').
    head: path in `params` of the last linear layer ('Dense_2').

  Returns:
    Network. Its `apply` raises ValueError, with the known paths, for a tap
    that matches nothing.
  """
  taps = _patterns(taps)
  flags = train_flags(type(module).__call__)

  def init(key, inputs):
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inputs)

    def draw(key):
      keys = {'params': key, 'dropout': jax.random.fold_in(key, 1)}
      return module.init(keys, zeros, **flags(False))

    # Under jit the forward pass that shapes the parameters is never run.
    return jax.jit(draw)(key)

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    state = carried(variables)
    mutable = list(state) if train else []
    capture = False
    if taps:
      mutable.append('intermediates')
      capture = _matcher(taps)
    with _synchronized(axis_name):
      result = module.apply(
        variables, inputs, **flags(train), rngs=_streams(rng),
        mutable=mutable or False, capture_intermediates=capture,
      )
    value, new = result if mutable else (result, {})
    outputs = as_outputs(value)
    if taps:
      tapped = _select(new.get('intermediates', {}), taps)
      check_taps(
        taps, tapped,
        functools.partial(_paths, module, variables, inputs, flags(False)),
      )
      outputs = {**tapped, **outputs}
    return outputs, {name: new.get(name, state[name]) for name in state}

  return Network(init, apply, _head(head) if isinstance(head, str) else head)


def from_nnx(
  make: Callable[[Any], Any],
  taps: Sequence[str] = (),
  head: str | Callable | None = None,
) -> Network:
  """A network from `make(rngs) -> flax.nnx.Module`.

  The module returns logits or a dict with 'logits'. Parameters are its
  `nnx.Param`s, state its other variables; its random streams are drawn anew
  from `rng` at every call. Taps and head as in `from_linen`, with paths such
  as 'blocks/0/conv'.
  """
  # nnx does not import beside every JAX that Linen works with.
  from kd_jax.models import nnx_bridge

  init, apply = nnx_bridge.functions(make, _patterns(taps))
  return Network(init, apply, _head(head) if isinstance(head, str) else head)


def from_function(apply: Callable[..., Any], variables: PyTree) -> Network:
  """A network from a pure `apply(variables, inputs)` and its variables.

  Args:
    apply: returns logits [B, ..., K] or a dict with 'logits'; is given
      `train`, `rng` and `axis_name` where its signature names them.
    variables: any pytree of arrays; one without 'params' is the parameters.

  Returns:
    Network whose `init` returns `variables`, whatever the key.
  """
  bare = not (isinstance(variables, Mapping) and 'params' in variables)
  taken = inspect.signature(apply).parameters

  def init(key, inputs):
    del key, inputs
    held = jax.tree.map(jnp.asarray, variables)
    return {'params': held} if bare else dict(held)

  def call(variables, inputs, *, train=False, rng=None, axis_name=None):
    options = {'train': train, 'rng': rng, 'axis_name': axis_name}
    options = {k: v for k, v in options.items() if k in taken}
    own = variables['params'] if bare else variables
    return as_outputs(apply(own, inputs, **options)), carried(variables)

  return Network(init, call)


def num_params(variables: Variables) -> int:
  """The number of trained scalars: those in 'params', shapes suffice."""
  return sum(math.prod(x.shape) for x in jax.tree.leaves(variables['params']))


def carried(variables: Variables) -> dict[str, PyTree]:
  """The collections that training carries along without a gradient."""
  return {k: v for k, v in variables.items() if k != 'params'}


def as_outputs(value: Any) -> dict[str, Array]:
  """Outputs of what a module returned: logits [B, ..., K] or a dict."""
  outputs = dict(value) if isinstance(value, Mapping) else {'logits': value}
  if not hasattr(outputs.get('logits'), 'dtype'):
    got = type(value).__name__
    if isinstance(value, Mapping):
      got += f" with keys {', '.join(map(str, value)) or 'none'}"
    raise ValueError(
      f"a network must return logits or a dict with 'logits'; got a {got}"
    )
  outputs['logits'] = outputs['logits'].astype(jnp.float32)
  return outputs


def train_flags(call: Callable) -> Callable[[bool], dict[str, bool]]:
  """How to tell `call` whether it trains: keyword arguments that it takes."""
  names = [n for n in inspect.signature(call).parameters if n in _TRAIN_FLAGS]
  return lambda train: {n: train == _TRAIN_FLAGS[n] for n in names}


def check_taps(
  taps: Sequence[str],
  found: Mapping[str, Array],
  known: Callable[[], Sequence[str]],
) -> None:
  """Raises ValueError, listing `known()`, for a tap that matched nothing."""
  for tap in taps:
    if not any(matches(name, [tap]) for name in found):
      paths = ', '.join(known()) or 'none'
      raise ValueError(f"tap '{tap}' matches nothing; known paths: {paths}")


def matches(name: str, taps: Sequence[str]) -> bool:
  """Whether a path, its call count left out, matches one of the patterns."""
  return any(fnmatch.fnmatchcase(name.split('#')[0], tap) for tap in taps)


def _patterns(taps):
  if isinstance(taps, str):
    raise ValueError(f"taps must be a list of patterns; got the text '{taps}'")
  return tuple(taps)


def _streams(rng):
  """Dropout's stream, and one for streams of any other name."""
  if rng is None:
    return None
  return {'dropout': rng, 'params': jax.random.fold_in(rng, 1)}


def _matcher(taps):
  def wanted(module, method):
    return method == '__call__' and matches('/'.join(module.path), taps)

  return wanted


def _select(intermediates, taps):
  """{path: array} of captured and sown values that match a pattern."""
  found = {}
  for path, values in traverse_util.flatten_dict(intermediates).items():
    path = '/'.join(p for p in path if p != '__call__')
    if path and matches(path, taps):
      for i, leaf in enumerate(jax.tree.leaves(values)):
        found[f'{path}#{i}' if i else path] = leaf
  return found


def _paths(module, variables, inputs, flags):
  """Every path that a tap of this module could match, in order."""

  def run(variables, inputs):
    return module.apply(
      variables, inputs, **flags, mutable=['intermediates'],
      capture_intermediates=True,
    )[1]

  shapes = jax.eval_shape(run, variables, inputs)
  return sorted(_select(shapes.get('intermediates', {}), ['*']))


@contextlib.contextmanager
def _synchronized(axis_name):
  """Within, every Linen BatchNorm takes its statistics over `axis_name`."""
  if axis_name is None:
    yield
    return

  def intercept(call, args, kwargs, context):
    module = context.module
    if not isinstance(module, nn.BatchNorm) or module.axis_name is not None:
      return call(*args, **kwargs)
    # Past the guard of Module.__setattr__: this instance lives in one trace.
    object.__setattr__(module, 'axis_name', axis_name)
    try:
      return call(*args, **kwargs)
    finally:
      object.__setattr__(module, 'axis_name', None)

  with nn.intercept_methods(intercept):
    yield


def _head(path):
  """The reader of the linear layer at `path` of 'params'."""

  def head(variables):
    node = variables['params']
    for part in path.split('/'):
      if part not in node:
        raise ValueError(
          f"no layer '{path}' for the head; known here: {', '.join(node)}"
        )
      node = node[part]
    kernel = node['kernel']
    bias = node.get('bias')
    if bias is None:
      bias = jnp.zeros(kernel.shape[-1:], kernel.dtype)
    return {'kernel': kernel, 'bias': bias}

  return head
