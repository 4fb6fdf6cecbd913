"""Checks that a report read from disk has the form that pages and tables need.

A report that was edited by hand, or cut off, is refused by the first place
that is wrong, before anything is printed or drawn from it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kd_jax import tasks
from kd_jax.compare import verdict

NUMBER, TEXT, WORD = (int, float), (str,), (str, type(None))
MAYBE = (int, float, type(None))


class Each(NamedTuple):
  """A mapping of any keys, or a list, whose values all have one form."""

  kind: type
  form: Any
  least: int = 0


class Optional(NamedTuple):
  """A value that may be null, and, if `absent`, missing."""

  form: Any
  absent: bool = False


class Either(NamedTuple):
  """A value that is a mapping of the first form, or else of the second."""

  mapping: Any
  plain: Any


class Pair(NamedTuple):
  """A list of two numbers."""


SUMMARY = {'mean': NUMBER, 'sd': NUMBER, 'values': Each(list, NUMBER, 1)}
SCORE = Either(SUMMARY, NUMBER)
MEASURE = Either(SUMMARY, MAYBE)
TIME = {'median': NUMBER, 'low': NUMBER, 'high': NUMBER}
RATE = Optional({'median': NUMBER, 'slow': NUMBER})
# Of every task; `of_network` adds its scores.
NETWORK = {
  'interval': Optional(Pair(), absent=True),
  'kept': MEASURE,
  'ratio': MEASURE,
  'nll': MEASURE,
  'calibration_error': MEASURE,
  'agreement': MEASURE,
  'agreement_top5': MEASURE,
  'kl': MEASURE,
  'per_class': Optional(Each(list, MAYBE, 1)),
  'cost': {
    'parameters': NUMBER,
    'bytes': NUMBER,
    'flops': MAYBE,
    'memory': MAYBE,
    'latency': Each(dict, TIME),
    'frames': Optional(
      {'size': Pair(), 'jax': RATE, 'onnxruntime': RATE}, absent=True
    ),
  },
}
VERDICT = {
  'outcome': TEXT,
  'text': TEXT,
  'evidence': TEXT,
  'difference': Optional(NUMBER),
  'interval': Optional(Pair()),
  'p': Optional(NUMBER, absent=True),
  'differences': Optional(Each(list, NUMBER), absent=True),
}
REPORT = {
  'kind': TEXT,
  'task': Optional(TEXT, absent=True),
  'rows': Each(list, TEXT, 1),
  'students': Each(dict, WORD, 1),
  'teacher': WORD,
  'means': Each(dict, Each(list, TEXT)),
  'verdicts': Each(dict, Optional(VERDICT), 1),
  'verdict': Optional(VERDICT),
  'gap_closed': Each(dict, MAYBE),
  'alike': Optional(
    Each(list, {'student': TEXT, 'teacher': TEXT, 'rows': Each(dict, MEASURE)})
  ),
  'select': TEXT,
  'stages': Optional(Each(list, TEXT), absent=True),
  'runs': Optional(Each(list, TEXT, 1), absent=True),
  'seeds': Optional(NUMBER, absent=True),
  'device': {'kind': TEXT},
  'data': {
    'name': TEXT,
    'fingerprint': TEXT,
    'test': NUMBER,
    'classes': Each(list, TEXT),
    'example': Optional(TEXT, absent=True),
    'palette': Optional(Each(list, Each(list, NUMBER, 3)), absent=True),
  },
}


def first_mistake(report: Any) -> str | None:
  """The first place of a report that is not as it must be, in words; or None.

  Args:
    report: as read from JSON.
  """
  mistake = _mistake(report, REPORT, '')
  if mistake:
    return mistake
  name = report.get('task') or tasks.CLASSIFICATION.name
  if name not in tasks.TASKS:
    return f'task is {_shown(name)}'
  task = tasks.make_task(name)
  examples = {'learned': SCORE, 'lost': SCORE}
  forms = {
    'networks': Each(dict, of_network(task), 1),
    'examples': examples if task.single else Optional(examples),
  }
  return _mistake(report, forms, '') or _of_names(report, task)


def of_network(task: tasks.Task) -> dict[str, Any]:
  """The form of a network's numbers."""
  # Of one class an example it is always known.
  score = SCORE if task.single else Optional(SCORE)
  moment = Optional({task.score: score})
  return {
    task.score: score,
    **{name: MEASURE for name, *_ in task.also},
    **NETWORK,
    'last': moment,
    'best': moment,
  }


def _mistake(value, form, path) -> str | None:
  """The first place at or below `path` that does not have the form."""
  if isinstance(form, Optional):
    return None if value is None else _mistake(value, form.form, path)
  if isinstance(form, Either):
    plain = not isinstance(value, Mapping)
    return _mistake(value, form.plain if plain else form.mapping, path)
  if isinstance(form, Pair):
    mistake = _mistake(value, Each(list, NUMBER), path)
    if mistake or len(value) == 2:
      return mistake
    return f'{path} has {len(value)} numbers and not two'
  if isinstance(form, Each):
    return _of_each(value, form, path)
  if isinstance(form, Mapping):
    return _of_keys(value, form, path)
  # JSON's true is no number here, though Python's is.
  if isinstance(value, form) and not isinstance(value, bool):
    return None
  return f'{path or "it"} is {_shown(value)}'


def _of_each(value, form: Each, path) -> str | None:
  if not isinstance(value, form.kind):
    return f'{path} is {_shown(value)}'
  if len(value) < form.least:
    return f'{path} is empty'
  pairs = value.items() if form.kind is dict else enumerate(value)
  mistakes = (_mistake(x, form.form, f'{path}.{key}') for key, x in pairs)
  return next(filter(None, mistakes), None)


def _of_keys(value, form: Mapping, path) -> str | None:
  if not isinstance(value, Mapping):
    return f'{path or "it"} is {_shown(value)}'
  for key, each in form.items():
    place = f'{path}.{key}'.lstrip('.')
    absent = isinstance(each, Optional) and each.absent
    if key not in value and not absent:
      return f'{place} is missing'
    mistake = _mistake(value.get(key), each, place)
    if mistake:
      return mistake
  return None


def _of_names(report, task) -> str | None:
  """The first name of a network or class that leads nowhere."""
  rows, networks = report['rows'], report['networks']
  if set(rows) != set(networks):
    return f'rows {rows} are not those of networks {list(networks)}'
  students = report['students']
  used = [*students, *filter(None, students.values()), report['teacher']]
  unknown = [row for row in filter(None, used) if row not in networks]
  if unknown:
    return f'networks.{unknown[0]} is missing'
  for key in ('verdicts', 'gap_closed'):
    if set(report[key]) != set(students):
      return f'{key} has other names than students'
  classes = len(report['data']['classes'])
  if bool(classes) != bool(task.class_title):
    return f'data.classes are {classes}'
  for row, network in networks.items():
    if len(network['per_class'] or ()) != classes:
      return f'networks.{row}.per_class is not one number per class'
  return _of_verdicts(report) or _of_seeds(report, task)


def _of_verdicts(report) -> str | None:
  """The first number that a verdict on scores lacks."""
  named = {f'verdicts.{row}': x for row, x in report['verdicts'].items()}
  for place, judged in {**named, 'verdict': report['verdict']}.items():
    if judged and judged['outcome'] != verdict.UNDEFINED:
      for key in ('difference', 'interval'):
        if judged[key] is None:
          return f'{place}.{key} is missing'
  return None


def _of_seeds(report, task) -> str | None:
  """The first number that one network has over seeds and another has not."""
  several = report['kind'] == 'seeds'
  if several != bool(report.get('runs')) or several != bool(
    report.get('seeds')
  ):
    return f'kind is {report["kind"]!r}, which its runs and seeds are not'
  for row, network in report['networks'].items():
    score = network[task.score]
    if score is not None and isinstance(score, Mapping) != several:
      place = f'networks.{row}.{task.score}'
      return f'{place} is not that of kind {report["kind"]!r}'
  return None


def _shown(value) -> str:
  """A value in a message, cut short."""
  text = repr(value)
  return 'missing' if value is None else text[:37] + '..' * (len(text) > 37)
