"""Intervals of scores that are no means of independent predictions.

Pixels of an image are not independent, nor tokens of a text, nor frames of a
film: what is drawn again and again, with replacement, are images or texts,
sequences of images, or blocks of neighboring frames. All networks of a data
set see the same draws, so that a difference of two of them is paired.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax import tasks

DRAWS = 1000
LEAST_FILMS = 20  # fewer of them are cut into blocks
NAN = float('nan')


class Resampled(NamedTuple):
  """A score of a test set, or a difference of scores, and of draws from it.

  Attributes:
    value: of the test set.
    values: f64 [DRAWS], of the draws.
    count: examples of the test set.
    how: what was drawn, in words.
  """

  value: float
  values: np.ndarray
  count: int
  how: str

  def minus(self, other: 'Resampled') -> 'Resampled':
    """The difference from the score of another network on the same draws."""
    return self._replace(
      value=self.value - other.value, values=self.values - other.values
    )

  def interval(self, level: float) -> tuple[float, float]:
    """The percentile interval over the draws that have a score.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
      section 13.3; DOI 10.1201/9780429246593.
    """
    tail = (1 - level) / 2
    if np.isnan(self.values).all():
      return NAN, NAN
    low, high = np.nanquantile(self.values, (tail, 1 - tail))
    return float(low), float(high)

  def error(self) -> float:
    """The standard error: the deviation over the draws."""
    known = self.values[~np.isnan(self.values)]
    return float(known.std(ddof=1)) if known.size > 1 else NAN

  def p(self) -> float:
    """Two-sided, of a difference: twice the smaller share on a side of 0.

    At least 1 / DRAWS, since so many draws tell no more.
    """
    known = self.values[~np.isnan(self.values)]
    sides = (known <= 0).mean(), (known >= 0).mean()
    return float(np.clip(2 * min(sides), 1 / DRAWS, 1))


def mean(scores: Sequence[Resampled]) -> Resampled:
  """The mean over seeds, each of the same test set."""
  values = np.mean([score.values for score in scores], 0)
  value = float(np.mean([score.value for score in scores]))
  return scores[0]._replace(value=value, values=values)


class Draws(NamedTuple):
  """Draws from a test set.

  Attributes:
    counts: f64 [DRAWS, N], how often each example is in each draw.
    how: what is drawn, in words.
  """

  counts: np.ndarray
  how: str


def make_draws(
  count: int, sequences: np.ndarray | None = None, what: str = 'image'
) -> Draws:
  """Draws from `count` examples, the same ones at every call.

  Args:
    count: N.
    sequences: i [N], the film of each example, whose frames are in the order
      of time; None where the examples are independent.
    what: an example is.

  Returns:
    Single examples; whole sequences, where there are `LEAST_FILMS`; else
    blocks of ceil(N^(1/3)) neighbors of a sequence, which is closed to a
    ring, so that its ends are drawn as often as its middle.

  Source: blocks: Politis and Romano, A circular block resampling procedure
    for stationary data, 1992; their length: Hall, Horowitz and Jing, On
    blocking rules for the bootstrap with dependent data, 1995,
    DOI 10.1093/biomet/82.3.561.
  """
  members, how = _units(count, sequences, what)
  rng = np.random.default_rng(0)
  sizes = np.array([len(unit) for unit in members])
  number = max(1, round(count / sizes.mean()))
  counts = np.zeros((DRAWS, count))
  for row in counts:
    drawn = rng.integers(0, len(members), number)
    chosen = np.concatenate([members[unit] for unit in drawn])
    row += np.bincount(chosen, minlength=count)
  return Draws(counts, f'{how} drawn {DRAWS} times with replacement')


def _units(count, sequences, what) -> tuple[list[np.ndarray], str]:
  """What is drawn, each as indices of examples, and in words."""
  if sequences is None:
    return list(np.arange(count)[:, None]), f'{what}s'
  films = [np.flatnonzero(sequences == film) for film in np.unique(sequences)]
  if len(films) >= LEAST_FILMS:
    return films, f'{len(films)} whole sequences of images'
  length = math.ceil(round(count ** (1 / 3), 9))
  blocks = [
    film[(start + np.arange(length)) % len(film)]
    for film in films
    for start in range(len(film))
  ]
  return blocks, f'blocks of {length} neighboring frames'


def score(
  task: tasks.Task, sums: Mapping[str, np.ndarray], draws: Draws
) -> Resampled:
  """The score of a network, of the test set and of every draw from it.

  Args:
    task: of the labels.
    sums: {name: [N, ...]}, of every example (see `Task.per_example`).
    draws: from the N examples.
  """
  count = draws.counts.shape[1]
  drawn = {
    name: (draws.counts @ np.reshape(values, (count, -1))).reshape(
      len(draws.counts), *np.shape(values)[1:]
    )
    for name, values in sums.items()
  }
  values = np.array(
    [
      task.scores({name: x[k] for name, x in drawn.items()})[task.score]
      for k in range(len(draws.counts))
    ]
  )
  value = task.scores(whole(sums))[task.score]
  return Resampled(value, values, count, draws.how)


def whole(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """{name: sum over the test set} of sums [N, ...] over examples."""
  return {
    name: np.sum(x, 0, 'f8' if x.dtype.kind == 'f' else 'i8')
    for name, x in sums.items()
  }
