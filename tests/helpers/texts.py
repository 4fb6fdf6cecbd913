"""Small data sets of text, made of a seed, and runs on them."""

import pathlib

import numpy as np

from kd_jax import build, checkpoint, compare, config, report
from kd_jax.data import sources
from kd_jax.models import base, text
from tests.helpers import pixels

VOCABULARY, LENGTH, TEST = 17, 12, 9
PAD = 0  # also the last token of a sequence
ROWS, variables = pixels.ROWS, pixels.variables
NAMES = ('noun', 'verb', 'end')


def sentences(size: int, seed: int = 0, length: int = LENGTH) -> list[list]:
  """Sequences of 4 to `length` tokens, each 1 or 2 above the one before."""
  rng = np.random.default_rng(seed)
  rows = []
  for _ in range(size):
    count = int(rng.integers(4, length + 1))
    steps = rng.integers(1, 3, count - 1)
    ids = 1 + (rng.integers(0, 16) + np.cumsum([0, *steps])) % 16
    rows.append([*ids[:-1].tolist(), PAD])  # PAD ends it, and counts
  return rows


def padded(rows, length: int = LENGTH, prompt: int = 1) -> tuple[dict, object]:
  """Inputs and labels [N, length] of sequences, filled up on the right.

  The labels are the next tokens, but for the first `prompt` of them.
  """
  shape = len(rows), length
  ids, mask = np.full(shape, PAD, np.int32), np.zeros(shape, np.int32)
  labels = np.full(shape, -100)
  for k, row in enumerate(rows):
    ids[k, : len(row)], mask[k, : len(row)] = row, 1
    labels[k, prompt - 1 : len(row) - 1] = row[prompt:]
  return {'input_ids': ids, 'attention_mask': mask}, labels


def packed(rows, length: int) -> tuple[dict, object]:
  """Likewise, several sequences in a row, each with a segment."""
  inputs = {k: [] for k in ('input_ids', 'segment_ids', 'positions', 'labels')}
  lines = [[]]
  for row in rows:
    if sum(map(len, lines[-1])) + len(row) > length:
      lines.append([])
    lines[-1].append(row)
  for line in lines:
    values = {k: np.zeros(length, int) for k in inputs}
    values['labels'][:] = -100
    at = 0
    for segment, row in enumerate(line, start=1):
      place = slice(at, at + len(row))
      values['input_ids'][place] = row
      values['segment_ids'][place] = segment
      values['positions'][place] = range(len(row))
      values['labels'][at : at + len(row) - 1] = row[1:]
      at += len(row)
    for k, x in values.items():
      inputs[k].append(x)
  inputs = {k: np.stack(x) for k, x in inputs.items()}
  return inputs, inputs.pop('labels')


def data(task: str = 'language', **options) -> sources.Data:
  """A data set of a task; 32 sequences train, 8 validate."""
  parts = {
    part: padded(sentences(size, seed))
    for part, size, seed in (('train', 40, 0), ('test', TEST, 1))
  }
  given = {
    part: (inputs, LABELS[task](inputs, labels))
    for part, (inputs, labels) in parts.items()
  }
  more = {'vocabulary': VOCABULARY, 'task': task, 'validation': 8}
  if task in CLASSES:
    more['classes'] = CLASSES[task]
  if task in ('language', 'classification'):
    more['pieces'] = lambda ids: [f'w{i} ' for i in ids]
  if task == 'language':
    more['bytes_per_token'] = 3.0
  return sources.make_data('arrays', **{**given, **more, **options})


def _first(inputs):
  return inputs['input_ids'][:, 0]


LABELS = {
  'language': lambda inputs, labels: labels,
  'tagging': lambda inputs, labels: np.where(
    inputs['attention_mask'] > 0,
    np.where(inputs['input_ids'] == PAD, 2, inputs['input_ids'] % 2),
    -100,
  ),
  'classification': lambda inputs, labels: _first(inputs) // 9,
  'regression': lambda inputs, labels: _first(inputs) / 16,
  'multilabel': lambda inputs, labels: np.stack(
    [_first(inputs) % 2 == 0, _first(inputs) > 8, _first(inputs) > 4], -1
  ).astype(int),
}
CLASSES = {'tagging': 3, 'classification': 2, 'regression': 1, 'multilabel': 3}
HEADS = {'tagging': 'token'}


def network(task: str = 'language', width: int = 8, **options) -> base.Network:
  """A causal model of language, or an encoder of one block."""
  small = dict(width=width, depth=1, heads=2, hidden=2 * width, context=64)
  if task == 'language':
    return text.NETWORKS['llama'](classes=VOCABULARY, **{**small, **options})
  return text.NETWORKS['bert'](
    classes=CLASSES[task],
    vocabulary=VOCABULARY,
    head=HEADS.get(task, 'sequence'),
    **{**small, 'dropout': 0.0, 'attention_dropout': 0.0, **options},
  )


SOFT = {'regression': 'logit_mse', 'multilabel': 'logit_mse'}


def settings(task: str = 'language', **changes) -> config.ConfigDict:
  """A config of a teacher and a student from Python."""
  c = config.default()
  c.networks.teacher = dict(given=True)
  c.networks.student = dict(given=True)
  hard = {'regression': 'squared_error', 'multilabel': 'binary_cross_entropy'}
  method = hard.get(task, 'cross_entropy')
  c.terms.hard = dict(method=method, weight=0.5)
  c.terms.soft = dict(method=SOFT.get(task, 'kd'), weight=0.5)
  c.train.batch_size = c.teacher.batch_size = 8
  c.train.epochs = c.teacher.epochs = 2
  c.parallel = 'one'
  for key, value in changes.items():
    config.assign(c, key, value)
  return c


def experiment(task: str = 'language', of=None, **changes) -> build.Experiment:
  """The experiment of `settings`, on `data` unless another is given."""
  given = {
    'teacher': build.Given(network(task, 16)),
    'student': build.Given(network(task)),
  }
  return build.make_experiment(
    settings(task, **changes), of or data(task), given=given
  )


def run(folder: pathlib.Path, task: str = 'language', seed: int = 0) -> dict:
  """A compared run in `folder`, of networks that are not trained."""
  folder.mkdir(parents=True, exist_ok=True)
  checkpoint.write_json(folder / 'config.json', {})
  of = experiment(task)
  made = compare.run(of, variables(of, seed), folder)
  report.write(folder)
  return made
