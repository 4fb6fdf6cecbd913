"""The only reader of a config: config -> Experiment."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import (
  checkpoint,
  config,
  methods,
  models,
  optim,
  parallel,
  schemes,
  stages,
  terms,
  types,
)
from kd_jax.data import augment, pipeline, sources
from kd_jax.models import base as networks_base

# The keys of a term that are not options of its method.
_TERM = ('method', 'weight', 'student', 'teacher', 'schedule')

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
    teachers: the stages that train teachers; all seeds share them.
    settings: {stage: hash of all that its result depends on}.
    options: of the loop; the result does not depend on them (see `LOOP`).
    config: the resolved config as JSON.
  """

  networks: Mapping[str, networks_base.Network]
  specs: Mapping[str, Mapping]
  loaded: Mapping[str, types.Variables]
  data: sources.Data
  stages: list[stages.Stage]
  placement: parallel.Placement
  prepare: Any
  teachers: tuple[str, ...]
  settings: Mapping[str, str]
  options: Mapping[str, Any]
  config: Mapping[str, Any]


def from_table(kind: str, table: Mapping, spec: Mapping, **given) -> Any:
  """Turns a sub-tree into an object: looks its name up, calls with the rest.

  Raises:
    ValueError: for an unknown name, with the known ones.
  """
  options = dict(spec)
  name = options.pop('name', None)
  if name not in table:
    raise types.unknown(kind, name, table)
  return table[name](**options, **given)


def make_experiment(c: config.ConfigDict, data=None) -> Experiment:
  """Builds everything that a config names, and trains nothing.

  Args:
    c: from `config.default`, changed.
    data: in place of the data set that the config names.

  Raises:
    ValueError: one line for the first value that cannot be meant.
  """
  config.validate(c)
  c = config.resolve(c)
  placement = parallel.choose(c.parallel)
  for part in (c.train, c.teacher):
    parallel.check_batch(part.batch_size, placement)
  made_terms = {name: make_term(name, t) for name, t in c.terms.items()}
  data = data or make_data(c)
  networks, specs, loaded = make_networks(c, data)
  cast = schemes.Cast(
    tuple(networks), tuple(loaded), made_terms,
    make_recipe(c.train, 'train', c.seed, data, c.data.seed),
    make_recipe(c.teacher, 'teacher', c.teacher.seed, data, c.data.seed),
    c.baseline,
  )
  scheme = c.scheme.to_dict()
  made = schemes.make_stages(scheme.pop('name', ''), cast, **scheme)
  experiment = Experiment(
    networks, specs, loaded, data, made, placement,
    pipeline.make_prepare(data.mean, data.std),
    tuple(stage.name for stage in made if stage.recipe is cast.teacher),
    make_settings(c, made, cast, specs, loaded, data),
    {key: c[key] for key in LOOP},
    to_json(c),
  )
  check(experiment)
  return experiment


def make_settings(c, made, cast, specs, loaded, data) -> dict[str, str]:
  """{stage: hash of all that its result depends on}.

  A teacher depends on its own part of the config alone, so that it is found
  again when only the student's part has changed.
  """
  whole = to_json(c)
  shared = {
    'data': data.fingerprint,
    'data_seed': c.data.seed,
    'loaded': {name: checkpoint.content_hash(v) for name, v in loaded.items()},
  }
  rest = {k: v for k, v in whole.items() if k not in (*LOOP, 'seeds')}
  settings = {}
  for stage in made:
    own = {'teacher': whole['teacher'], 'loaded': None}
    depends = own if stage.recipe is cast.teacher else {'config': rest}
    networks = {name: specs[name] for name in stage.students}
    settings[stage.name] = fingerprint(
      [stage.name, {**shared, **depends}, networks]
    )
  return settings


def to_json(c: config.ConfigDict) -> dict:
  """The config as plain JSON types."""
  return json.loads(json.dumps(c.to_dict(), default=str))


def make_data(c: config.ConfigDict) -> sources.Data:
  """The data set that the config names."""
  options = {k: v for k, v in c.data.to_dict().items() if k != 'seed'}
  return sources.make_data(options.pop('name', ''), **options)


def make_networks(c, data) -> tuple[dict, dict, dict]:
  """{name: Network}, {name: spec}, {name: variables} of those loaded."""
  networks, specs, loaded = {}, {}, {}
  if not c.networks:
    raise ValueError("no networks in the config: networks.student = dict(..)")
  for name, spec in c.networks.items():
    spec = spec.to_dict()
    folder = spec.pop('load', None)
    found = None
    if folder:
      found, stored = checkpoint.load_network(folder)
      spec = _same_network(name, folder, spec, stored)
    spec = {'classes': data.classes, **spec}
    if spec['classes'] != data.classes:
      raise ValueError(
        f"network '{name}' has {spec['classes']} classes and the data set "
        f"'{data.name}' {data.classes}"
      )
    networks[name] = models.make_network(**spec)
    specs[name] = {**spec, 'inputs': list(data.train.inputs.shape[1:])}
    if found is not None:
      wanted = jax.eval_shape(
        networks[name].init, jax.random.key(0), example_inputs(data)
      )
      checkpoint.check_shapes(found, wanted, folder)
      loaded[name] = found
  return networks, specs, loaded


def _same_network(name, folder, spec, stored) -> dict:
  """The stored network's spec; the config may not contradict it."""
  keys = stored['build']
  for key, value in spec.items():
    if keys.get(key, value) != value:
      raise ValueError(
        f"networks.{name}.{key} is {value!r} but the network in {folder} has "
        f'{keys[key]!r}'
      )
  return {k: v for k, v in {**keys, **spec}.items() if k != 'inputs'}


def example_inputs(data) -> jax.ShapeDtypeStruct:
  """The shape of one prepared example."""
  return jax.ShapeDtypeStruct((1, *data.train.inputs.shape[1:]), jnp.float32)


def make_recipe(c, name, seed, data, data_seed) -> stages.Recipe:
  """How a stage is trained."""
  size = len(data.train.labels)
  try:
    per_epoch = pipeline.steps_per_epoch(size, c.batch_size)
  except ValueError as error:
    raise ValueError(f'{name}.{error}') from None
  steps = c.steps or c.epochs * per_epoch
  o = c.optimizer
  return stages.Recipe(
    steps, c.batch_size,
    optim.make_optimizer(
      o.name, clip_norm=o.clip_norm, accumulate=o.accumulate, **o.options
    ),
    o.learning_rate, o.weight_decay,
    optim.make_schedule(o.schedule.to_dict(), steps, o.accumulate),
    seed, data_seed, augment.make_augment(c.augment, classes=data.classes),
  )


def make_term(name: str, spec: config.ConfigDict) -> terms.Term:
  """The term that `terms.NAME` describes."""
  spec = spec.to_dict()
  options = {k: v for k, v in spec.items() if k not in _TERM}
  try:
    method = methods.make_method(spec['method'], **options)
  except ValueError as error:
    raise ValueError(f"term '{name}': {error}") from None
  teacher = terms.LABELS if spec['method'] in methods.HARD else 'teacher'
  return terms.Term(
    spec.get('student', 'student'), spec.get('teacher', teacher), method,
    float(spec.get('weight', 1.0)),
    schedules=make_schedules(
      name, spec.get('schedule', {}), {'weight', *method.hparams}
    ),
  )


def make_schedules(name, spec: Mapping, known) -> dict[str, terms.Schedule]:
  """{hyperparameter: step -> multiplier}; 'steps' says over how many."""
  made = {}
  for key, value in spec.items():
    if key not in known:
      raise types.unknown(f"schedule of term '{name}'", key, known)
    value = dict(value)
    made[key] = optim.make_schedule(value, value.pop('steps', 1))
  return made


def check(experiment: Experiment) -> None:
  """Traces every stage once without computing: wrong layers and shapes.

  Raises:
    ValueError: one line, naming the stage.
  """
  from kd_jax import state

  for stage in experiment.stages:
    frozen = {
      name: jax.eval_shape(
        experiment.networks[name].init, jax.random.key(0),
        example_inputs(experiment.data),
      )
      for name in stage.frozen
    }
    try:
      jax.eval_shape(
        lambda batch, stage=stage, frozen=frozen: state.init_state(
          experiment.networks, stage, frozen, batch
        ),
        example_batch(experiment, stage),
      )
    except ValueError as error:
      raise ValueError(f"stage '{stage.name}': {error}") from None


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
  }


def fingerprint(settings: Any) -> str:
  """A short hash of JSON-like settings."""
  text = json.dumps(settings, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]

