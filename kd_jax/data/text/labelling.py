"""Labels as files have them, names or numbers, as those of a task."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kd_jax import tasks


def make_labels(
  values: Sequence[Any],
  task: tasks.Task,
  names: Sequence[str] = (),
  where: str = '',
) -> tuple[Any, tuple[str, ...]]:
  """Labels of a task, and the names of its classes where they have names.

  Args:
    values: a label of each text: a number or a name of classification, a
      number of regression, a list of either of multi-label classification (or
      'a,b' in one text), a list for the words of each text of tagging.
    task: of them.
    names: of the classes; () finds them in the values, sorted.
    where: for errors.

  Returns:
    Integers [N]; floats [N]; lists of integers of the other two.

  Raises:
    ValueError: a label that is none, or a name that `names` lacks.
  """
  if task.name == tasks.REGRESSION.name:
    return np.array([_number(v, float, where) for v in values]), ()
  single = task.name == tasks.CLASSIFICATION.name
  lists = [[v] if single else _list(v) for v in values]
  flat = [v for each in lists for v in each]
  if all(_is_whole(v) for v in flat):
    numbers = [[int(v) for v in each] for each in lists]
  else:
    names = tuple(names) or tuple(sorted({str(v) for v in flat}))
    places = {name: i for i, name in enumerate(names)}
    wrong = next((v for v in flat if str(v) not in places), None)
    if wrong is not None:
      raise ValueError(
        f"{where} has the label '{wrong}'; legal: {', '.join(names)}"
      )
    numbers = [[places[str(v)] for v in each] for each in lists]
  if single:
    return np.array([n for (n,) in numbers], np.int64), tuple(names)
  return numbers, tuple(names)


def several(numbers: Sequence[Sequence[int]], classes: int, where: str):
  """Lists of classes as f32 [N, K] of 0 and 1."""
  out = np.zeros((len(numbers), classes), np.float32)
  for row, each in enumerate(numbers):
    for number in each:
      if not 0 <= number < classes:
        raise ValueError(
          f'{where} has the label {number}; legal: 0..{classes - 1}'
        )
      out[row, number] = 1
  return out


def count(labels: Any, task: tasks.Task, names: Sequence[str]) -> int:
  """How many classes labels show."""
  if task.name == tasks.REGRESSION.name:
    return 1
  if task.name == tasks.CLASSIFICATION.name:
    return len(names) or task.classes(labels)
  return len(names) or 1 + max((n for each in labels for n in each), default=0)


def _list(value: Any) -> list:
  """A list of labels; texts are split at commas."""
  if isinstance(value, str):
    return [part.strip() for part in value.split(',') if part.strip()]
  return list(np.atleast_1d(value).tolist())


def _is_whole(value: Any) -> bool:
  try:
    return float(value) == int(value)
  except (TypeError, ValueError):
    return False


def _number(value: Any, kind: type, where: str):
  try:
    return kind(value)
  except (TypeError, ValueError):
    raise ValueError(
      f'{where} has the label {value!r}; legal: a number'
    ) from None
