"""What a task is: how labels look, and what is scored.

A prediction is one row of logits: one an image, a pixel, a token. What does not
count is void: the border turns it into `VOID`, and a batch holds a class in
its place and 0 in its mask, so that no softmax ever sees it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

VOID = -1  # a label of a data set that does not count

# What a row of logits says, by `Task.says`.
ONE, EACH, NUMBER = 'one class', 'yes or no to each class', 'a number'


class Task(NamedTuple):
  """A task, as data.

  Attributes:
    name: the key of TASKS.
    axes: of a network's logits, a letter each: 'BK', 'BHWK'.
    labels: (values, shape of the inputs [N, ...], classes, ignore, where) ->
      the labels as a data set holds them, NumPy; a one-line ValueError that
      names `where` for anything else. `ignore` is the value that does not
      count, or None.
    classes: labels as given -> how many classes they show.
    strata: labels of a data set -> i64 [N], the kinds of examples that a
      part of it has in proportion.
    right: (logits, labels) -> f32 [B, ...], 1 where a prediction is right; of
      numbers how wrong it is.
    hits: what the mean of `right` is called in the metrics of a step.
    per_example: (logits, labels, mask) -> {name: [B, ...]}: sums over the
      predictions of each example, which add up to those of a data set.
    scores: {name: sum over a data set} -> {name: float}. The first one is
      the score; NaN where nothing counts.
    score: its name.
    title: the score in words.
    better: 1 where more of it is better, -1 where less is.
    unit: '%' where it is a fraction that is shown in per cent, or ''.
    also: (other score, its title, its unit) of those that tables show. A
      network may lack it: then it is None.
    per_class: {name: sum over a data set} -> f64 [K], NaN where a class does
      not occur; None where the sums do not tell.
    class_title: what a class is scored by, in words; '' where classes have no
      scores of their own.
    prediction: what one is made for, 'image', 'pixel' or 'token', as in
      `Method.predictions`.
    moves: what a geometric augmentation moves, 'image' or 'image and label'.
    panels: names of what a report draws of it beside what all have.
    hard: the method that compares logits with the labels.
    says: what a row of logits says: ONE, EACH or NUMBER.
    counts: {name: sum over a data set} -> [K] of labels by class; None where
      nobody asks for them.
    further: {name: [N, ...] of each example} -> further scores, which are no
      function of sums.
    undefined: when there is no score, in words.
  """

  name: str
  axes: str
  labels: Callable[..., np.ndarray]
  classes: Callable[[np.ndarray], int]
  strata: Callable[[np.ndarray], np.ndarray]
  right: Callable[[jax.Array, jax.Array], jax.Array]
  hits: str
  per_example: Callable[..., Mapping[str, jax.Array]]
  scores: Callable[[Mapping[str, np.ndarray]], dict[str, float]]
  score: str
  title: str
  better: int
  unit: str
  also: tuple[tuple[str, str, str], ...]
  per_class: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None
  class_title: str
  prediction: str
  moves: str
  panels: tuple[str, ...]
  hard: str = 'cross_entropy'
  says: str = ONE
  counts: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None
  further: Callable[[Mapping[str, np.ndarray]], dict[str, float]] = (
    lambda parts: {}
  )
  undefined: str = 'nothing counts'

  @property
  def single(self) -> bool:
    """Whether an example is one class: then it is right or wrong, by itself."""
    return self.axes == 'BK' and self.says == ONE

  @property
  def factor(self) -> float:
    """What a score is multiplied by to be shown in its unit."""
    return 100.0 if self.unit == '%' else 1.0


def sums(task: Task, logits, labels, mask) -> dict[str, jax.Array]:
  """{name: sum over the examples of a batch}, to be added over batches.

  Args:
    task: of the labels.
    logits: f32 [B, ..., K].
    labels: in range, [B, ...], or soft [B, ..., K].
    mask: f32 [B, ...], 1 where a prediction counts.
  """
  parts = task.per_example(logits, labels, mask)
  return {name: values.sum(0) for name, values in parts.items()}


def add(total: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
  """The sums of two parts of a data set, in f64 and i64 on the host."""
  wide = {
    name: values.astype('f8' if values.dtype.kind == 'f' else 'i8')
    for name, values in ((k, np.asarray(v)) for k, v in new.items())
  }
  return {k: total[k] + v if k in total else v for k, v in wide.items()}


def shown(score: float, unit: str) -> str:
  """A score as text, in its unit."""
  return f'{100 * score:.1f} %' if unit == '%' else f'{score:.3g}'


def changed(difference: float, unit: str) -> str:
  """A difference of scores as text, with its sign."""
  return f'{100 * difference:+.1f}' if unit == '%' else f'{difference:+.3g}'


def counted(labels, module) -> tuple:
  """Labels of a data set as those of a batch, and their mask.

  Args:
    labels: i [B] or soft f32 [B, K], which all count; or i [B, ...], where
      `VOID` does not.
    module: numpy or jax.numpy.

  Returns:
    The labels in range, and f32 [B] or [B, ...].
  """
  if labels.ndim == 1 or is_soft(labels):
    return labels, module.ones(labels.shape[:1], module.float32)
  counts = labels != VOID
  inside = module.where(counts, labels, 0).astype(module.int32)
  return inside, counts.astype(module.float32)


def ratio(part, whole) -> np.ndarray:
  """part / whole; NaN where the whole is 0."""
  part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
  return np.divide(part, whole, np.full(whole.shape, np.nan), where=whole > 0)


def mean(values: np.ndarray) -> float:
  """The mean of those that are not NaN; NaN without any."""
  there = values[~np.isnan(values)]
  return float(there.mean()) if there.size else float('nan')


def is_soft(labels) -> bool:
  """Whether labels are probabilities: told by their type, not their rank."""
  return np.issubdtype(labels.dtype, np.floating)


def size_of(
  values: np.ndarray, size: int, where: str, what: str = 'images'
) -> None:
  """Refuses labels that are no array, or not one for each of `size` inputs."""
  if not values.ndim:
    raise ValueError(f'labels of {where} are {values!s}; legal: an array')
  if len(values) != size:
    raise ValueError(f'{where} has {size} {what} but {len(values)} labels')


def inside(
  values: np.ndarray, counts: Any, classes: int, where: str, remedy: str = ''
) -> None:
  """Refuses labels that count and name no class.

  Args:
    values: i [N, ...].
    counts: bool [N, ...], or True for all.
    classes: K.
    where: what they are the labels of.
    remedy: (wrong labels i [n]) -> a hint, such as '; subtract 1'.
  """
  wrong = values[((values < 0) | (values >= classes)) & counts]
  if wrong.size:
    raise ValueError(
      f'{wrong.size} labels of {where} are out of range, the first is '
      f'{wrong[0]}; legal: 0..{classes - 1} ({classes} classes){remedy}'
    )
