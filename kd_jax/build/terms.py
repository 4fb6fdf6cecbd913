"""Sub-trees of a config, as plain dicts, turned into terms and recipes."""

import inspect
from collections.abc import Mapping

from kd_jax import methods, optim, stages, terms, types
from kd_jax.data import augment, pipeline, sources

# The keys of a term that are not options of its method.
_TERM = ('method', 'weight', 'student', 'teacher', 'schedule')


def make_recipe(
  spec: Mapping, name: str, seed: int, data: sources.Data, data_seed: int
) -> stages.Recipe:
  """How a stage is trained, from 'train' or 'teacher' of a config.

  Args:
    spec: as `config.training` has it.
    name: of the sub-tree, for errors.
    seed: initialization and dropout.
    data: the data set.
    data_seed: order of the examples and augmentation.

  Raises:
    ValueError: for an unknown name or option, or a batch that is too large.
  """
  size = data.train.labels.shape[0]
  batch_size, opt = spec['batch_size'], spec['optimizer']
  try:
    per_epoch = pipeline.steps_per_epoch(size, batch_size)
    augmented = augment.make_augment(spec['augment'], classes=data.classes)
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from None
  steps = spec['steps'] or spec['epochs'] * per_epoch
  tx = optim.make_optimizer(
    opt['name'],
    clip_norm=opt['clip_norm'],
    accumulate=opt['accumulate'],
    **opt['options'],
  )
  schedule = optim.make_schedule(opt['schedule'], steps, opt['accumulate'])
  return stages.Recipe(
    steps,
    batch_size,
    tx,
    opt['learning_rate'],
    opt['weight_decay'],
    schedule,
    seed,
    data_seed,
    augmented,
    spec['views'],
    name,
  )


def make_term(
  name: str, spec: Mapping, recipe: stages.Recipe, data: sources.Data
) -> terms.Term:
  """The term that `terms.NAME` describes.

  Args:
    name: of the term, for errors.
    spec: 'method', 'weight', 'student', 'teacher', 'schedule', and options
      of the method.
    recipe: schedules run over its steps unless they say 'steps'.
    data: its training labels go to a method with an option `examples`.

  Raises:
    ValueError: for an unknown method, option or schedule.
  """
  made = make_method(name, spec, data)
  teacher = terms.LABELS if spec['method'] in methods.HARD else 'teacher'
  return terms.Term(
    spec.get('student', 'student'),
    spec.get('teacher', teacher),
    made,
    float(spec.get('weight', 1.0)),
    schedules=_schedules(name, spec.get('schedule', {}), made, recipe),
  )


def make_method(name: str, spec: Mapping, data: sources.Data):
  """The method of the term `name`; the rest as in `make_term`."""
  options = method_options(spec)
  method = options.pop('name')
  maker = methods.METHODS.get(method)
  if maker and 'examples' in inspect.signature(maker).parameters:
    options['examples'] = data.train.labels
  try:
    return methods.make_method(method, **options)
  except ValueError as error:
    raise ValueError(f"term '{name}': {error}") from None


def method_options(spec: Mapping) -> dict:
  """{'name', options} of a term's method."""
  options = {k: v for k, v in spec.items() if k not in _TERM}
  return {'name': spec['method'], **options}


def _schedules(name, spec, method, recipe) -> dict[str, terms.Schedule]:
  """{hyperparameter: step -> multiplier}."""
  known, made = {'weight', *method.hparams}, {}
  for key, value in spec.items():
    if key not in known:
      raise types.unknown(f"schedule of term '{name}'", key, known)
    options = dict(value)
    steps = options.pop('steps', recipe.steps)
    made[key] = optim.make_schedule(options, steps)
  return made
