"""Trains or distills a network from Python: builds a config and runs it."""

import contextlib
import numbers
import pathlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from kd_jax import build, config, errors, metrics, tasks, training, types
from kd_jax import methods as method_table
from kd_jax.data import sources
from kd_jax.models import base as models
from kd_jax.runs import folders, interrupts
from kd_jax.training import runtime


class Distilled(NamedTuple):
  """What `distill` and `train_alone` return.

  Attributes:
    variables: of the student after the last step.
    best: of the student when it was best on validation; after the last step
      too where nothing was held out.
    history: a dict for each validation (once an epoch), whole also after a
      resume: 'step' (updates made), 'epoch', 'loss' (weighted sum of the
      terms, nats), 'loss/TERM' (each term unweighted: 'loss/hard',
      'loss/soft', 'loss/feature'), 'HITS/student' (training, in [0, 1], see
      `Task.hits`: of classification 'accuracy/student'),
      'validation_SCORE/student' of the scores of the task (of classification
      'validation_accuracy/student', 'validation_nll/student' in nats),
      'learning_rate', 'grad_norm'; means over the steps since the row before.
    score: {'teacher', 'student'}: the score of the task on the test set, of
      classification the accuracy in [0, 1].
    network: the student, whose `apply(variables, inputs)` predicts, in f32
      whatever the precision of its training.
    task: what the labels are, and what is scored.
  """

  variables: types.Variables
  best: types.Variables
  history: list[dict]
  score: dict[str, float]
  network: models.Network
  task: tasks.Task = tasks.CLASSIFICATION

  @property
  def accuracy(self) -> dict[str, float]:
    """The score of classification.

    Raises:
      AttributeError: for any other task.
    """
    if self.task is not tasks.CLASSIFICATION:
      raise AttributeError(
        f'the score of {self.task.name} is the {self.task.title}: see .score'
      )
    return self.score

  def __repr__(self) -> str:
    shown = ', '.join(
      f'{name} {tasks.shown(value, self.task.unit)}'
      for name, value in self.score.items()
    )
    count = models.num_params(self.variables)
    return (
      f'Distilled(test {self.task.title}: {shown}; {count:,} parameters; '
      f'{len(self.history)} rows of history)'
    )

  def plot(self):
    """Score on validation and losses by epoch, drawn by a notebook's cell."""
    from kd_jax.report import curves, notebook

    return notebook.show(*curves.draw_rows([self.history], task=self.task))


def distill(
  student: Any,
  teacher: Any,
  teacher_variables: Any = None,
  data: Any = None,
  *,
  temperature: float | None = None,
  alpha: float = 0.9,
  beta: float = 0.0,
  layers: Sequence[tuple[str, str]] = (),
  method: str = 'kd',
  feature_method: str = 'feature_mse',
  epochs: int = 20,
  batch_size: int = 64,
  optimizer: str = 'adam',
  learning_rate: float = 1e-3,
  weight_decay: float = 0.0,
  schedule: Mapping | str = 'constant',
  augment: Sequence = (),
  task: str = '',
  ignore: int | None = None,
  precision: str = 'float32',
  seed: int = 0,
  classes: int = 0,
  workdir: str | pathlib.Path | None = None,
  overwrite: bool = False,
) -> Distilled:
  """Trains a student on alpha*soft + (1-alpha)*hard + beta*feature.

  The same as a config with these values: it is checked, built and trained by
  the same code.

  Args:
    student: a Network, or a Linen or NNX module. An NNX module is trained
      from the values that it holds; the others are initialized by `seed`.
    teacher: likewise; or what `distill` or `train_alone` returned.
    teacher_variables: of the teacher, or what `distill` or `train_alone`
      returned; they never change. Not needed for an NNX module.
    data: from `make_data`, or ((train images [N, H, W, C], labels [N]),
      (test images, labels)), where labels are integers or probabilities
      [N, K], or label maps [N, H, W] of task='segmentation'; validation is
      held out of the training set. Vectors [N, D] may be classified too, and
      text, a dict of 'input_ids', 'attention_mask', .. [N, L], whose labels are
      tokens [N, L] where task='language'.
    temperature: T of the soft loss; by default 4, where the method has it.
    alpha: weight of the soft loss, in [0, 1].
    beta: weight of the feature loss over `layers`.
    layers: pairs (student's, teacher's) of names in their outputs.
    method: of the soft loss, a key of METHODS.
    feature_method: of the feature loss.
    epochs: passes over the training set.
    batch_size: examples an update.
    optimizer: sgd, adam, adamw or dot.
    learning_rate: peak.
    weight_decay: of weights, not of biases and norms.
    schedule: of the learning rate: a name, or a dict with its options (see
      `optim.make_schedule`).
    augment: names or dicts of `kd_jax.data.augment.AUGMENTS`.
    task: a key of `kd_jax.tasks.TASKS`; '' is that of `data` from
      `make_data`, else classification. The networks of 'segmentation' give
      logits [B, h, w, K], of the images' size or smaller.
    ignore: the label of pixels that do not count, such as 255; None: all do.
    precision: in which the networks compute: 'float32', 'bfloat16' or
      'highest' (see `kd_jax.with_precision`); their variables are f32 always.
    seed: initialization, dropout and the order of the examples.
    classes: K of the labels; 0 takes the number of the student's outputs.
    workdir: keeps checkpoints, metrics and the network there; the same call
      again continues, or returns what is finished. Ctrl-C and SIGTERM save.
    overwrite: moves what is in `workdir` aside and begins anew.

  Returns:
    Distilled.

  Raises:
    ValueError: one line, before any work, for an invalid argument, or a
      workdir that another call made (the first difference is named).
    errors.BusyError: another process trains in `workdir`.
    errors.DivergedError: a loss became NaN or infinite.
    KeyboardInterrupt: stopped, and saved where there is a workdir.
  """
  given = {'student': build.Given(_network(student, 'student'))}
  if teacher is not None:
    given['teacher'] = _teacher(teacher, teacher_variables)
  elif teacher_variables is not None:
    raise ValueError('teacher_variables are given without a teacher')
  c = config.default()
  values = {
    'alpha': alpha,
    'beta': beta,
    'seed': seed,
    'data.seed': seed,
    'baseline': False,
    'precision': precision,
    'task': task,
    'train.epochs': epochs,
    'train.batch_size': batch_size,
    'teacher.batch_size': batch_size,  # of no stage here, but checked
    'train.augment': _sequence('augment', augment),
    'train.optimizer.name': optimizer,
    'train.optimizer.learning_rate': learning_rate,
    'train.optimizer.weight_decay': weight_decay,
  }
  for key, value in values.items():
    config.assign(c, key, value)
  if epochs < 1:
    raise ValueError(f'epochs must be at least 1, not {epochs}')
  c.train.optimizer.schedule = config.open_dict(**_schedule(schedule))
  for name in given:
    c.networks[name] = {'given': True}
  labels = {'task': task, 'ignore': ignore}
  data = _data(data, seed, classes, given['student'].network, labels)
  _set_terms(
    c, tasks.make_task(data.task).hard, teacher is not None, temperature,
    method, feature_method, _sequence('layers', layers),
  )  # fmt: skip
  return _run(c, data, given, workdir, overwrite)


def train_alone(network: Any, data: Any, **recipe) -> Distilled:
  """Trains a network on the labels: a teacher to be, or a baseline.

  Args:
    network: a Network, or a Linen or NNX module.
    data: as in `distill`.
    **recipe: epochs, batch_size, optimizer, learning_rate, weight_decay,
      schedule, augment, task, ignore, precision, seed, classes, workdir and
      overwrite of `distill`.

  Returns:
    As `distill`; its score is {'student'} alone.

  Raises:
    ValueError: as `distill`, and for what concerns a teacher.
  """
  known = (
    'epochs', 'batch_size', 'optimizer', 'learning_rate', 'weight_decay',
    'schedule', 'augment', 'task', 'ignore', 'precision', 'seed', 'classes',
    'workdir', 'overwrite',
  )  # fmt: skip
  for name in recipe:
    if name not in known:
      raise types.unknown('argument of train_alone', name, known)
  return distill(network, None, None, data, alpha=0.0, **recipe)


def _network(network, role: str) -> models.Network:
  """The Network of an argument: a Network, or a Linen or NNX module."""
  if isinstance(network, models.Network):
    return network
  if isinstance(network, nn.Module):
    return models.from_linen(network)
  if models.is_nnx(network):
    return models.from_nnx(network)
  legal = 'a Linen or NNX module, or a Network of kd_jax.from_linen, from_nnx'
  if isinstance(network, type):
    raise ValueError(
      f'the {role} is the class {network.__name__}; give an instance, '
      f'{network.__name__}(...)'
    )
  raise ValueError(
    f'the {role} is a {type(network).__name__}; legal: {legal}, from_function '
    'or make_network'
  )


def _teacher(teacher, variables) -> build.Given:
  """The teacher and its variables, from the arguments of `distill`."""
  if isinstance(teacher, Distilled):
    teacher, variables = teacher.network, variables or teacher.variables
  if isinstance(variables, Distilled):
    variables = variables.variables
  network = _network(teacher, 'teacher')
  if variables is None and models.is_nnx(teacher):
    variables = network.init(jax.random.key(0), None)
  if not isinstance(variables, Mapping) or 'params' not in variables:
    kind = type(variables).__name__
    if isinstance(variables, Mapping):
      kind = f'dict with the keys {", ".join(map(str, variables)) or "none"}'
    raise ValueError(
      "teacher_variables must be a dict with 'params' (and 'batch_stats' "
      'where the network has them), or what train_alone returned; they are '
      f'a {kind}'
    )
  return build.Given(network, dict(variables))


def _set_terms(
  c, hard, taught, temperature, method, feature_method, layers
) -> None:
  """Sets the terms of a config from the arguments of `distill`."""
  c.terms.hard = dict(method=hard, weight=1.0 - c.alpha)
  if not taught:
    if c.alpha or c.beta or layers:
      raise ValueError(
        'without a teacher alpha and beta must be 0 and layers empty'
      )
    return
  for name in (method, feature_method):
    if name not in method_table.METHODS:
      raise types.unknown('method', name, method_table.METHODS)
  if bool(c.beta) != bool(layers):
    raise ValueError(
      f'beta={c.beta:g} with layers={list(layers)}: a feature loss needs both, '
      'beta above 0 and pairs of layers'
    )
  c.terms.soft = dict(method=method, weight=float(c.alpha))
  if temperature is not None:
    config.assign(c, 'temperature', temperature)
  if 'temperature' in method_table.make_method(method).hparams:
    c.terms.soft.temperature = float(c.temperature)
  elif temperature is not None:
    raise ValueError(f"temperature={temperature}: method '{method}' has none")
  if layers:
    c.terms.feature = dict(
      method=feature_method, weight=float(c.beta), layers=list(layers)
    )


def _sequence(name: str, value) -> tuple:
  """A list argument as a tuple."""
  if isinstance(value, str) or not isinstance(value, Sequence):
    raise ValueError(
      f'{name} must be a list, not the {type(value).__name__} {value!r}'
    )
  return tuple(value)


def _schedule(schedule) -> dict:
  """A schedule by name, or with options."""
  if isinstance(schedule, str):
    return {'name': schedule}
  if not isinstance(schedule, Mapping):
    raise ValueError(
      "schedule must be a name such as 'cosine', or a dict with one, not "
      f'{schedule!r}'
    )
  return dict(schedule)


def _data(data, seed, classes, network, labels) -> sources.Data:
  """The data set of the argument `data`; labels: its 'task' and 'ignore'."""
  labels = {k: value for k, value in labels.items() if value not in ('', None)}
  if isinstance(data, sources.Data):
    if labels.get('ignore', data.ignore) != data.ignore:
      raise ValueError(
        f'ignore={labels["ignore"]}, but the data were made with '
        f'ignore={data.ignore}'
      )
    if classes and classes != data.classes:
      raise ValueError(f'classes={classes}, but the data have {data.classes}')
    return data
  if not isinstance(data, (tuple, list)) or len(data) != 2:
    raise ValueError(
      'data must be ((train images, labels), (test images, labels)), or come '
      f'from kd_jax.make_data, not a {type(data).__name__}'
    )
  for name, value in (('classes', classes), ('seed', seed)):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
      raise ValueError(f'{name} must be an integer, not {value!r}')
  train, test = data
  if not classes:
    # The labels may lack a class; the network says how many it can tell apart.
    classes = _outputs(network, train[0]) if len(train) == 2 else 0
  return sources.make_data(
    'arrays', train=train, test=test, classes=classes, split_seed=int(seed),
    **labels,
  )  # fmt: skip


def _outputs(network, inputs) -> int:
  """The number of outputs of a network for inputs [N, ...]; 0: unknown."""
  text = isinstance(inputs, Mapping)
  kind, ranks = (np.int32, (2,)) if text else (np.float32, (2, 4))
  examples = {
    name: jax.ShapeDtypeStruct((1, *np.shape(x)[1:]), kind)
    for name, x in (inputs if text else {'': inputs}).items()
  }
  if any(len(x.shape) not in ranks for x in examples.values()):
    return 0  # `make_data` raises the error
  example = examples if text else examples['']
  return models.output_shapes(network, example)['logits'].shape[-1]


def _run(c, data, given, workdir, overwrite) -> Distilled:
  """Builds, claims, trains and scores."""
  experiment = build.make_experiment(c, data, given=given)
  folder = _folder(workdir)
  stage = experiment.stages[-1]
  with contextlib.ExitStack() as stack:
    stop = int  # no signal
    if folder is not None:
      if overwrite:
        folders.make_room(folder)
      folders.claim(
        folder, experiment.config, experiment.inputs, experiment.data.tokenizer
      )
      stack.enter_context(folders.lock(folder))
      stop = stack.enter_context(interrupts.heard())
    rows, writer = _writer(folder)
    stack.callback(writer.close)
    session = training.Session(folder, writer, lambda: bool(stop()))
    try:
      (outcome,) = training.run_all([experiment], [session])
      networks = outcome.unwrap()
    except errors.StoppedError as stopped:
      text = f'stopped and saved {stopped}; run the same call to continue'
      if stop() == signal.SIGINT:
        raise KeyboardInterrupt(text) from None
      raise errors.StoppedError(text) from None
  last, best = networks['student'], outcome.best['student']
  test = data.test()
  everything = {**experiment.loaded, 'student': last}
  task = experiment.task
  score = {
    name: runtime.make_score(experiment, name, test)(variables)[task.score]
    for name, variables in everything.items()
  }
  history = [r for r in rows() if r['stage'] == stage.name]
  network = build.in_full(experiment, 'student', given['student'])
  return Distilled(last, best, history, score, network, task)


def _folder(workdir) -> pathlib.Path | None:
  """The folder of a run, or None."""
  if workdir is None:
    return None
  if not isinstance(workdir, (str, pathlib.Path)) or not str(workdir):
    raise ValueError(f'workdir must be a path or None, not {workdir!r}')
  folders.check_path(workdir, 'workdir')
  return pathlib.Path(workdir)


def _writer(folder):
  """() -> the rows so far of all stages, and the writer of metrics."""
  if folder is not None:
    return lambda: metrics.read_rows(folder), metrics.make_writer(folder)
  rows = []

  def write(stage, step, values):
    rows.append({'stage': stage, 'step': step, **values})

  return lambda: rows, metrics.Writer(write, lambda: None)
