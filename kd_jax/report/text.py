"""Draws what networks say of every token: texts in the color of their loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import tasks
from kd_jax.compare import results
from kd_jax.compare import table as tables

LONGEST = 160  # tokens of a sequence that are shown
STRONGEST = 0.75  # opacity of a loss at the 95th percentile, and above


def tokens(result: results.Result, names, colors) -> dict[str, Any] | None:
  """The tokens of a handful of test sequences, of the first run.

  Args:
    result: of a run or of several seeds.
    names: {row: title}.
    colors: {row: CSS variable}.

  Returns:
    'texts', [{'index', 'lines': [{'title', 'color', 'note', 'spans'}]}], a span
    with 'text', 'tint' (CSS variable), 'strength' in [0, 1] and 'what'; 'order'
    and 'scale' in words; 'heads' and, of tables of tokens, 'learned' and
    'lost', [(piece, [cells])]. None without sequences.
  """
  run, report = result.runs[0], result.report
  if not run.pieces:
    return None
  student, alone = next(iter(report['students'].items()))
  rows = [row for row in (report['teacher'], alone, student) if row]
  scale = _scale([run.losses[row] for row in rows])
  texts = []
  for index in run.pieces:
    lines = [
      {
        'title': names[row],
        'color': colors[row],
        'note': _note(report, run.sums[row], index),
        'spans': _losses(run, row, index, scale),
      }
      for row in rows
    ]
    if alone:
      spans = _gains(run, student, alone, index, scale)
      lines.append(
        {
          'title': 'distilled against alone',
          'color': 'ink',
          'note': '',
          'spans': spans,
        }
      )
    texts.append({'index': index, 'lines': lines})
  known = run.report.get('tokens') or {}
  return {
    'texts': texts,
    'order': _order(alone),
    'scale': f'{tables.decimal(scale)} nats',
    'compared': bool(alone),
    'heads': [(names[row], colors[row]) for row in rows],
    **{kind: _table(known.get(kind, ()), rows) for kind in ('learned', 'lost')},
  }


def _order(alone: str | None) -> str:
  if alone is None:
    return 'From the sequence that the student does best on to its worst.'
  return (
    'From the test sequence that distillation improved most to the one that '
    'it harmed most, at equal distances in that order.'
  )


def _scale(losses: Sequence[Mapping[int, np.ndarray]]) -> float:
  """The loss that is drawn strongest, in nats: the 95th percentile."""
  values = np.concatenate([x for of in losses for x in of.values()])
  known = values[np.isfinite(values)]
  return max(float(np.quantile(known, 0.95)), 1e-3) if known.size else 1.0


def _note(report, sums, index: int) -> str:
  """The score of one sequence."""
  task = tasks.task_of(report)
  scores = task.scores({name: values[index] for name, values in sums.items()})
  return f'{task.title} {tasks.shown(scores[task.score], task.unit)}'


def _losses(run: results.Run, row: str, index: int, scale: float) -> list[dict]:
  """The tokens of a sequence, red where a network's loss is large."""
  loss, truth = run.losses[row][index], run.truth[index]
  answers = run.answers[row][index]
  what = [
    f'{x:.2f} nats; says {answer.strip() or repr(answer)}'
    + ('' if answer == asked else f', asked for {asked.strip() or repr(asked)}')
    if np.isfinite(x)
    else ''
    for x, answer, asked in zip(loss, answers, truth)
  ]
  shares = np.nan_to_num(loss / scale)
  return _spans(run, index, ['bad'] * len(loss), shares, what)


def _gains(
  run: results.Run, student: str, alone: str, index: int, scale: float
) -> list[dict]:
  """The tokens, green where distilling lowered the loss, red where it rose."""
  gain = run.losses[alone][index] - run.losses[student][index]
  what = [
    f'{-x:+.2f} nats against the student alone' if np.isfinite(x) else ''
    for x in gain
  ]
  gain = np.nan_to_num(gain)
  tints = ['good' if x > 0 else 'bad' for x in gain]
  return _spans(run, index, tints, 2 * np.abs(gain) / scale, what)


def _spans(run, index, tints, shares, what) -> list[dict]:
  """The texts of the tokens with a color each."""
  pieces = run.pieces[index]
  spans = [
    {
      'text': str(piece),
      'tint': tint,
      'strength': round(STRONGEST * float(min(max(share, 0), 1)), 3),
      'what': text,
    }
    for piece, tint, share, text in zip(pieces, tints, shares, what)
    if piece
  ]
  return spans[:LONGEST]


def _table(entries: Sequence[Mapping], rows: Sequence[str]) -> list[tuple]:
  """(piece, [how often, the mean loss under each row])."""
  return [
    (
      # Quotes show spaces; what cannot be seen is written as in Python.
      repr(entry['piece']),
      [
        tables.count(entry['count']),
        *(tables.decimal(entry['losses'][row]) for row in rows),
      ],
    )
    for entry in entries
  ]
