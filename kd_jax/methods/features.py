"""Features by name, adapters between them, and methods that compare them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from kd_jax import types
from kd_jax.methods import adapters, base, layer_names

pairs = layer_names.pairs


class Pair(NamedTuple):
  """Two layers by name, and what brings the student's to the teacher's."""

  student: str
  teacher: str
  adapter: adapters.Adapter


def connect(
  layers: layer_names.Layers, student: Mapping, teacher: Mapping, make: Callable
) -> list[Pair]:
  """The pairs of `layers`, each with its adapter.

  Args:
    layers: see `pairs`.
    student: the student's outputs or their shapes.
    teacher: the teacher's.
    make: (shape of the student's, of the teacher's) -> adapters.Adapter.

  Raises:
    ValueError: where `make` refuses, with the names of the layers.
  """
  made = []
  for ours, theirs in pairs(layers, student, teacher):
    try:
      adapter = make(student[ours].shape, teacher[theirs].shape)
    except ValueError as error:
      raise ValueError(f"layers ('{ours}', '{theirs}'): {error}") from None
    made.append(Pair(ours, theirs, adapter))
  return made


def init_adapters(key: jax.Array, made: Sequence[Pair]) -> types.Variables:
  """What the adapters learn and carry: {'params', 'state'}, by 'pair0', .."""
  params, state = {}, {}
  for i, pair in enumerate(made):
    variables = pair.adapter.init(jax.random.fold_in(key, i))
    if 'params' in variables:
      params[f'pair{i}'] = variables.pop('params')
    if variables:
      state[f'pair{i}'] = variables
  return {'params': params, 'state': state}


def adapt(
  variables: types.Variables, made: Sequence[Pair], student: Mapping
) -> tuple[list[jax.Array], dict]:
  """The student's features in the teacher's shapes, and the new state."""
  features, state = [], dict(variables['state'])
  for i, pair in enumerate(made):
    own = variables_of(variables, i)
    feature, new = pair.adapter.apply(own, student[pair.student])
    features.append(feature)
    if new:
      state[f'pair{i}'] = new
  return features, state


def variables_of(variables: types.Variables, i: int) -> dict:
  """The variables of the adapter of the pair `i`."""
  own = dict(variables['state'].get(f'pair{i}', {}))
  if f'pair{i}' in variables['params']:
    own['params'] = variables['params'][f'pair{i}']
  return own


def comparing(
  name: str,
  plan: Callable[..., list[Pair]],
  compare: Callable[..., jax.Array],
  hparams: Mapping[str, float],
  batchwise: bool = False,
) -> base.Method:
  """The method that adapts the student's features and compares them.

  Args:
    name: of the method, for the errors.
    plan: (student, teacher) outputs or shapes -> pairs with their adapters.
    compare: (what the adapters make, the teacher's features, hparams), the
      first two as lists -> f32 [B].
    hparams: hyperparameters and their defaults.
    batchwise: whether the adapters or the comparison couple the examples.

  Returns:
    A method; its init raises ValueError, naming the layers, for what
    `compare` does not take.
  """

  def init(key, student, teacher):
    made = plan(student, teacher)
    variables = init_adapters(key, made)
    check(name, made, loss, variables, student, teacher, hparams)
    return variables

  def loss(variables, student, teacher, batch, hparams):
    del batch
    made = plan(student, teacher)
    ours, state = adapt(variables, made, student)
    theirs = [teacher[pair.teacher] for pair in made]
    return compare(ours, theirs, hparams), state

  return base.Method(init, loss, hparams, batchwise)


def check(
  name: str,
  made: Sequence[Pair],
  loss: Callable,
  variables: types.Variables,
  student: Mapping,
  teacher: Mapping,
  hparams: Mapping,
) -> None:
  """Traces the loss of the method `name` on shapes, before any work.

  Raises:
    ValueError: what the loss raises, naming the method and the layers.
  """
  size = student[made[0].student].shape[0]
  batch = {'index': jax.ShapeDtypeStruct((size,), 'int32')}
  try:
    jax.eval_shape(loss, variables, student, teacher, batch, hparams)
  except (TypeError, ValueError) as error:
    names = ', '.join(f"('{p.student}', '{p.teacher}')" for p in made)
    raise ValueError(f"method '{name}', layers {names}: {error}") from None


class _Plan(NamedTuple):
  """What a method made by `on_features` compares, and how."""

  function: Callable
  joint: bool
  layers: layer_names.Layers
  adapter: str
  options: Mapping
  hparams: Mapping[str, float]


def on_features(
  function: Callable,
  batchwise: bool = False,
  joint: bool = False,
  static: Sequence[str] = (),
  **legal,
) -> Callable:
  """Makes the maker of a method that compares pairs of features.

  Args:
    function: (student [B, ...], teacher [B, ...], *, floats and static
      options) -> [B], from `kd_jax.losses`; summed over the pairs.
    batchwise: whether it couples the examples of a batch.
    joint: whether it takes all pairs at once, as two lists.
    static: floats that are no hyperparameters but known when compiling.
    **legal: {option: kind} where `base.LEGAL` does not say it.

  Returns:
    A maker (layers=[(student, teacher), ..], adapter='auto', **options) ->
    Method. 'auto' adapts only what `function` does not take as it is, by
    `adapters.choose`; another name adapts every pair.
  """
  hparams = base.hparams_of(function)
  hparams = {k: v for k, v in hparams.items() if k not in static}
  name = function.__name__

  def make(**options) -> base.Method:
    numbers, options = base.divide(options, hparams)
    layers = layer_names.need(name, options.pop('layers', ()))
    adapter = options.pop('adapter', 'auto')
    plan = _Plan(function, joint, layers, adapter, options, numbers)
    return comparing(
      name,
      functools.partial(_connect, plan),
      functools.partial(_compare, plan),
      numbers,
      batchwise or adapters.couples(adapter),
    )

  taken = {'layers': layer_names.Layers, 'adapter': str}
  return base.documented(make, function, {**legal, **taken})


def _connect(plan: _Plan, student: Mapping, teacher: Mapping) -> list[Pair]:
  """The pairs, with an adapter for what the loss does not take as it is."""
  found = pairs(plan.layers, student, teacher)
  ours, theirs = [student[s] for s, _ in found], [teacher[t] for _, t in found]
  whole = plan.joint and _takes(plan, ours, theirs)

  def make(ours, theirs):
    x, y = (jax.ShapeDtypeStruct(s, 'float32') for s in (ours, theirs))
    as_it_is = whole or (not plan.joint and _takes(plan, [x], [y]))
    if plan.adapter == 'none' or (plan.adapter == 'auto' and as_it_is):
      return adapters.from_function(lambda x: x)
    return adapters.make_adapter(plan.adapter, ours, theirs)

  return connect(plan.layers, student, teacher, make)


def _takes(plan: _Plan, ours: list, theirs: list) -> bool:
  """Whether the loss takes these features as they are."""
  try:
    jax.eval_shape(
      lambda s, t: _compare(plan, s, t, plan.hparams), ours, theirs
    )
  except (TypeError, ValueError):
    return False
  return True


def _compare(plan: _Plan, ours: list, theirs: list, hparams) -> jax.Array:
  options = {**plan.options, **hparams}
  if plan.joint:
    return plan.function(ours, theirs, **options)
  return sum(plan.function(s, t, **options) for s, t in zip(ours, theirs))
