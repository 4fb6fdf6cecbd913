"""Turns NNX modules into pure functions of variables with text keys."""

import contextlib
import functools
from collections.abc import Callable

import jax
from flax import nnx, traverse_util

from kd_jax.models import adapt


def functions(make: Callable, taps: tuple[str, ...]):
  """`init` and `apply` of a Network; see `base.from_nnx`."""
  if isinstance(make, nnx.Module):
    make = functools.partial(_copy, *nnx.split(make))

  @functools.lru_cache(maxsize=1)
  def skeleton():
    """The module's static part, and its variables as shapes by path."""
    module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graphdef, state = nnx.split(module)
    return graphdef, dict(nnx.to_flat_state(state))

  def init(key, inputs):
    del inputs
    state = nnx.split(make(nnx.Rngs(key)))[1]
    return _variables(dict(nnx.to_flat_state(state)))

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    graphdef, shapes = skeleton()
    state = _state(shapes, variables, rng)
    module = nnx.merge(graphdef, nnx.from_flat_state(state))
    _prepare(module, train, rng, axis_name)
    flags = adapt.train_flags(type(module).__call__)
    with _tapped(module, taps) as tapped:
      value = module(inputs, **flags(train))
    adapt.check_taps(taps, tapped, lambda: sorted(_modules(module)))
    outputs = {**tapped, **adapt.as_outputs(value)}
    if not train:
      return outputs, adapt.collections(variables)
    new = dict(nnx.to_flat_state(nnx.state(module)))
    return outputs, adapt.collections(_variables({p: new[p] for p in shapes}))

  return init, apply


def _copy(graphdef, state, rngs):
  """Another module with the same values."""
  del rngs
  return nnx.merge(graphdef, state)


def _variables(flat):
  """{'params': ..., 'batch_stats': ..., 'other': ...} of variables by path."""
  named = {'params': {}}
  for path, variable in flat.items():
    kind = _kind(variable)
    if kind:
      path = tuple(map(str, path))
      named.setdefault(kind, {})[path] = variable.get_value()
  return {k: traverse_util.unflatten_dict(v) for k, v in named.items()}


def _kind(variable):
  """The collection of a variable; None for random streams, which have none."""
  kinds = (
    (nnx.RngState, None),
    (nnx.Param, 'params'),
    (nnx.BatchStat, 'batch_stats'),
  )
  for kind, name in kinds:
    if isinstance(variable, kind):
      return name
  return 'other'


def _state(shapes, variables, rng):
  """The skeleton's variables by path, with the given values."""
  rng = jax.random.key(0) if rng is None else rng
  flat = {k: traverse_util.flatten_dict(v) for k, v in variables.items()}
  state = []
  for i, (path, variable) in enumerate(shapes.items()):
    if isinstance(variable, nnx.RngKey):
      value = jax.random.fold_in(rng, i)
    elif isinstance(variable, nnx.RngCount):
      value = jax.numpy.zeros((), variable.get_value().dtype)
    else:
      value = flat[_kind(variable)][tuple(map(str, path))]
    state.append((path, variable.replace(value)))
  return state


def _prepare(module, train, rng, axis_name):
  """Sets the mode of every layer, and axis and dtypes of every BatchNorm."""
  (module.train if train else module.eval)()
  for path, layer in nnx.iter_modules(module):
    if isinstance(layer, nnx.BatchNorm):
      if layer.axis_name is None:
        layer.axis_name = axis_name
      if layer.dtype is None:  # f32 statistics do not widen a bf16 input
        layer.promote_dtype = lambda arrays, dtype: arrays
    if train and rng is None and isinstance(layer, nnx.Dropout) and layer.rate:
      raise ValueError(
        f"'{'/'.join(map(str, path))}' has dropout; apply(train=True) needs "
        'a key: rng=..'
      )


def _modules(module):
  """{'blocks/0/conv': layer} of every callable layer."""
  layers = nnx.iter_modules(module)
  return {
    '/'.join(map(str, path)): layer
    for path, layer in layers
    if path and callable(layer)
  }


@contextlib.contextmanager
def _tapped(module, taps):
  """Yields {path: output}, filled by calls of the layers that match `taps`."""
  outputs = {}
  if not taps:
    yield outputs
    return
  names = {
    id(m): n for n, m in _modules(module).items() if adapt.matches(n, taps)
  }
  layers = [m for m in _modules(module).values() if id(m) in names]
  calls = {}
  try:
    for kind in {type(m) for m in layers}:
      calls[kind] = kind.__dict__.get('__call__')
      kind.__call__ = _recording(kind.__call__, names, outputs)
    yield outputs
  finally:
    for kind, call in calls.items():
      if call is None:
        del kind.__call__
      else:
        kind.__call__ = call


def _recording(call, names, outputs):
  """`call`, which also adds its result to `outputs`."""

  @functools.wraps(call)
  def recorded(self, *args, **kwargs):
    value = call(self, *args, **kwargs)
    name = names.get(id(self))
    if name is not None:
      for leaf in jax.tree.leaves(value):
        count = sum(n.split('#')[0] == name for n in outputs)
        outputs[f'{name}#{count}' if count else name] = leaf
    return value

  return recorded
