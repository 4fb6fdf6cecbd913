"""Corpora: texts as they come, cut into what trains, validates and tests."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kd_jax import tasks
from kd_jax.data import checks


class Corpus(NamedTuple):
  """Texts and what is said of them.

  Attributes:
    texts: N of them: str; pairs of str; lists of words; arrays of ids.
    labels: of a task, [N, ...] or a list of N; None of a language.
    targets: what follows each text, a str each (an answer, a translation);
      None: nothing does.
    continuous: whether a text is long and is cut itself: its last part tests,
      the part before validates. Else every text is an example of its own.
  """

  texts: Sequence[Any]
  labels: Any = None
  targets: Sequence[str] | None = None
  continuous: bool = False


def take(corpus: Corpus, rows: np.ndarray) -> Corpus:
  """The texts `rows` of a corpus."""

  def pick(values):
    if values is None or isinstance(values, np.ndarray):
      return None if values is None else values[rows]
    return [values[int(row)] for row in rows]

  parts = corpus.texts, corpus.labels, corpus.targets
  return Corpus(*map(pick, parts), corpus.continuous)


def cut(
  corpus: Corpus,
  task: tasks.Task,
  validation: float,
  more_test: float,
  seed: int,
  where: str,
) -> tuple[Corpus, Corpus | None, Corpus | None]:
  """What trains, validates and tests; None for a part that takes nothing.

  Args:
    corpus: of the training set.
    task: whose kinds of examples each part has in proportion.
    validation, more_test: as of every data set; of continuous texts fractions
      of their characters.
    seed: of the draw; continuous texts are cut at the same places always.
    where: for errors.
  """
  if corpus.continuous:
    return _cut_within(corpus, validation, more_test, where)
  parts = []
  for option, value in (('more_test', more_test), ('validation', validation)):
    number = checks.count(option, value, len(corpus.texts), where)
    if not number:
      parts.append(None)
      continue
    kept, out = checks.stratify(strata(corpus, task), number, seed)
    parts.append(take(corpus, out))
    corpus = take(corpus, kept)
  test, held = parts
  return corpus, held, test


def strata(corpus: Corpus, task: tasks.Task) -> np.ndarray:
  """The kinds of examples, i64 [N]."""
  if task.name != tasks.CLASSIFICATION.name or corpus.labels is None:
    return np.zeros(len(corpus.texts), np.int64)
  return task.strata(np.asarray(corpus.labels))


def _cut_within(corpus, validation, more_test, where) -> tuple:
  """The beginning, the middle and the end of every text."""
  for option, value in (('validation', validation), ('more_test', more_test)):
    checks.share(option, value, f'{where}, whose texts are cut,')
  if validation + more_test >= 1:
    raise ValueError(
      f'validation={validation} and more_test={more_test} of {where} leave '
      'nothing to train on; legal: a sum below 1'
    )
  borders = 1 - more_test - validation, 1 - more_test, 1
  parts, before = [], [0] * len(corpus.texts)
  for border in borders:
    ends = [round(len(text) * border) for text in corpus.texts]
    pieces = [t[a:b] for t, a, b in zip(corpus.texts, before, ends)]
    pieces = [piece for piece in pieces if len(piece)]
    parts.append(Corpus(pieces, continuous=True) if pieces else None)
    before = ends
  return tuple(parts)
