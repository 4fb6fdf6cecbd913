"""Stored teachers of a run: made where missing, and read."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from kd_jax import build, errors, identities, metrics, stages, terms, types
from kd_jax.cache import plan, store
from kd_jax.data import pipeline
from kd_jax.models import base as models
from kd_jax.training import finished


class Recall(NamedTuple):
  """The stored teachers of a stage.

  Attributes:
    read: (step, examples i [B]) -> {teacher: f32 outputs [B, ...]}.
    in_memory: whether all of them are.
  """

  read: Callable[[int, np.ndarray], dict[str, types.Outputs]]
  in_memory: bool


def check(experiment: build.Experiment, session: finished.Session) -> None:
  """Refuses caches of something else, as far as is known before any work.

  Raises:
    errors.CacheError: naming what differs.
  """
  if experiment.cache is None or session.shelf is not None:
    return
  for stage in experiment.stages:
    for name in stage.frozen:
      identity = _identity(experiment, name, experiment.loaded.get(name))
      store.check(_place(experiment, name, identity, session), identity)


def _identity(experiment, name: str, variables) -> dict:
  return plan.identity_of(
    experiment.cache,
    experiment.specs[name],
    _layout(experiment, name),
    variables,
  )


def _layout(experiment, name: str):
  inputs = build.example_inputs(experiment.data)
  outputs = models.output_shapes(experiment.networks[name], inputs)
  return plan.layout_of(experiment.cache, outputs)


def _place(
  experiment, name: str, identity, session: finished.Session
) -> pathlib.Path:
  """Where the cache of a teacher is.

  Many runs share a folder, in which each finds what it would have made.

  Raises:
    errors.CacheError: nowhere.
  """
  root = session.shelf or session.folder
  if not experiment.cache.folder and root is None:
    raise errors.CacheError("teacher_outputs='cache' needs cache.folder")
  folder = pathlib.Path(experiment.cache.folder or root / 'cache')
  if session.shelf is not None:
    name = f'{name}-{identities.fingerprint(identity)}'
  return folder / name


def open_stage(
  experiment: build.Experiment,
  stage: stages.Stage,
  frozen: Mapping[str, types.Variables],
  prepare: Callable,
  session: finished.Session,
  tick: Callable[[], None] = lambda: None,
) -> Recall | None:
  """Opens the caches of a stage's frozen teachers, makes those missing.

  Args:
    experiment: networks, data, placement, plan.
    stage: whose teachers.
    frozen: their variables.
    prepare: (step, batch) -> batch, the stage's augmentation and
      normalization.
    session: folder and shelf of the run.
    tick: called after every batch of a cache that is made; may raise to stop.

  Returns:
    None where teachers are live, or there are none.

  Raises:
    errors.CacheError: a cache is of something else, or damaged.
  """
  if experiment.cache is None or not stage.frozen:
    return None
  caches = {
    name: _open(experiment, stage, name, frozen[name], prepare, session, tick)
    for name in stage.frozen
  }
  view_of = functools.partial(
    pipeline.draw,
    per_epoch=_per_epoch(experiment, stage),
    views=experiment.cache.views,
  )

  def read(step, index):
    return {n: of.read(index, view_of(step)) for n, of in caches.items()}

  return Recall(read, all(of.in_memory for of in caches.values()))


def _per_epoch(experiment, stage) -> int:
  size = experiment.data.train.labels.shape[0]
  return pipeline.steps_per_epoch(size, stage.recipe.batch_size)


def _open(experiment, stage, name, variables, prepare, session, tick):
  """The cache of one teacher, made where it is missing."""
  identity = _identity(experiment, name, variables)
  place = _place(experiment, name, identity, session)
  if not store.check(place, identity):
    compute = make_compute(experiment, stage, name, variables, prepare)
    progress = []

    def show(done, total):
      if not progress:
        every = experiment.options['log_every']
        label = f'cache of {name}'
        progress.append(metrics.make_progress(label, done - 1, total, every))
      progress[0].update(done, {})
      tick()

    store.build(
      place,
      identity,
      _layout(experiment, name),
      experiment.data.train.labels.shape[0],
      compute,
      stage.recipe.batch_size,
      show,
    )
    for shown in progress:
      shown.close()
  return store.open_cache(place, identity)


def make_compute(
  experiment, stage, name: str, variables: types.Variables, prepare: Callable
) -> store.Read:
  """(examples, view) -> outputs, computed as a live teacher's are.

  In the batch size of training and on the same devices, so that the numbers
  are the same.
  """
  placement, split = experiment.placement, experiment.data.train
  network, per_epoch = experiment.networks[name], _per_epoch(experiment, stage)
  wanted = _layout(experiment, name).shapes

  def outputs_of(variables, step, batch, *, axis_name=None):
    batch = prepare(step, batch)
    inputs = batch.get('teacher_inputs', batch['inputs'])
    outputs, _ = network.apply(variables, inputs, train=False)
    outputs = {n: outputs[n] for n in wanted}
    return outputs if axis_name is None else terms.gather(outputs, axis_name)

  compiled = placement.compile(outputs_of, 2)
  variables = placement.replicate(variables)

  def compute(index, view):
    mine = pipeline.shard(index, jax.process_index(), jax.process_count())
    # The first step of an epoch that shows this view.
    step = placement.replicate(np.int32(view * per_epoch))
    batch = placement.split(pipeline.take(split, mine))
    return jax.device_get(compiled(variables, step, batch))

  return compute
