"""Picks the test examples that a report shows, and what it shows of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import build, tasks
from kd_jax.compare import measured, roles
from kd_jax.data import pipeline
from kd_jax.losses import tokens

SHOWN = 6  # examples whose answers are kept for the report
LEARNED = 12  # tokens at either end of a table
LONGEST = 24  # characters of a token in a report

Rows = Mapping[str, Mapping[str, np.ndarray]]


def picks(task: tasks.Task, line: roles.Lineup, sums: Rows) -> np.ndarray:
  """The test examples to show, i64 [n].

  From the one that distillation improved most to the one that it harmed most,
  at equal distances in that order; without a student alone by the student's
  score.

  Args:
    task: of the labels.
    line: of the networks.
    sums: {row: {name: [N, ...]}} of each example.
  """
  student, alone = next(iter(line.students.items()))

  def scores(row):
    each = zip(*sums[row].values())
    named = (dict(zip(sums[row], values)) for values in each)
    return np.array([task.scores(example)[task.score] for example in named])

  change = scores(student) - (scores(alone) if alone else 0)
  known = np.flatnonzero(~np.isnan(change))
  order = known[np.argsort(-task.better * change[known], kind='stable')]
  places = np.linspace(0, len(order) - 1, min(SHOWN, len(order)))
  return order[places.round().astype(int)].astype(np.int64)


def arrays(
  experiment: build.Experiment,
  line: roles.Lineup,
  split,
  sums: Rows,
  losses: Mapping[str, np.ndarray],
  run: Callable,
) -> dict[str, np.ndarray]:
  """The examples shown, and every network's answers of them.

  Args:
    experiment: its task and data.
    line: of the networks.
    split: the test set.
    sums: {row: {name: [N, ...]}} of each example.
    losses: {row: f32 [N, L]} of each token; {} of pixels.
    run: batch -> {row: logits}.
  """
  task = experiment.task
  if task.axes == 'BK':
    return {'shown': np.zeros(0, np.int64)}
  shown = picks(task, line, sums)
  if not shown.size:
    return {'shown': shown}
  batch = pipeline.take(split, shown)
  logits = run(jax.device_put(batch, jax.local_devices()[0]))
  answers = {row: np.asarray(x.argmax(-1)) for row, x in logits.items()}
  truth = np.where(batch['mask'] > 0, batch['labels'], tasks.VOID)
  if task.prediction == 'token':
    some = {row: x[shown] for row, x in losses.items()}
    text = _text(experiment.data, task, batch, truth, answers, some)
    return {'shown': shown, **text}
  small = np.uint8 if experiment.data.classes <= 256 else np.uint16
  return {
    'shown': shown,
    'images': measured.pixels(np.asarray(batch['inputs'])),
    'truth': truth.astype(np.int16),
    **{f'answers/{row}': x.astype(small) for row, x in answers.items()},
  }


def _text(data, task, batch, truth, answers, losses) -> dict[str, np.ndarray]:
  """The text of sequences, and what is said of each token.

  What speaks of the next token is moved to that token.

  Returns:
    'pieces', the text of each token [n, L or L + 1], '' of padding; 'truth' and
    'answers/ROW', texts of what was asked for there ('' where nothing was) and
    of what each network answers; 'losses/ROW' f32, in nats, NaN likewise.
  """
  ids, real = _said(jax.device_get(batch))
  language, asked = task is tasks.LANGUAGE, truth != tasks.VOID
  ahead = language and _is_ahead(ids, truth)

  def moved(x, empty):
    first = np.full((len(x), 1), empty, x.dtype)
    return np.concatenate([first, x], axis=1) if ahead else x

  say, places = texts_of(data, task), moved(asked, False)
  pieces = _texts(pieces_of(data), ids, real)
  if ahead:
    pieces = np.concatenate([pieces, np.full_like(pieces[:, :1], '')], axis=1)
  truth = moved(_texts(say, truth, asked), '')
  return {
    'pieces': np.where(places, truth, pieces) if language else pieces,
    'truth': truth,
    **{
      f'answers/{row}': moved(_texts(say, x, asked), '')
      for row, x in answers.items()
    },
    **{
      f'losses/{row}': moved(np.where(asked, x, np.float32('nan')), np.nan)
      for row, x in losses.items()
    },
  }


def _said(batch) -> tuple[np.ndarray, np.ndarray]:
  """The tokens that labels are of, i [n, L], and which are real, bool."""
  inputs = batch['inputs']
  if 'decoder_input_ids' in inputs:
    ids, real = (
      inputs['decoder_input_ids'],
      inputs.get('decoder_attention_mask'),
    )
  else:
    ids, real = inputs['input_ids'], tokens.real(batch)
  ids = np.asarray(ids)
  return ids, np.ones(ids.shape, bool) if real is None else np.asarray(real) > 0


def texts(data, batch) -> np.ndarray:
  """The text of each token of a batch [n, L], '' of padding."""
  return _texts(pieces_of(data), *_said(jax.device_get(batch)))


def _is_ahead(ids: np.ndarray, labels: np.ndarray) -> bool:
  """Whether labels are the next tokens, and not hidden ones at their place."""
  asked = labels[:, :-1] != tasks.VOID
  same = (labels[:, :-1] == ids[:, 1:])[asked]
  return bool(same.size and same.mean() > 0.5)


def texts_of(data, task: tasks.Task) -> Callable[[np.ndarray], list[str]]:
  """Classes [n] -> texts: the tokens of language, else names."""
  if task is tasks.LANGUAGE:
    return pieces_of(data)
  names = data.label_names or [str(k) for k in range(data.classes)]
  return lambda classes: [names[k] for k in np.asarray(classes).tolist()]


def pieces_of(data) -> Callable[[np.ndarray], list[str]]:
  """Indices [n] -> the text of each token; the index where it is unknown."""

  def pieces(ids):
    ids = np.asarray(ids).tolist()
    texts = data.pieces(ids) if data.pieces else [f'{i} ' for i in ids]
    return [text[:LONGEST] for text in texts]

  return pieces


def _texts(say: Callable, ids: np.ndarray, there: np.ndarray) -> np.ndarray:
  """Texts of indices [n, L], '' where there is none."""
  texts = np.full(ids.shape, '', f'<U{LONGEST}')
  texts[there] = say(ids[there])
  return texts


def learned(
  experiment: build.Experiment,
  line: roles.Lineup,
  split,
  losses: Mapping[str, np.ndarray],
) -> dict[str, Any]:
  """Which tokens the student learned from its teacher, JSON-like.

  Args:
    experiment: its task and data.
    line: of the networks.
    split: the test set.
    losses: {row: f32 [N, L]} of each token, in nats.

  Returns:
    'tokens': {'learned', 'lost': [{'piece', 'count', 'losses': {row: mean
    nats}}]}, of the labels whose losses, summed over the test set, fell and
    rose most from the student alone to the distilled one. {} without a student
    alone, or where predictions are not of tokens.
  """
  student, alone = next(iter(line.students.items()))
  if not losses or not alone:
    return {}
  rows = [row for row in (line.teacher, alone, student) if row]
  labels = np.asarray(split.labels)
  counts = labels != tasks.VOID
  kinds, place = np.unique(labels[counts], return_inverse=True)
  count = np.bincount(place)
  sums = {row: np.bincount(place, losses[row][counts]) for row in rows}
  gain = sums[alone] - sums[student]
  order = np.argsort(-gain, kind='stable')
  say = texts_of(experiment.data, experiment.task)

  def entry(k):
    return {
      'piece': say(kinds[[k]])[0],
      'count': int(count[k]),
      'losses': {row: float(sums[row][k] / count[k]) for row in rows},
    }

  ends = {'learned': order, 'lost': order[::-1]}
  sign = {'learned': 1, 'lost': -1}
  return {
    'tokens': {
      kind: [entry(k) for k in some[:LEARNED] if sign[kind] * gain[k] > 0]
      for kind, some in ends.items()
    }
  }
