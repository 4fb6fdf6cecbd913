"""The only reader of a config: config -> Experiment."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import checkpoint, config, memoize, parallel, schemes, stages, types
from kd_jax.build import networks as build_networks
from kd_jax.build import terms as build_terms
from kd_jax.cache import plan
from kd_jax.data import pipeline, sources
from kd_jax.methods import reused_head
from kd_jax.models import base as networks_base

# The public face of the smaller file.
make_network = build_networks.make_network
example_inputs = build_networks.example_inputs

# The keys that say how a run is watched and kept, not what it computes.
LOOP = ('checkpoint_every', 'keep', 'eval_every', 'log_every', 'select')


class Experiment(NamedTuple):
  """All that a run needs; nothing after it reads a config.

  Attributes:
    networks: {name: Network}.
    specs: {name: how to build it}, JSON.
    loaded: {name: variables} of the networks that are finished.
    data: the data set.
    stages: what is trained, in order.
    placement: how it runs on the devices.
    prepare: images -> what a network sees.
    shared: the stages that runs of a sweep share: a network alone.
    settings: {stage: hash of all that its result depends on}.
    options: of the loop; the result does not depend on them (see `LOOP`).
    config: the resolved config as JSON.
    cache: what is stored of frozen teachers; None where they are live.
    outputs: {network of the config: names of its outputs}.
  """

  networks: Mapping[str, networks_base.Network]
  specs: Mapping[str, Mapping]
  loaded: Mapping[str, types.Variables]
  data: sources.Data
  stages: list[stages.Stage]
  placement: parallel.Placement
  prepare: Any
  shared: tuple[str, ...]
  settings: Mapping[str, str]
  options: Mapping[str, Any]
  config: Mapping[str, Any]
  cache: plan.Plan | None = None
  outputs: Mapping[str, tuple[str, ...]] = {}


def make_experiment(
  c: config.ConfigDict, data=None, like: Experiment | None = None
) -> Experiment:
  """Builds everything that a config names, and trains nothing.

  Args:
    c: from `config.default`, changed.
    data: in place of the data set that the config names.
    like: of a config that differs in numbers of the state alone; its networks
      and data are shared, and nothing is traced again.

  Raises:
    ValueError: one line for the first value that cannot be meant.
  """
  config.validate(c)
  c = config.resolve(c)
  placement = like.placement if like else parallel.choose(c.parallel)
  for part in (c.train, c.teacher):
    parallel.check_batch(part.batch_size, placement)
  data = data or (like.data if like else make_data(c))
  if like:
    networks, specs = dict(like.networks), dict(like.specs)
    loaded, outputs = like.loaded, like.outputs
  else:
    networks, specs, loaded = build_networks.make_networks(c, data)
    outputs = build_networks.output_names(networks, data)
  cast = build_networks.make_cast(c, data, loaded, outputs)
  scheme = c.scheme.to_dict()
  made = schemes.make_stages(scheme.pop('name', ''), cast, **scheme)
  for stage in made:
    for name, as_is in stage.built_as.items():
      networks[name], specs[name] = networks[as_is], specs[as_is]
    for name, term in stage.terms.items():
      if term.method.predict is not None:
        student = term.student
        networks[student] = reused_head.wrap(networks[student], term.method)
        told = build_terms.method_options(c.terms[name].to_dict())
        specs[student] = {**specs[student], 'reuses': told}
  experiment = Experiment(
    like.networks if like else networks,
    specs,
    loaded,
    data,
    made,
    placement,
    like.prepare if like else pipeline.make_prepare(data.mean, data.std),
    tuple(stage.name for stage in made if is_alone(stage)),
    make_settings(c, made, cast, specs, loaded, data),
    {key: c[key] for key in LOOP},
    config.to_json(c),
    plan.make_plan(config.to_json(c), data),
    outputs,
  )
  if not like:
    check(experiment)
  return experiment


def make_settings(c, made, cast, specs, loaded, data) -> dict[str, str]:
  """{stage: hash of all that its result depends on}.

  A network alone depends on its own part of the config, so that it is found
  again when only the distillation has changed; the rest on all of it.
  """
  whole = config.to_json(c)
  rest = {
    k: v for k, v in whole.items() if k not in (*LOOP, 'seeds', 'networks')
  }
  hashes = {name: checkpoint.content_hash(v) for name, v in loaded.items()}
  settings = {}
  for stage in made:
    names = (*stage.students, *stage.frozen)
    which = 'teacher' if stage.recipe is cast.teacher else 'train'
    depends = {
      'data': [data.fingerprint, c.data.seed],
      'networks': {name: specs[name] for name in names},
      'stage': [stage.name, whole[which], stage.recipe.seed],
    }
    if not is_alone(stage):
      depends |= {'config': rest, 'loaded': hashes}
    settings[stage.name] = fingerprint(depends)
  return settings


def is_alone(stage: stages.Stage) -> bool:
  """Whether the stage is one network that learns from the labels alone."""
  terms = list(stage.terms.values())
  return (
    len(terms) == len(stage.students) == 1
    and terms[0]
    == schemes.hard(stage.students[0])._replace(method=terms[0].method)
    and terms[0].method.hparams == {'smoothing': 0.0}
    and not (stage.frozen or stage.starts or stage.trains or stage.views)
  )


def make_data(
  c: config.ConfigDict, make: Callable | None = None
) -> sources.Data:
  """The data set that the config names, by `make` or `sources.make_data`."""
  options = {k: v for k, v in c.data.to_dict().items() if k != 'seed'}
  return (make or sources.make_data)(options.pop('name', ''), **options)


def reader(data: sources.Data | None = None) -> Callable:
  """`make_data` that reads each data set once; always `data`, if given."""
  make = memoize.once(sources.make_data)
  return lambda c: data or make_data(c, make)


def check(experiment: Experiment) -> None:
  """Traces every stage once without computing: wrong layers and shapes.

  Raises:
    ValueError: one line, naming the stage.
  """
  from kd_jax import state

  for stage in experiment.stages:
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


def check_views(experiment: Experiment, stage: stages.Stage) -> None:
  """Refuses a strong view that nothing makes, or that is not stored.

  Raises:
    ValueError: naming the stage and the signal.
  """
  if not stage.strong:
    return
  name = next(iter(stage.strong))
  if experiment.cache is not None:
    raise ValueError(
      f"stage '{stage.name}' reads '{name}', and teacher_outputs='cache' "
      "stores one view; use teacher_outputs='live'"
    )
  raw = dict(example_batch(experiment, stage))
  dtype = experiment.data.train.inputs.dtype
  raw['inputs'] = jax.ShapeDtypeStruct(raw['inputs'].shape, dtype)
  augment = stage.recipe.augment or (lambda key, batch: batch)
  if 'strong_inputs' not in jax.eval_shape(augment, jax.random.key(0), raw):
    raise ValueError(
      f"stage '{stage.name}' reads '{name}', and no augmentation makes a "
      "strong view; add 'two_view'"
    )


def example_batch(experiment: Experiment, stage: stages.Stage) -> dict:
  """The shapes of a prepared batch of the stage."""
  size = stage.recipe.batch_size
  inputs = example_inputs(experiment.data)
  labels = experiment.data.train.labels
  return {
    'inputs': jax.ShapeDtypeStruct((size, *inputs.shape[1:]), inputs.dtype),
    'labels': jax.ShapeDtypeStruct((size, *labels.shape[1:]), labels.dtype),
    'index': jax.ShapeDtypeStruct((size,), jnp.int32),
    'mask': jax.ShapeDtypeStruct((size,), jnp.float32),
    **plan.shapes_of(experiment.cache, experiment.networks, stage, inputs),
  }


def fingerprint(settings: Any) -> str:
  """A short hash of JSON-like settings."""
  text = json.dumps(settings, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
