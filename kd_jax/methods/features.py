"""Makes methods that compare features by name, with adapters or without."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from kd_jax import types
from kd_jax.losses import tokens
from kd_jax.methods import adapters, base, layer_names


class Pair(NamedTuple):
  """Two layers by name, and the adapter from the student's to the teacher's."""

  student: str
  teacher: str
  adapter: adapters.Adapter


def connect(
  layers: layer_names.Layers, student: Mapping, teacher: Mapping, make: Callable
) -> list[Pair]:
  """The pairs of `layers`, each with its adapter.

  Args:
    layers: see `layer_names.pairs`.
    student: the student's outputs or their shapes.
    teacher: the teacher's.
    make: (shape of the student's, of the teacher's) -> adapters.Adapter.

  Raises:
    ValueError: from `make`, with the names of the layers added.
  """
  pairs = []
  for ours, theirs in layer_names.pairs(layers, student, teacher):
    try:
      adapter = make(student[ours].shape, teacher[theirs].shape)
    except ValueError as error:
      raise ValueError(f"layers ('{ours}', '{theirs}'): {error}") from None
    pairs.append(Pair(ours, theirs, adapter))
  return pairs


def init_adapters(key: jax.Array, pairs: Sequence[Pair]) -> types.Variables:
  """The variables of the adapters: {'params', 'state'}, each by 'pair0', .."""
  params, state = {}, {}
  for i, pair in enumerate(pairs):
    variables = pair.adapter.init(jax.random.fold_in(key, i))
    if 'params' in variables:
      params[f'pair{i}'] = variables.pop('params')
    if variables:
      state[f'pair{i}'] = variables
  return {'params': params, 'state': state}


def adapt(
  variables: types.Variables, pairs: Sequence[Pair], student: Mapping
) -> tuple[list[jax.Array], dict]:
  """The student's features in the teacher's shapes, and the new state."""
  features, state = [], dict(variables['state'])
  for i, pair in enumerate(pairs):
    feature, new = pair.adapter.apply(
      variables_of(variables, i), student[pair.student]
    )
    features.append(feature)
    if new:
      state[f'pair{i}'] = new
  return features, state


def variables_of(variables: types.Variables, i: int) -> dict:
  """The variables of the adapter of pair `i`."""
  adapter = dict(variables['state'].get(f'pair{i}', {}))
  if f'pair{i}' in variables['params']:
    adapter['params'] = variables['params'][f'pair{i}']
  return adapter


def comparing(
  name: str,
  plan: Callable[..., list[Pair]],
  compare: Callable[..., jax.Array],
  hparams: Mapping[str, float],
  batchwise: bool = False,
  each: bool = False,
  masked: bool = False,
) -> base.Method:
  """The method that adapts the student's features and compares them.

  Of text it sees zeros in place of the features of padding.

  Args:
    name: of the method, for errors.
    plan: (student, teacher) outputs or shapes -> pairs with their adapters.
    compare: (list of adapted features, list of the teacher's features, hparams)
      -> f32 [B].
    hparams: hyperparameters and their defaults.
    batchwise: whether the adapters or the comparison couple the examples.
    each: whether features of tokens [B, L, D] are compared token by token: the
      values are then [B, L], and the term takes their mean over real tokens.
    masked: whether `compare` takes `tokens`, f32 [B, L], for text.

  Returns:
    A method; its init raises ValueError, naming the layers, for features that
    `compare` refuses.
  """

  def init(key, student, teacher):
    pairs = plan(student, teacher)
    variables = init_adapters(key, pairs)
    names = [(pair.student, pair.teacher) for pair in pairs]
    _check(name, names, loss, variables, student, teacher, hparams)
    return variables

  def loss(variables, student, teacher, batch, hparams):
    mask, pairs = tokens.real(batch), plan(student, teacher)
    if mask is not None:
      student, teacher = (tokens.clear(x, mask) for x in (student, teacher))
    ours, state = adapt(variables, pairs, student)
    theirs = [teacher[pair.teacher] for pair in pairs]
    if mask is None or not are_tokens(name, theirs, mask):
      return compare(ours, theirs, hparams), state
    if masked:
      return compare(ours, theirs, hparams, tokens=mask), state
    if not each:
      return compare(ours, theirs, hparams), state
    if state:
      raise ValueError(
        f"method '{name}' on text: batch normalization would count padding; "
        "legal: adapters without it ('1x1', 'linear'), variant='paper'"
      )
    ours, theirs = (_rows(x, mask) for x in (ours, theirs))
    return compare(ours, theirs, hparams).reshape(mask.shape), state

  return base.Method(init, loss, hparams, batchwise, tokens=True)


def are_tokens(name: str, features: Sequence, mask: jax.Array) -> bool:
  """Whether features are vectors of the tokens of text, and not of examples.

  Raises:
    ValueError: some are and some are not.
  """
  kinds = {tokens.is_of(x, mask) for x in features}
  if len(kinds) > 1:
    shapes = ', '.join(str(x.shape) for x in features)
    raise ValueError(
      f"method '{name}': features of tokens and of whole examples need a term "
      f'each, not {shapes}'
    )
  return kinds == {True}


def _rows(tree, mask: jax.Array):
  """The features of tokens [B, L, D] as [B L, D]; the rest as it is."""
  return jax.tree.map(
    lambda x: x.reshape(-1, x.shape[-1]) if tokens.is_of(x, mask) else x, tree
  )


def unadapted(
  name: str,
  layers: layer_names.Layers,
  compare: Callable[..., jax.Array],
  hparams: Mapping[str, float],
  batchwise: bool = False,
) -> base.Method:
  """The method that sums a comparison over pairs of layers; learns nothing.

  Of text it sees zeros in place of the features of padding.

  Args:
    name: of the method, for errors.
    layers: see `layer_names.pairs`.
    compare: (student's outputs, name of its layer, teacher's outputs, name of
      its layer, hparams, batch) -> f32 [B], or [B, L] of text.
    hparams: hyperparameters and their defaults.
    batchwise: whether the comparison couples the examples.

  Returns:
    A method, as of `comparing`.
  """

  def init(key, student, teacher):
    del key
    names = layer_names.pairs(layers, student, teacher)
    _check(name, names, loss, base.NOTHING, student, teacher, hparams)
    return base.NOTHING

  def loss(variables, student, teacher, batch, hparams):
    mask = tokens.real(batch)
    if mask is not None:
      student, teacher = (tokens.clear(x, mask) for x in (student, teacher))
    total = sum(
      compare(student, ours, teacher, theirs, hparams, batch)
      for ours, theirs in layer_names.pairs(layers, student, teacher)
    )
    return total, variables['state']

  return base.Method(init, loss, hparams, batchwise, tokens=True)


def _check(name, names, loss, variables, student, teacher, hparams) -> None:
  """Traces the loss of the method `name` on shapes, before any work.

  Raises:
    ValueError: from the loss, with the method and the layers added.
  """
  try:
    jax.eval_shape(loss, variables, student, teacher, {}, hparams)
  except (TypeError, ValueError) as error:
    layers = ', '.join(f"('{ours}', '{theirs}')" for ours, theirs in names)
    raise ValueError(f"method '{name}', layers {layers}: {error}") from None


class _Plan(NamedTuple):
  """Loss, layers and options of a method made by `on_features`."""

  function: Callable
  joint: bool
  layers: layer_names.Layers
  adapter: str
  options: Mapping
  hparams: Mapping[str, float]
  choice: str


def on_features(
  function: Callable,
  batchwise: bool = False,
  joint: bool = False,
  static: Sequence[str] = (),
  choice: str = 'auto',
  each: bool = False,
  **legal,
) -> Callable:
  """Makes the maker of a method that compares pairs of features.

  Args:
    function: (student [B, ...], teacher [B, ...], *, floats and static
      options) -> [B], from `kd_jax.losses`; summed over the pairs.
    batchwise: whether it couples the examples of a batch.
    joint: whether it takes all pairs at once, as two lists.
    static: floats that are not hyperparameters but known when compiling.
    choice: the adapter that 'auto' takes; 'auto' is `adapters.choose`.
    each: whether it compares text token by token (see `comparing`). What takes
      `tokens` f32 [B, L] gets them; the rest sees zeros at padding.
    **legal: {option: kind} where `base.LEGAL` does not say it.

  Returns:
    A maker (layers=[(student, teacher), ..], adapter='auto', **options) ->
    Method. 'auto' adapts only features that `function` refuses otherwise, by
    `choice`; another name adapts every pair.
  """
  hparams = base.hparams_of(function)
  hparams = {k: v for k, v in hparams.items() if k not in static}
  name = function.__name__
  masked = 'tokens' in inspect.signature(function).parameters

  def make(**options) -> base.Method:
    defaults, options = base.divide(options, hparams)
    layers = layer_names.need(name, options.pop('layers', ()))
    adapter = options.pop('adapter', 'auto')
    plan = _Plan(function, joint, layers, adapter, options, defaults, choice)
    return comparing(
      name,
      functools.partial(_connect, plan),
      functools.partial(_compare, plan),
      defaults,
      batchwise or adapters.couples(adapter),
      each,
      masked,
    )

  taken = {'layers': layer_names.Layers, 'adapter': str}
  return base.documented(make, function, {**legal, **taken})


def _connect(plan: _Plan, student: Mapping, teacher: Mapping) -> list[Pair]:
  """The pairs, with an adapter for features that the loss refuses otherwise."""
  names = layer_names.pairs(plan.layers, student, teacher)
  ours, theirs = [student[s] for s, _ in names], [teacher[t] for _, t in names]
  takes_all = plan.joint and _takes(plan, ours, theirs)

  def make(ours, theirs):
    x, y = (jax.ShapeDtypeStruct(s, 'float32') for s in (ours, theirs))
    takes = takes_all or (not plan.joint and _takes(plan, [x], [y]))
    if plan.adapter == 'none' or (plan.adapter == 'auto' and takes):
      return adapters.from_function(lambda x: x)
    name = plan.choice if plan.adapter == 'auto' else plan.adapter
    return adapters.make_adapter(name, ours, theirs)

  return connect(plan.layers, student, teacher, make)


def _takes(plan: _Plan, ours: list, theirs: list) -> bool:
  """Whether the loss takes these features without adapters."""
  try:
    jax.eval_shape(
      lambda s, t: _compare(plan, s, t, plan.hparams), ours, theirs
    )
  except (TypeError, ValueError):
    return False
  return True


def _compare(
  plan: _Plan, ours: list, theirs: list, hparams, **masks
) -> jax.Array:
  options = {**plan.options, **hparams, **masks}
  if plan.joint:
    return plan.function(ours, theirs, **options)
  return sum(plan.function(s, t, **options) for s, t in zip(ours, theirs))
