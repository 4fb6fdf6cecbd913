"""The state of training: everything that changes, and its initial value."""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import stages, terms, types
from kd_jax.methods import reused_head
from kd_jax.models import adapt, batch_norms, generators
from kd_jax.models import base as models

OPTIMIZER = 'optimizer'


class State(NamedTuple):
  """Everything that changes.

  Attributes:
    step: i32 [], the number of updates so far.
    params: {'networks': {student: params}, 'terms': {term: params}}.
    carried: {'networks': {student: collections}, 'terms': {term: memory},
      'copies': {copy: variables}}: what changes without a gradient.
    opt_state: of optax.
    hparams: {term: {'weight', name: f32 []}, 'optimizer': {'learning_rate',
      'weight_decay'}}: hyperparameters that may change between steps and may
      differ between lanes.
    rng: the key from which dropout keys are folded.
  """

  step: jax.Array
  params: Mapping[str, types.PyTree]
  carried: Mapping[str, types.PyTree]
  opt_state: types.PyTree
  hparams: Mapping[str, Mapping[str, jax.Array]]
  rng: jax.Array


class Begin(NamedTuple):
  """Compiled initializers of a stage's state, shared by its lanes.

  Attributes:
    networks: {student: (key, inputs) -> variables}; of what makes images
      (key, batch) -> variables.
    optimizer: params -> opt_state.
  """

  networks: Mapping[str, Callable]
  optimizer: Callable


def begin(networks: Mapping[str, models.Network], stage: stages.Stage) -> Begin:
  """Compiles the initializers of a stage.

  They also serve stages that differ in seeds and hyperparameters alone.
  """
  inits = {name: networks[name].init for name in stage.students}
  if stage.maker is not None:
    inits[stage.maker.name] = stage.maker.generator.init
  return Begin(
    {name: jax.jit(init) for name, init in inits.items()},
    jax.jit(stage.recipe.tx.init),
  )


def fold(key: jax.Array, name: str) -> jax.Array:
  """A different key for every name."""
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
    networks: {name: Network} of all networks that the stage names.
    stage: that is trained.
    batch: a prepared batch, or its shapes.
    variables: {student: variables} of students that are not initialized anew.
    shapes: of all signals, where they are known (see `signal_shapes`).
    first: the result of `begin`, where it exists already.

  Returns:
    The state. A student's initialization depends only on the seed and on the
    student's name in the stage, so two schemes start from the same student.
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
  if stage.maker is not None:
    name = stage.maker.name
    students[name] = first.networks[name](fold(rng, name), batch)
  if shapes is None:
    shapes = signal_shapes(networks, stage, batch)
  memories = init_terms(stage, shapes, rng)
  params = {
    'networks': {name: v['params'] for name, v in students.items()},
    'terms': {name: v['params'] for name, v in memories.items()},
  }
  carried = {
    'networks': {name: adapt.collections(v) for name, v in students.items()},
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
  """{signal: shapes of its outputs}, of networks, copies and views.

  Args:
    networks, stage, batch: as in `init_state`.
  """
  cached, inputs, signals = batch.get('signals', {}), batch['inputs'], {}
  for name in (*stage.frozen, *stage.students):
    network = networks[name]
    variables = models.variable_shapes(network, inputs)
    outputs = (
      cached[name] if name in cached else models.output_shapes(network, inputs)
    )
    add_head = functools.partial(with_head, network)
    signals[name] = jax.eval_shape(add_head, variables, outputs)
  if stage.maker is not None:
    name = stage.maker.teacher
    outputs = models.output_shapes(batch_norms.read(networks[name]), inputs)
    images = {generators.IMAGES: inputs}
    signals[stage.maker.name] = {**signals[name], **outputs, **images}
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


def term_shapes(stage, shapes) -> tuple[dict, dict]:
  """Shapes of what terms learn and remember, and of the signals but views.

  Args:
    stage: any.
    shapes: {signal: shapes of its outputs}, as `signal_shapes` gives them.
  """
  begin = functools.partial(init_terms, stage, shapes)
  direct = {k: v for k, v in shapes.items() if k not in stage.views}
  return jax.eval_shape(begin, jax.random.key(0)), direct


def signal_of(network, variables, inputs) -> dict:
  """Outputs of a network in evaluation, and the weights of its classifier."""
  outputs, _ = network.apply(variables, inputs, train=False)
  return with_head(network, variables, outputs)


def seen(
  networks: Mapping[str, models.Network],
  stage: stages.Stage,
  params: types.PyTree,
  state: State,
  signals: Mapping[str, types.PyTree],
  batch: types.Batch,
  axis_name: str | None = None,
) -> tuple[types.Batch, Mapping[str, types.Outputs], dict[str, types.PyTree]]:
  """What the students see: the batch, or one whose images the stage makes.

  Args:
    networks: {name: Network}.
    stage: that is trained.
    params: of the state, by which the loss is differentiated.
    state: before the step.
    signals: what `Halves.frozen_signals` returned: the frozen variables, where
      the stage makes its images.
    batch: prepared; its images are not looked at then.
    axis_name: the mapped axis.

  Returns:
    The batch, the signals of the frozen networks and of the maker, and
    {maker: its new collections}.
  """
  maker = stage.maker
  if maker is None:
    return batch, signals, {}
  name, frozen = maker.name, signals
  variables = {
    'params': params['networks'][name],
    **state.carried['networks'][name],
  }
  # One key on all devices: they jitter alike.
  rng = fold(jax.random.fold_in(state.rng, state.step), name)
  images, collections = maker.generator.apply(
    variables, batch, rng=rng, axis_name=axis_name
  )
  inputs = jax.lax.stop_gradient(images)
  with jax.named_scope('teacher'):
    judge = batch_norms.read(networks[maker.teacher])
    judged = signal_of(judge, frozen[maker.teacher], images)
    fixed = {
      other: signal_of(networks[other], frozen[other], inputs)
      for other in stage.frozen
      if other != maker.teacher
    }
  fixed[maker.teacher] = jax.lax.stop_gradient(judged)
  fixed[name] = {**judged, generators.IMAGES: images}
  labels = batch['labels']
  if maker.labels is None:
    labels = judged['logits'].argmax(-1).astype(labels.dtype)
  return (
    {**batch, 'inputs': inputs, 'labels': labels},
    fixed,
    {name: collections},
  )


def with_head(network, variables, outputs) -> dict:
  """The outputs and, where it is known, the network's last classifier."""
  if network.head is None:
    return dict(outputs)
  return {**outputs, terms.HEAD: network.head(variables)}


def variables_of(
  state: State, student: str, stage: stages.Stage
) -> types.Variables:
  """The current variables of a student, in the form in which they are saved."""
  variables = {
    'params': state.params['networks'][student],
    **state.carried['networks'][student],
  }
  for name, term in stage.terms.items():
    if term.student == student and term.method.predict is not None:
      learned = {
        'params': state.params['terms'][name],
        'state': state.carried['terms'][name],
      }
      return reused_head.join(variables, learned)
  return variables
