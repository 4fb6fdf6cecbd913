"""Compares every recipe with its source, setting by setting."""

import inspect
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from experiments.configs import cifar100 as cifar100_config
from experiments.configs import imagenet as imagenet_config
from experiments.configs import pairs, weights
from experiments.recipes import origins, reasons, translate
from kd_jax import config, methods

CONFIGS = {
  'cifar100': (cifar100_config, weights.CIFAR100, pairs.CIFAR100),
  'imagenet': (imagenet_config, weights.IMAGENET, pairs.IMAGENET),
}
# Parts of a term that are no option of its method.
_APART = ('method', 'weight', 'layers', 'student', 'teacher', 'schedule')


class Row(NamedTuple):
  """A recipe beside its source.

  Attributes:
    data: 'cifar100' or 'imagenet'.
    method, teacher, student: the recipe.
    ours, theirs: {setting: value}.
    place: repository, file and commit.
    differs: the settings that do.
    reasons: {setting: why}, of those that have a reason.
    note: what the source leaves open.
  """

  data: str
  method: str
  teacher: str
  student: str
  ours: dict[str, Any]
  theirs: dict[str, Any]
  place: str
  differs: tuple[str, ...]
  reasons: dict[str, str]
  note: str

  @property
  def unexplained(self) -> list[str]:
    """The settings that differ without a reason."""
    return [key for key in self.differs if key not in self.reasons]


def rows() -> Iterator[Row]:
  """Every method on every pair."""
  for data, (_, known, of_pairs) in CONFIGS.items():
    for method in known:
      for teacher, student in of_pairs:
        yield compare(data, method, teacher, student)


def compare(data: str, method: str, teacher: str, student: str) -> Row:
  """One recipe beside its source."""
  origin = origins.origin(method, teacher, student)
  theirs = translate.settings(method, origin)
  ours = settings(data, method, teacher, student)
  known = reasons.REASONS.get((data, method), {})
  differs = tuple(
    key for key in sorted({*ours, *theirs}) if _differs(key, ours, theirs)
  )
  return Row(
    data,
    method,
    teacher,
    student,
    ours,
    theirs,
    origin.place,
    differs,
    {key: known[key] for key in differs if key in known},
    origin.note,
  )


def settings(data: str, method: str, teacher: str, student: str) -> dict:
  """{setting: value} of the resolved config of a recipe.

  The defaults of the terms' methods are among them.
  """
  file = CONFIGS[data][0]
  c = config.resolve(file.get_config(f'{method},{teacher},{student}'))
  train, optimizer = c.train, c.train.optimizer
  epochs, layers = train.epochs, pairs.layers_of(teacher)
  found = {
    'epochs': epochs,
    'batch_size': train.batch_size,
    'learning_rate': optimizer.learning_rate,
    'drops': tuple(round(epochs * b) for b in optimizer.schedule.boundaries),
    'factor': optimizer.schedule.factor,
    'weight_decay': optimizer.weight_decay,
    'momentum': optimizer.options.momentum,
    'nesterov': optimizer.options.get('nesterov', False),
    'decay': optimizer.options.decay,
    'clip_norm': optimizer.clip_norm,
    'delta': optimizer.options.get('delta', 0),
    'augment': tuple(train.augment),
    'init': c.networks.student.init,
  }
  if c.scheme.name == 'two_phase':
    found['first'] = round(c.scheme.share * epochs)
  for name, term in c.terms.items():
    found |= _of_term(name, term.to_dict(), file.EXAMPLES // train.batch_size)
    for schedule in term.get('schedule', {}).values():
      if 'warmup' in schedule:
        found['warmup'] = round(schedule.warmup * epochs)
      if 'start' in schedule:
        found['fall'] = round(schedule.start * epochs)
    if name == 'soft' and 'layers' in term:
      read = [tuple(pair) for pair in term.layers]
      found['layers'] = next(k for k, v in layers.items() if v == read)
  return found


def _of_term(name, term, per_epoch) -> dict:
  """The weight and the options of a term, those of steps in epochs."""
  taken = inspect.signature(methods.METHODS[term['method']]).parameters
  options = {
    key: part.default
    for key, part in taken.items()
    if part.default is not inspect.Parameter.empty
  }
  options |= term
  found = {name: term['weight']}
  for key, value in options.items():
    if key.endswith('_steps') and value is not None:
      key, value = key.replace('_steps', '_epochs'), value / per_epoch
    if key not in _APART:
      found[f'{name}.{key}'] = value
  return found


def _differs(key, ours, theirs) -> bool:
  """Whether a setting differs; what a source leaves out, it does not set."""
  if key in theirs:
    return not _same(ours.get(key, 0), theirs[key])
  return '.' not in key and key not in translate.TRAINING


def _same(ours, theirs) -> bool:
  if isinstance(theirs, list | tuple):
    alike = isinstance(ours, list | tuple) and len(ours) == len(theirs)
    return alike and all(map(_same, ours, theirs))
  if isinstance(theirs, bool | str) or isinstance(ours, str | tuple):
    return ours == theirs
  return ours is not None and math.isclose(ours, theirs, rel_tol=1e-9)


def idle(found: Iterable[Row]) -> list[tuple[str, str, str]]:
  """The reasons, as (data, method, setting), of which no row has need."""
  used = {(r.data, r.method, key) for r in found for key in r.reasons}
  return [
    (*recipe, key)
    for recipe, known in reasons.REASONS.items()
    for key in known
    if (*recipe, key) not in used
  ]
