"""TASKS: what a label is and what is scored; the one table."""

from collections.abc import Mapping

from kd_jax import types
from kd_jax.tasks.base import (
  EACH,
  NUMBER,
  ONE,
  VOID,
  Task,
  add,
  changed,
  counted,
  is_soft,
  shown,
  sums,
)
from kd_jax.tasks.classification import CLASSIFICATION
from kd_jax.tasks.language import LANGUAGE, bits_per_byte, per_token
from kd_jax.tasks.multilabel import MULTILABEL
from kd_jax.tasks.regression import REGRESSION
from kd_jax.tasks.segmentation import SEGMENTATION
from kd_jax.tasks.tagging import TAGGING

TASKS: Mapping[str, Task] = {
  task.name: task
  for task in (
    CLASSIFICATION,
    SEGMENTATION,
    LANGUAGE,
    TAGGING,
    REGRESSION,
    MULTILABEL,
  )
}


def make_task(name: str) -> Task:
  """The task of a name.

  Raises:
    ValueError: for an unknown one, with the near and known ones.
  """
  if name not in TASKS:
    raise types.unknown('task', name, TASKS)
  return TASKS[name]


def task_of(report: Mapping) -> Task:
  """The task of a report; one that names none is of classification."""
  return make_task(report.get('task', CLASSIFICATION.name))


__all__ = [
  'CLASSIFICATION',
  'EACH',
  'LANGUAGE',
  'MULTILABEL',
  'NUMBER',
  'ONE',
  'REGRESSION',
  'SEGMENTATION',
  'TAGGING',
  'TASKS',
  'VOID',
  'Task',
  'add',
  'bits_per_byte',
  'changed',
  'counted',
  'is_soft',
  'make_task',
  'per_token',
  'shown',
  'sums',
  'task_of',
]
