"""Builds terms and recipes from sub-trees of a config, as plain dicts."""

from collections.abc import Mapping

from kd_jax import config, kinds, methods, optim, stages, tasks, terms, types
from kd_jax.data import augment, pipeline, sources


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
    steps = spec['steps'] or spec['epochs'] * per_epoch
    check_steps(steps, opt)
    if spec['augment'] and _is_no_image(data):
      what = 'text' if data.vocabulary else 'vectors'
      raise ValueError(
        f"augmentations change images, and '{data.name}' has {what}; legal: ()"
      )
    moves = tasks.make_task(data.task).moves
    augmented = augment.make_augment(spec['augment'], data.classes, moves)
    beside = {'clip_norm': opt['clip_norm'], 'accumulate': opt['accumulate']}
    for option in beside.keys() & opt['options'].keys():
      raise ValueError(f"'{option}' is a key of optimizer, not of its options")
    tx = optim.make_optimizer(opt['name'], **beside, **opt['options'])
    schedule = optim.make_schedule(opt['schedule'], steps, opt['accumulate'])
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from None
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


def _is_no_image(data: sources.Data) -> bool:
  inputs = data.train.inputs
  return isinstance(inputs, Mapping) or len(inputs.shape) != 4


def check_steps(steps: int, opt: Mapping) -> None:
  """Refuses a training that would update nothing.

  Args:
    steps: of it.
    opt: 'optimizer' of a config.

  Raises:
    ValueError: for more steps than are counted, fewer than an update takes,
      or a learning rate that is 0, or below its peak, to the end.
  """
  kinds.check('the number of steps', steps, kinds.Steps)
  if opt['accumulate'] > steps:
    raise ValueError(
      f'accumulate={opt["accumulate"]} is more than the {steps} steps: there '
      'would be no update'
    )
  delay, warmup = (opt['schedule'].get(k, 0) for k in ('delay', 'warmup'))
  kinds.check("'delay' of the schedule", delay, kinds.Steps)
  kinds.check("'warmup' of the schedule", warmup, kinds.NonNegative)
  check_delay(delay, steps)
  rise = warmup * steps if warmup < 1 else warmup
  if delay + rise > steps:
    after = f' after delay={delay}' if delay else ''
    raise ValueError(
      f"the schedule's warmup={warmup}{after} is more than the {steps} steps: "
      'the learning rate would not reach its peak'
    )


def check_delay(delay: int, steps: int) -> None:
  """Refuses a schedule that is 0 to the end, of a rate or of a term.

  Raises:
    ValueError: naming both.
  """
  if delay and delay >= steps:
    raise ValueError(
      f"the schedule's delay={delay} leaves none of the {steps} steps"
    )


def make_term(
  name: str, spec: Mapping, recipe: stages.Recipe, data: sources.Data
) -> terms.Term:
  """The term that `terms.NAME` describes.

  Args:
    name: of the term, for errors.
    spec: 'method', 'weight', 'student', 'teacher', 'schedule', 'void',
      'reduction', and options of the method.
    recipe: schedules run over its steps unless they say 'steps'.
    data: its training labels go to a method with an option `examples`.

  Raises:
    ValueError: for an unknown method, option, schedule or reduction.
  """
  reduction = spec.get('reduction', 'token_mean')
  if reduction not in terms.REDUCTIONS:
    raise types.unknown(
      'reduction', reduction, terms.REDUCTIONS, f"term '{name}'"
    )
  method = make_method(name, spec, data)
  check_task(name, spec['method'], tasks.make_task(data.task))
  hard = spec['method'] in methods.HARD
  teacher = spec.get('teacher', terms.LABELS if hard else 'teacher')
  if hard and teacher != terms.LABELS:
    raise ValueError(
      f"term '{name}': method '{spec['method']}' learns from the labels alone; "
      f"leave teacher='{teacher}' out"
    )
  return terms.Term(
    spec.get('student', 'student'),
    teacher,
    method,
    float(spec.get('weight', 1.0)),
    schedules=_schedules(name, spec.get('schedule', {}), method, recipe),
    void=spec.get('void', False),
    reduction=reduction,
  )


def check_task(name: str, method: str, task: tasks.Task) -> None:
  """Refuses a method that reads other logits or labels than a task's.

  Args:
    name: of the term, for errors.
    method: a key of METHODS.
    task: of the data set.

  Raises:
    ValueError: with the legal ones.
  """
  number = task.says == tasks.NUMBER
  if task.says == tasks.ONE:
    wrong, legal = method == 'squared_error', task.hard
  elif method in methods.HARD:
    wrong, legal = method != task.hard, task.hard
  else:
    soft = ('logit_mse',) if number else ('binary_kd', 'logit_mse')
    wrong = method not in soft and not methods.reads_layers(method)
    legal = f'{", ".join(soft)}, or one that reads layers'
  if wrong:
    raise ValueError(
      f"term '{name}': method '{method}' of the task '{task.name}', whose "
      f'logits are {task.says}; legal: {legal}'
    )


def make_method(name: str, spec: Mapping, data: sources.Data):
  """The method of the term `name`; the rest as in `make_term`."""
  options, method = method_options(spec), spec['method']
  try:
    maker = kinds.entry('method', methods.METHODS, method)
    for option in {'name', 'examples'} & spec.keys():  # set by us
      known = kinds.of_options(maker).keys() - {'examples'}
      raise types.lacks(f"method '{method}'", 'option', option, known)
    if 'examples' in kinds.of_options(maker):
      if data.train.labelled is not None:
        raise ValueError(
          f"method '{method}' reads the label of every example; legal: "
          "data.labels='all'"
        )
      options['examples'] = data.train.labels
    return methods.make_method(**options)
  except ValueError as error:
    raise ValueError(f"term '{name}': {error}") from None


def method_options(spec: Mapping) -> dict:
  """{'name', options} of a term's method."""
  options = {k: v for k, v in spec.items() if k not in config.TERM}
  return {'name': spec['method'], **options}


def _schedules(name, spec, method, recipe) -> dict[str, terms.Schedule]:
  """{hyperparameter: step -> multiplier}."""
  known, schedules, of = {'weight', *method.hparams}, {}, f"term '{name}'"
  for key, value in spec.items():
    if key not in known:
      raise types.lacks(of, 'number to schedule', key, known)
    kinds.check(f"the schedule of '{key}' of {of}", value, Mapping)
    options = dict(value)
    steps = options.pop('steps', recipe.steps)
    try:
      kinds.check("'steps' of a schedule", steps, kinds.Count)
      schedules[key] = optim.make_schedule(options, steps)
      check_delay(options.get('delay', 0), recipe.steps)
    except ValueError as error:
      raise ValueError(f'{of}: {error}') from None
  return schedules
