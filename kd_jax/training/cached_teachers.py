"""Reads cached teacher outputs; computes them where the cache is missing."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from kd_jax import (
  build,
  checkpoint,
  errors,
  identities,
  metrics,
  stages,
  terms,
  types,
)
from kd_jax.cache import encoding, forms, plan, store
from kd_jax.data import pipeline
from kd_jax.models import base as models
from kd_jax.training import finished


class CachedTeachers(NamedTuple):
  """The cached teachers of a stage.

  Attributes:
    read: (step, examples i [B]) -> {teacher: outputs [B, ...]}.
    in_memory: whether the outputs of all teachers are in memory.
  """

  read: Callable[[int, np.ndarray], dict[str, types.Outputs]]
  in_memory: bool


def check(experiment: build.Experiment, session: finished.Session) -> None:
  """Refuses caches of another identity, before any work.

  A teacher that is not trained yet is left out of the comparison.

  Raises:
    errors.CacheError: naming what differs.
  """
  if experiment.cache is None or session.shelf is not None:
    return
  for stage in experiment.stages:
    for name in stage.frozen:
      identity = _identity(experiment, name, experiment.loaded.get(name))
      store.check(_folder(experiment, name, identity, session), identity)


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


def _folder(
  experiment, name: str, identity, session: finished.Session
) -> pathlib.Path:
  """The folder of a teacher's cache.

  On a shelf that runs share, its name has the fingerprint of the identity.

  Raises:
    errors.CacheError: neither the config nor the session names a folder.
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
) -> CachedTeachers | None:
  """Opens the caches of a stage's frozen teachers; builds missing ones.

  Args:
    experiment: networks, data, placement, plan of the cache.
    stage: that the teachers belong to.
    frozen: {teacher: variables}.
    prepare: (step, batch) -> batch, the stage's augmentation and
      normalization.
    session: folder and shared store of the run.
    tick: called after every batch of a cache that is built; may raise to stop.

  Returns:
    The cached teachers; None where teachers are live, or there are none.

  Raises:
    errors.CacheError: a cache has another identity or is damaged.
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
    view = view_of(step)
    return {name: cache.read(index, view) for name, cache in caches.items()}

  in_memory = all(cache.in_memory for cache in caches.values())
  return CachedTeachers(read, in_memory)


def _per_epoch(experiment, stage) -> int:
  size = experiment.data.train.labels.shape[0]
  return pipeline.steps_per_epoch(size, stage.recipe.batch_size)


def _open(experiment, stage, name, variables, prepare, session, tick):
  """The cache of one teacher; builds it where it is missing."""
  identity = _identity(experiment, name, variables)
  folder = _folder(experiment, name, identity, session)
  if not store.check(folder, identity):
    compute = make_compute(experiment, stage, name, variables, prepare)
    progress = []

    def show(done, total):
      if not progress:
        every = experiment.options['log_every']
        label = f'cache of {name}'
        progress.append(metrics.make_progress(label, done - 1, total, every))
      progress[0].update(done, dict)
      tick()

    store.build(
      folder,
      identity,
      _layout(experiment, name),
      experiment.data.train.labels.shape[0],
      compute,
      stage.recipe.batch_size,
      show,
    )
    for line in progress:
      line.close()
    _say_bytes(folder, _layout(experiment, name), name)
  return store.open_cache(folder, identity)


def _say_bytes(folder, layout: encoding.Layout, name: str) -> None:
  """Says what a prediction takes in a cache of distributions."""
  if not layout.distribution:
    return
  files = sum(path.stat().st_size for path in folder.glob('*.array_record'))
  index = checkpoint.read_json(folder / store.MANIFEST)
  examples = sum(s['stop'] - s['start'] for s in index['shards'])
  words = forms.in_words(
    layout.distribution, files / examples, layout.shapes[encoding.LOGITS]
  )
  metrics.say(f'cache of {name}: {words}')


def make_compute(
  experiment, stage, name: str, variables: types.Variables, prepare: Callable
) -> store.Read:
  """Makes (examples, view) -> outputs, computed as by a live teacher.

  Batch size and devices are those of training, so the numbers are the same.
  On CPU XLA's convolutions add in another order at other places of a batch:
  there a cache, like a live teacher, may differ by rounding.
  """
  placement, split = experiment.placement, experiment.data.train
  network, per_epoch = experiment.networks[name], _per_epoch(experiment, stage)
  layout = _layout(experiment, name)

  def outputs_of(variables, step, batch, *, axis_name=None):
    batch = prepare(step, batch)
    inputs = batch.get('teacher_inputs', batch['inputs'])
    outputs, _ = network.apply(variables, inputs, train=False)
    outputs = {name: outputs[name] for name in layout.shapes}
    if layout.distribution:
      logits = outputs.pop(encoding.LOGITS)
      outputs |= forms.reduce(layout.distribution, logits, batch['index'], step)
    return outputs if axis_name is None else terms.gather(outputs, axis_name)

  compiled = placement.compile(outputs_of, 2)
  variables = placement.replicate(variables)

  def compute(index, view):
    index = pipeline.shard(index, jax.process_index(), jax.process_count())
    # The first step of an epoch that shows this view.
    step = placement.replicate(np.int32(view * per_epoch))
    batch = placement.split(pipeline.take(split, index))
    return jax.device_get(compiled(variables, step, batch))

  return compute
