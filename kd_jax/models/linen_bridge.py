"""Turns Linen modules into pure functions of their variables."""

import contextlib
import functools

import jax
from flax import linen as nn
from flax import traverse_util

from kd_jax.models import adapt, lazy


def functions(module: nn.Module, taps: tuple[str, ...]):
  """`init` and `apply` of a Network; see `base.from_linen`."""
  flags = adapt.train_flags(type(module).__call__)

  def init(key, inputs):
    keys = {'params': key, 'dropout': jax.random.fold_in(key, 1)}
    return lazy.init(module, keys, inputs, **flags(False))

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    state = adapt.collections(variables)
    mutable = list(state) if train else []
    capture = False
    if taps:
      mutable.append('intermediates')
      capture = _matcher(taps)
    with _synchronized(axis_name):
      result = module.apply(
        variables,
        inputs,
        **flags(train),
        rngs=_streams(rng),
        mutable=mutable or False,
        capture_intermediates=capture,
      )
    value, new = result if mutable else (result, {})
    outputs = adapt.as_outputs(value)
    if taps:
      tapped = _select(new.get('intermediates', {}), taps)
      adapt.check_taps(
        taps,
        tapped,
        functools.partial(_paths, module, variables, inputs, flags(False)),
      )
      outputs = {**tapped, **outputs}
    return outputs, {name: new.get(name, state[name]) for name in state}

  return init, apply


def _streams(rng):
  """Random streams: 'dropout', and 'params' for any other name."""
  if rng is None:
    return None
  return {'dropout': rng, 'params': jax.random.fold_in(rng, 1)}


def _matcher(taps):
  """Makes (module, method) -> whether its output is captured."""

  def is_tapped(module, method):
    return method == '__call__' and adapt.matches('/'.join(module.path), taps)

  return is_tapped


def _select(intermediates, taps):
  """{path: array} of captured and sown values that match a pattern."""
  selected = {}
  for path, values in traverse_util.flatten_dict(intermediates).items():
    path = '/'.join(p for p in path if p != '__call__')
    if path and adapt.matches(path, taps):
      for i, leaf in enumerate(jax.tree.leaves(values)):
        selected[f'{path}#{i}' if i else path] = leaf
  return selected


def _paths(module, variables, inputs, flags):
  """Every path that a tap of this module could match, in order."""

  def run(variables, inputs):
    return module.apply(
      variables,
      inputs,
      **flags,
      mutable=['intermediates'],
      capture_intermediates=True,
    )[1]

  shapes = jax.eval_shape(run, variables, inputs)
  return sorted(_select(shapes.get('intermediates', {}), ['*']))


@contextlib.contextmanager
def _synchronized(axis_name):
  """Lets every Linen BatchNorm compute its statistics over `axis_name`."""
  if axis_name is None:
    yield
    return

  def intercept(call, args, kwargs, context):
    module = context.module
    if not isinstance(module, nn.BatchNorm) or module.axis_name is not None:
      return call(*args, **kwargs)
    # Module.__setattr__ refuses this; the instance lives in one trace only.
    object.__setattr__(module, 'axis_name', axis_name)
    try:
      return call(*args, **kwargs)
    finally:
      object.__setattr__(module, 'axis_name', None)

  with nn.intercept_methods(intercept):
    yield
