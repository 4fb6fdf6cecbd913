"""kd_jax's side of the benchmarks: the steps that a run takes."""

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import settings, sides
from kd_jax import methods, models, optim, parallel, stages, tasks, terms
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.models import base
from kd_jax.schemes import base as schemes
from kd_jax.training import runtime


class Cast(NamedTuple):
  """The networks of a pair, and their weights.

  Attributes:
    networks: 'teacher' and 'student'.
    variables: of both, as they would be loaded.
  """

  networks: Mapping[str, base.Network]
  variables: Mapping[str, Mapping]


class Training(NamedTuple):
  """All that a step needs.

  Attributes:
    state: before the first step.
    frozen: the teacher's variables.
    step: compiled when first called; donates the state.
    stage: whose step it is.
  """

  state: states.State
  frozen: Mapping
  step: Callable
  stage: stages.Stage


def batch_of(pair: settings.Pair, seed: int = 0) -> dict[str, jax.Array]:
  """A batch on the device."""
  inputs, labels = settings.examples(pair, seed)
  batch = {
    'inputs': inputs,
    'labels': labels,
    'index': np.arange(pair.batch_size, dtype=np.int32),
    'mask': np.ones(pair.batch_size, np.float32),
  }
  return jax.device_put(batch)


def initialize(network: base.Network, inputs: jax.Array, seed: int):
  """Variables as if read from a file: nothing is compiled for them."""
  rng = np.random.default_rng(seed)

  def leaf(path, x):
    if len(x.shape) > 1:
      deviation = math.sqrt(2 / math.prod(x.shape[:-1]))
      return rng.normal(0, deviation, x.shape).astype(np.float32)
    ones = path[-1].key in ('scale', 'var')
    return np.full(x.shape, float(ones), np.float32)

  shapes = jax.eval_shape(network.init, jax.random.key(0), inputs)
  return jax.device_put(jax.tree_util.tree_map_with_path(leaf, dict(shapes)))


def cast_of(networks: Mapping[str, base.Network], inputs: jax.Array) -> Cast:
  """The networks with random weights."""
  variables = {
    name: initialize(network, inputs, seed)
    for seed, (name, network) in enumerate(networks.items())
  }
  return Cast(networks, variables)


def cnns(pair: settings.Pair) -> Cast:
  """The networks of a pair whose names are in `models.MODELS`."""
  names = {'teacher': pair.teacher, 'student': pair.student}
  networks = {
    n: models.make_network(name, pair.classes) for n, name in names.items()
  }
  return cast_of(networks, batch_of(pair)['inputs'])


def make_forward(cast: Cast, names: tuple[str, ...] = ()) -> Callable:
  """inputs -> those outputs of the teacher, or all; compiled."""

  @jax.jit
  def forward(variables, inputs):
    outputs, _ = cast.networks['teacher'].apply(variables, inputs)
    return {name: outputs[name] for name in names or outputs}

  return lambda inputs: forward(cast.variables['teacher'], inputs)


def training_of(
  cast: Cast,
  batch: Mapping,
  soft: Mapping[str, terms.Term],
  recipe: stages.Recipe,
  afresh: bool = False,
  hard: float = 1 - settings.ALPHA,
  task: tasks.Task = tasks.CLASSIFICATION,
) -> Training:
  """The training of the student by the labels and by `soft`.

  Args:
    cast: the networks.
    batch: one, or its shapes.
    soft: {name: term on the teacher}, or empty.
    recipe: optimizer and numbers.
    afresh: the student is initialized as in a run, and not drawn here.
    hard: weight of the labels.
    task: of the labels.
  """
  of = {'hard': schemes.hard('student', hard), **soft}
  frozen = {'teacher': cast.variables['teacher']} if soft else {}
  stage = stages.Stage('student', of, ('student',), recipe, tuple(frozen))
  # Copied: the state that it becomes a part of is donated.
  starts = (
    {}
    if afresh
    else {'student': jax.tree.map(jnp.copy, cast.variables['student'])}
  )
  state = states.init_state(cast.networks, stage, batch, starts)
  pure = steps.make_halves(cast.networks, stage, task=task).step
  step = parallel.on_one().compile(pure, 2, (0,))
  return Training(state, frozen, step, stage)


def compiled(
  cast: Cast, stage, batch, task: tasks.Task = tasks.CLASSIFICATION
) -> Callable:
  """The step as a run takes it on one device: two programs."""
  shapes = states.signal_shapes(cast.networks, stage, batch)
  reads = runtime.reads_of(stage, shapes, batch)
  halves = steps.make_halves(cast.networks, stage, reads=reads, task=task)
  signals, update = runtime.compile_halves(parallel.on_one(), halves)

  def step(state, frozen, batch):
    return update(state, *signals(np.int32(0), frozen, batch))

  return step


def hinton(cast: Cast, batch: Mapping, afresh: bool = False) -> Training:
  """alpha T^2 KL + (1 - alpha) CE, by Adam."""
  method = methods.make_method('kd', temperature=settings.TEMPERATURE)
  soft = terms.Term('student', 'teacher', method, settings.ALPHA)
  size = batch['labels'].shape[0]
  recipe = stages.Recipe(
    1, size, optim.make_optimizer('adam'), settings.ADAM_RATE
  )
  training = training_of(cast, batch, {'soft': soft}, recipe, afresh)
  step = compiled(cast, training.stage, batch)
  return training._replace(step=step)


def stepping(training: Training, step: Callable, batches) -> sides.Task:
  """So many steps, over the batches in turn."""
  place = {'state': training.state, 'next': 0}

  def run(count):
    for _ in range(count):
      batch = batches[place['next'] % len(batches)]
      place['state'], metrics = step(place['state'], training.frozen, batch)
      place['next'] += 1
    jax.block_until_ready((place['state'], metrics))

  return sides.Task(run)


def step_tasks(pair: settings.Pair) -> dict[str, Callable]:
  """{'step', 'student', 'teacher': () -> Task} of the pair."""
  batches = [batch_of(pair, i) for i in range(settings.BATCHES)]
  cast = cnns(pair)
  forward = make_forward(cast, ('logits',))

  def logits(batch):
    return forward(batch['inputs'])['logits']

  def whole():
    training = hinton(cast, batches[0])
    return stepping(training, training.step, batches)

  def student():
    training = hinton(cast, batches[0])
    stored = [
      {**batch, 'signals': {'teacher': {'logits': logits(batch)}}}
      for batch in batches
    ]
    return stepping(training, training.step, stored)

  def teacher():
    def run(count):
      for i in range(count):
        out = logits(batches[i % len(batches)])
      jax.block_until_ready(out)

    return sides.Task(run)

  return {'step': whole, 'student': student, 'teacher': teacher}


def first_step(pair: settings.Pair) -> dict[str, float]:
  """Seconds of building all that the first step needs, and of that step."""
  begun = time.perf_counter()
  batch = batch_of(pair)
  training = hinton(cnns(pair), batch, afresh=True)
  jax.block_until_ready((training.state, training.frozen))
  built = time.perf_counter()
  jax.block_until_ready(training.step(*training[:2], batch))
  return {'build': built - begun, 'first': time.perf_counter() - built}
