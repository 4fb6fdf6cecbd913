"""The whole of a distillation from Python, for a notebook."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from kd_jax import (
  build,
  checkpoint,
  metrics,
  optim,
  parallel,
  stages,
  terms,
  training,
  types,
)
from kd_jax import methods as method_table
from kd_jax.data import augment as augments
from kd_jax.data import pipeline, sources
from kd_jax.models import base as models
from kd_jax.schemes import base
from kd_jax.training import runtime


class Distilled(NamedTuple):
  """What `distill` returns.

  Attributes:
    variables: of the student after the last step.
    best: of the student when it was best on validation.
    history: a row per validation: losses, accuracies, learning rate.
    accuracy: {'teacher', 'student'}: of the test set, in [0, 1].
  """

  variables: types.Variables
  best: types.Variables
  history: list[dict]
  accuracy: dict[str, float]


def distill(
  student: Any,
  teacher: Any,
  teacher_variables: types.Variables,
  data: Any,
  *,
  temperature: float = 4.0,
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
  schedule: Mapping = {'name': 'constant'},
  augment: Sequence = (),
  seed: int = 0,
  workdir: str | pathlib.Path | None = None,
) -> Distilled:
  """Trains a student on alpha*soft + (1-alpha)*hard + beta*feature.

  Args:
    student: a Network, or a Linen module.
    teacher: likewise; None where the labels alone teach (`train_alone`).
    teacher_variables: of the teacher; they never change.
    data: from `make_data`, or ((train images [N, H, W, C], labels [N]),
      (test images, labels)); validation is held out of the training set.
    temperature: T of the soft loss.
    alpha: weight of the soft loss, in [0, 1].
    beta: weight of the feature loss over `layers`.
    layers: pairs (student's, teacher's) of names in their outputs.
    method: of the soft loss, a key of METHODS.
    feature_method: of the feature loss.
    epochs: passes over the training set.
    batch_size: examples an update.
    optimizer: sgd, adam or adamw.
    learning_rate: peak.
    weight_decay: of weights, not of biases and norms.
    schedule: of the learning rate, see `optim.make_schedule`.
    augment: see `kd_jax.data.augment`.
    seed: initialization, dropout and the order of the examples.
    workdir: keeps checkpoints and metrics there, and resumes.

  Returns:
    Distilled.

  Raises:
    ValueError: one line, before any work, for what cannot be meant.
  """
  data = _data(data, seed)
  if not 0 <= alpha <= 1:
    raise ValueError(f'alpha must lie in [0, 1], not {alpha}')
  if teacher is None and (alpha or layers):
    raise ValueError('without a teacher alpha must be 0 and layers empty')
  size = data.train.labels.shape[0]
  total = epochs * pipeline.steps_per_epoch(size, batch_size)
  recipe = stages.Recipe(
    total,
    batch_size,
    optim.make_optimizer(optimizer),
    learning_rate,
    weight_decay,
    optim.make_schedule(schedule, total),
    seed,
    seed,
    augments.make_augment(augment, classes=data.classes),
  )
  networks, loaded = {'student': _network(student)}, {}
  summands = {'hard': base.hard('student', 1 - alpha)}
  if teacher is not None:
    networks['teacher'] = _network(teacher)
    loaded['teacher'] = teacher_variables
    summands |= _taught(
      alpha, beta, temperature, method, feature_method, tuple(layers)
    )
  stage = stages.Stage(
    'student', summands, ('student',), recipe, frozen=tuple(loaded)
  )
  experiment = _experiment(networks, loaded, data, stage)
  return _run(experiment, stage, workdir)


def train_alone(network: Any, data: Any, **recipe) -> Distilled:
  """Trains a network on the labels: a teacher to be, or a baseline.

  Args:
    network: a Network, or a Linen module.
    data: as in `distill`.
    **recipe: epochs, batch_size, optimizer and whatever else `distill`
      takes, but for what concerns a teacher.

  Returns:
    As `distill`; its accuracy is {'student'} alone.

  Raises:
    ValueError: as `distill`.
  """
  return distill(network, None, None, data, alpha=0.0, **recipe)


def _data(data, seed) -> sources.Data:
  if isinstance(data, sources.Data):
    return data
  pair, test = data
  classes = int(np.max(pair[1])) + 1
  return sources.make_data(
    'arrays', train=pair, test=test, classes=classes, split_seed=seed
  )


def _network(network) -> models.Network:
  if isinstance(network, nn.Module):
    return models.from_linen(network)
  return network


def _taught(alpha, beta, temperature, method, feature_method, layers) -> dict:
  soft = method_table.make_method(method)
  if 'temperature' in soft.hparams:
    soft = method_table.make_method(method, temperature=temperature)
  summands = {'soft': terms.Term('student', 'teacher', soft, alpha)}
  if layers:
    feature = method_table.make_method(feature_method, layers=layers)
    summands['feature'] = terms.Term('student', 'teacher', feature, beta)
  return summands


def _experiment(networks, loaded, data, stage) -> build.Experiment:
  """The experiment that a config would have built."""
  knobs = {
    name: [term.weight, dict(term.method.hparams)]
    for name, term in stage.terms.items()
  }
  plain = stage.recipe._replace(tx=None, schedule=None, augment=None)
  settings = build.fingerprint(
    [
      data.fingerprint,
      knobs,
      plain._asdict(),
      {name: checkpoint.content_hash(v) for name, v in loaded.items()},
    ]
  )
  experiment = build.Experiment(
    networks,
    {name: {} for name in networks},
    loaded,
    data,
    [stage],
    parallel.choose(),
    pipeline.make_prepare(data.mean, data.std),
    (),
    {stage.name: settings},
    {
      'checkpoint_every': 0,
      'keep': 2,
      'eval_every': 0,
      'log_every': 10,
      'select': 'last',
    },
    {},
  )
  build.check(experiment)
  return experiment


def _run(experiment, stage, workdir) -> Distilled:
  rows = []

  def keep(stage, step, values):
    rows.append({'stage': stage, 'step': step, **values})

  folder = None if workdir is None else pathlib.Path(workdir)
  if folder is not None:
    folder.mkdir(parents=True, exist_ok=True)
  session = training.Session(folder, metrics.Writer(keep, lambda: None))
  starts = jax.device_get(experiment.loaded)
  done = training.train_stage(experiment, stage, starts, {}, session)['student']
  test = experiment.data.test()
  accuracy = {
    name: runtime.make_score(experiment, name, test)(variables)['accuracy']
    for name, variables in {**starts, 'student': done.last}.items()
  }
  return Distilled(done.last, done.best, rows, accuracy)
