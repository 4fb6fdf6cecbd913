"""The state of training: everything that changes, and how it begins."""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import stages, terms, types
from kd_jax.methods import reused_head
from kd_jax.models import adapt
from kd_jax.models import base as models

OPTIMIZER = 'optimizer'


class State(NamedTuple):
  """Everything that changes.

  Attributes:
    step: i32 [], updates made.
    params: {'networks': {student: params}, 'terms': {term: params}}.
    carried: {'networks': {student: collections}, 'terms': {term: memory},
      'copies': {copy: variables}}: what changes without a gradient.
    opt_state: of optax.
    hparams: {term: {'weight', knob: f32 []}, 'optimizer': {'learning_rate',
      'weight_decay'}}: numbers that may change between steps, or by lane.
    rng: the key that dropout keys are folded from.
  """

  step: jax.Array
  params: Mapping[str, types.PyTree]
  carried: Mapping[str, types.PyTree]
  opt_state: types.PyTree
  hparams: Mapping[str, Mapping[str, jax.Array]]
  rng: jax.Array


class Begin(NamedTuple):
  """How a stage's state begins; compiled once for any number of lanes.

  Attributes:
    networks: {student: (key, inputs) -> variables}.
    optimizer: params -> opt_state.
  """

  networks: Mapping[str, Callable]
  optimizer: Callable


def begin(networks: Mapping[str, models.Network], stage: stages.Stage) -> Begin:
  """Of the stage, and of all stages that differ in numbers alone."""
  return Begin(
    {name: jax.jit(networks[name].init) for name in stage.students},
    jax.jit(stage.recipe.tx.init),
  )


def fold(key: jax.Array, name: str) -> jax.Array:
  """A key of its own for every name."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def init_state(
  networks: Mapping[str, models.Network],
  stage: stages.Stage,
  batch: types.Batch,
  variables: Mapping[str, types.Variables] = {},
  shapes: Mapping[str, types.Outputs] | None = None,
  first: Begin | None = None,
) -> State:
  """The state before the first step.

  Args:
    networks: {name: Network} of all that the stage names.
    stage: what is trained.
    batch: a prepared batch, or its shapes.
    variables: of students that do not start afresh.
    shapes: of all signals, where they are known (see `signal_shapes`).
    first: compiled before, by `begin`.

  Returns:
    The state. A student's initialization depends on the seed and its name in
    the stage alone, so that two schemes start from the same student.
  """
  stages.check(stage)
  recipe, first = stage.recipe, first or begin(networks, stage)
  rng = jax.random.key(recipe.seed)
  students = {
    name: variables[name]
    if name in variables
    else first.networks[name](fold(rng, name), batch['inputs'])
    for name in stage.students
  }
  if shapes is None:
    shapes = signal_shapes(networks, stage, batch)
  memories = init_terms(stage, shapes, rng)
  params = {
    'networks': {name: v['params'] for name, v in students.items()},
    'terms': {name: v['params'] for name, v in memories.items()},
  }
  carried = {
    'networks': {name: adapt.carried(v) for name, v in students.items()},
    'terms': {name: v['state'] for name, v in memories.items()},
    'copies': {
      name: jax.tree.map(jnp.copy, students[source])
      for name, source in stage.copies.items()
    },
  }
  hparams = {name: terms.hparams_of(term) for name, term in stage.terms.items()}
  hparams[OPTIMIZER] = {
    'learning_rate': jnp.float32(recipe.learning_rate),
    'weight_decay': jnp.float32(recipe.weight_decay),
  }
  return State(
    jnp.int32(0), params, carried, first.optimizer(params), hparams, rng
  )


def signal_shapes(networks, stage, batch) -> dict[str, dict]:
  """{signal: outputs as shapes}: networks, copies and views.

  Args:
    networks, stage, batch: as in `init_state`.
  """
  given, inputs, signals = batch.get('signals', {}), batch['inputs'], {}
  for name in (*stage.frozen, *stage.students):
    network = networks[name]
    variables = models.variable_shapes(network, inputs)
    outputs = (
      given[name] if name in given else models.output_shapes(network, inputs)
    )
    headed = functools.partial(with_head, network)
    signals[name] = jax.eval_shape(headed, variables, outputs)
  signals |= {copy: signals[s] for copy, s in stage.copies.items()}
  signals |= {name: signals[s] for name, s in stage.strong.items()}
  combine = functools.partial(terms.with_views, stage.views)
  return jax.eval_shape(combine, signals, dict(batch))


def init_terms(stage, shapes, rng) -> dict:
  """{term: {'params', 'state'}}, from the shapes of every signal."""
  return {
    name: {
      'params': {},
      'state': {},
      **terms.init_term(term, fold(rng, f'term {name}'), shapes),
    }
    for name, term in stage.terms.items()
  }


def signal_of(network, variables, inputs) -> dict:
  """Outputs of a network that does not learn, and its last classifier."""
  outputs, _ = network.apply(variables, inputs, train=False)
  return with_head(network, variables, outputs)


def with_head(network, variables, outputs) -> dict:
  if network.head is None:
    return dict(outputs)
  return {**outputs, terms.HEAD: network.head(variables)}


def variables_of(
  state: State, student: str, stage: stages.Stage
) -> types.Variables:
  """The variables of a student at this moment, as they would be kept."""
  variables = {
    'params': state.params['networks'][student],
    **state.carried['networks'][student],
  }
  for name, term in stage.terms.items():
    if term.student == student and term.method.predict is not None:
      held = {
        'params': state.params['terms'][name],
        'state': state.carried['terms'][name],
      }
      return reused_head.join(variables, held)
  return variables
