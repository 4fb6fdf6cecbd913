"""Builds an experiment from a config: networks, stages, data, identities."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import (
  checkpoint,
  config,
  kinds,
  machine,
  memoize,
  parallel,
  schemes,
  stages,
  state,
  tasks,
  terms,
  types,
)
from kd_jax.build import compute, fingerprint, labels
from kd_jax.build import networks as build_networks
from kd_jax.build import terms as build_terms
from kd_jax.cache import plan
from kd_jax.data import pipeline, sources
from kd_jax.methods import reused_head
from kd_jax.models import base as models

# The keys of a config that a training reads as they are.
OPTIONS = (
  *fingerprint.LOOP,
  fingerprint.SELECT,
  fingerprint.EVERY,
  'steps_at_once',
  'precision',
  'parallel',
)


class Experiment(NamedTuple):
  """All that a run needs; what trains it reads no config.

  Attributes:
    networks: {name: Network}.
    specs: {name: how to build it}, JSON.
    loaded: {name: variables} of the networks that are finished.
    data: the data set.
    stages: what is trained, in order.
    placement: how it runs on the devices.
    prepare: images or text -> what a network sees.
    shared: the stages that runs of a sweep share: a network alone.
    identities: {stage: all that its result depends on}, JSON.
    inputs: {'data': fingerprint, 'networks': {loaded: content hash}, 'given':
      {name: hash of what it computes}}: what the config does not say.
    options: {key: value} of OPTIONS.
    config: the resolved config as JSON, to be written down and compared.
    cache: what is stored of frozen teachers; None where they are live.
    outputs: {network of the config: names of its outputs}.
    task: of the data set's labels.
  """

  networks: Mapping[str, models.Network]
  specs: Mapping[str, Mapping]
  loaded: Mapping[str, types.Variables]
  data: sources.Data
  stages: list[stages.Stage]
  placement: parallel.Placement
  prepare: Any
  shared: tuple[str, ...]
  identities: Mapping[str, Mapping]
  inputs: Mapping[str, Any]
  options: Mapping[str, Any]
  config: Mapping[str, Any]
  cache: plan.Plan | None = None
  outputs: Mapping[str, tuple[str, ...]] = {}
  task: tasks.Task = tasks.CLASSIFICATION


def make_experiment(
  c: config.ConfigDict,
  data: sources.Data | None = None,
  like: Experiment | None = None,
  given: Mapping[str, build_networks.Given] | None = None,
) -> Experiment:
  """Builds everything that a config names, and trains nothing.

  Args:
    c: from `config.default`, changed.
    data: in place of the data set that the config names.
    like: of a config that differs in numbers of the state alone; its networks
      and data are shared, and nothing is traced again.
    given: {name: (network, variables or None)}: networks from Python, for
      those that the config calls dict(given=True).

  Raises:
    ValueError: one line, for the first invalid value.
  """
  config.validate(c)
  c = config.resolve(c)
  machine.settle()
  if c.deterministic:
    machine.need_deterministic()
  placement = like.placement if like else parallel.choose(c.parallel)
  for part in (c.train, c.teacher):
    parallel.check_batch(part.batch_size, placement)
  data = data or (like.data if like else make_data(c))
  task = task_of(c, data)
  check_select(c.select, data)
  if like:
    networks, specs = dict(like.networks), dict(like.specs)
    loaded, outputs, inputs = like.loaded, like.outputs, like.inputs
  else:
    networks, specs, loaded = build_networks.make_networks(c, data, given or {})
    outputs = build_networks.output_names(networks, data)
    inputs = {
      'data': data.fingerprint,
      'networks': {n: checkpoint.content_hash(v) for n, v in loaded.items()},
      'given': {n: s['given'] for n, s in specs.items() if 'given' in s},
    }
  cast = build_networks.make_cast(c, data, loaded, outputs)
  scheme = c.scheme.to_dict()
  trained = schemes.make_stages(scheme.pop('name', ''), cast, **scheme)
  compute.check(specs, trained, placement.count)
  _add_networks(c, trained, networks, specs)
  experiment = Experiment(
    like.networks if like else networks,
    specs,
    loaded,
    data,
    trained,
    placement,
    like.prepare if like else pipeline.make_prepare(data.mean, data.std),
    tuple(stage.name for stage in trained if fingerprint.is_alone(stage)),
    fingerprint.stage_identities(c, trained, specs, inputs['networks'], data),
    inputs,
    {key: c[key] for key in OPTIONS},
    config.to_json(c),
    plan.make_plan(config.to_json(c), data),
    outputs,
    task,
  )
  if not like:
    check_window(experiment)
    check(experiment)
  return _marked(experiment)


def _marked(experiment: Experiment) -> Experiment:
  """The experiment; where examples lack labels, its terms know."""
  labelled = experiment.data.train.labelled
  if labelled is None:
    return experiment
  some = bool(labelled.any())
  return experiment._replace(
    stages=[
      labels.marked(
        stage, experiment.networks, example_batch(experiment, stage), some
      )
      if not (stage.maker or stage.transfer)  # made images have labels
      else stage
      for stage in experiment.stages
    ]
  )


def _add_networks(c, trained, networks, specs) -> None:
  """Adds the networks that stages build, and wraps those that reuse a head."""
  for stage in trained:
    for name, as_is in stage.built_as.items():
      networks[name], specs[name] = networks[as_is], specs[as_is]
    for name, term in reusing(stage).items():
      student = term.student
      networks[student] = reused_head.wrap(networks[student], term.method)
      options = build_terms.method_options(c.terms[name].to_dict())
      specs[student] = {**specs[student], 'reuses': options}


def reusing(stage: stages.Stage) -> dict[str, terms.Term]:
  """The terms through whose method their student predicts."""
  return {k: t for k, t in stage.terms.items() if t.method.predict is not None}


def in_full(
  experiment: Experiment, name: str, given: build_networks.Given
) -> models.Network:
  """A given network as it is, apart from how the run computes it."""
  network = given.network
  for stage in experiment.stages:
    for term in reusing(stage).values():
      if term.student == name:
        network = reused_head.wrap(network, term.method)
  return network


def make_data(
  c: config.ConfigDict, make: Callable | None = None
) -> sources.Data:
  """The data set that the config names, by `make` or `sources.make_data`."""
  options = {k: v for k, v in c.data.to_dict().items() if k != 'seed'}
  if c.task:
    options['task'] = c.task
  return (make or sources.make_data)(options.pop('name', ''), **options)


def task_of(c: config.ConfigDict, data: sources.Data) -> tasks.Task:
  """The task of a config, which is that of its data set.

  Raises:
    ValueError: for an unknown task, or another than that of the data set.
  """
  if c.task and tasks.make_task(c.task).name != data.task:
    raise ValueError(
      f"task='{c.task}', and the data set '{data.name}' is made for "
      f"'{data.task}'"
    )
  return tasks.make_task(data.task)


def reader(data: sources.Data | None = None) -> Callable:
  """`make_data` that reads each data set once; always `data`, if given."""
  make = memoize.memoize(sources.make_data)
  return lambda c: data or make_data(c, make)


def check_select(select: str, data: sources.Data) -> None:
  """Refuses to keep what is best on a validation set that is empty.

  Raises:
    ValueError: naming data.validation.
  """
  if select == fingerprint.BEST and not len(data.validation.labels):
    raise ValueError(
      f"select='best' keeps what is best on validation, and '{data.name}' "
      "holds out none; legal: select='last', or data.validation above 0"
    )


def check(experiment: Experiment) -> None:
  """Traces every stage once without computing, to find wrong layers and shapes.

  Raises:
    ValueError: one line, naming the stage.
  """
  for stage in experiment.stages:
    check_made(experiment, stage)
    check_views(experiment, stage)
    begin = functools.partial(state.init_state, experiment.networks, stage)
    try:
      jax.eval_shape(begin, example_batch(experiment, stage))
    except KeyError as missing:
      raise ValueError(
        f"stage '{stage.name}' reads the output {missing}, which is not there"
      ) from None
    except ValueError as error:
      raise ValueError(f"stage '{stage.name}': {error}") from None


def check_window(experiment: Experiment) -> None:
  """Refuses a profile of steps that no stage has.

  Raises:
    ValueError: with the steps of the longest stage.
  """
  window = experiment.options['profile']
  longest = max(stage.recipe.steps for stage in experiment.stages)
  if window and kinds.steps_of(window)[0] >= longest:
    raise ValueError(
      f'profile {window!r} begins after the last step: the longest stage has '
      f'{longest}'
    )


def check_made(experiment: Experiment, stage: stages.Stage) -> None:
  """Refuses what a stage on made images cannot have.

  Raises:
    ValueError: cached teachers, an augmentation while images are made, or a
      teacher in micro-batches, out of which its batch norms cannot be read.
  """
  if not (stage.maker or stage.transfer):
    return
  of = f"stage '{stage.name}' is on images that the scheme makes"
  if experiment.cache is not None:
    raise ValueError(
      f"{of}, and teacher_outputs='cache' stores what is said of the data "
      "set; use teacher_outputs='live'"
    )
  if stage.maker is None:
    return
  if stage.students and experiment.config['train']['augment']:
    raise ValueError(f'{of} at each step; train.augment must be ()')
  if 'microbatches' in experiment.specs[stage.maker.teacher]:
    name = f'networks.{stage.maker.teacher}.microbatches'
    raise ValueError(f'{of} by gradients of its teacher; leave {name} out')


def check_views(experiment: Experiment, stage: stages.Stage) -> None:
  """Refuses a strong view that no augmentation makes, or that is not cached.

  Likewise keys of the batch that a term's method needs.

  Raises:
    ValueError: naming the stage, and the signal or the term.
  """
  for name, term in stage.terms.items():
    for key in term.method.needs:
      if key not in example_batch(experiment, stage):
        raise ValueError(
          f"term '{name}' of stage '{stage.name}' reads '{key}', which no "
          "augmentation makes; add 'rotations'"
        )
  if not stage.strong:
    return
  name = next(iter(stage.strong))
  if experiment.cache is not None:
    raise ValueError(
      f"stage '{stage.name}' reads '{name}', and teacher_outputs='cache' "
      "stores one view; use teacher_outputs='live'"
    )
  if 'strong_inputs' not in example_batch(experiment, stage):
    raise ValueError(
      f"stage '{stage.name}' reads '{name}', and no augmentation makes a "
      "strong view; add 'two_view'"
    )


def example_batch(experiment: Experiment, stage: stages.Stage) -> dict:
  """The shapes of a prepared batch of the stage."""
  size = stage.recipe.batch_size
  inputs = build_networks.example_inputs(experiment.data)
  train = experiment.data.train
  raw, stored = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype),
    (train.inputs, train.labels),
  )
  counted, mask = jax.eval_shape(lambda x: tasks.counted(x, jnp), stored)
  batch = {
    'inputs': raw,
    'labels': counted,
    'index': jax.ShapeDtypeStruct((size,), jnp.int32),
    'mask': mask,
  }
  if stage.maker or stage.transfer:
    batch['labels'] = jax.ShapeDtypeStruct((size,), jnp.int32)
  elif train.labelled is not None:
    batch['labelled'] = jax.ShapeDtypeStruct((size,), jnp.float32)
  if stage.recipe.augment is not None:
    key = jax.random.key(0)
    batch = jax.eval_shape(stage.recipe.augment, key, batch)
  seen = {
    name: jax.eval_shape(experiment.prepare, x)
    for name, x in batch.items()
    if name.endswith('inputs')
  }
  cached = plan.shapes_of(experiment.cache, experiment.networks, stage, inputs)
  return {**batch, **seen, **cached}
