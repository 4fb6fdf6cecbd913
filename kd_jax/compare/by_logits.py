"""Measures networks of one prediction an example, from all of its logits."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax import build, tasks, types
from kd_jax.compare import fidelity, predict, roles, statistics, verdict
from kd_jax.compare import measured as measures
from kd_jax.compare import shown as pieces
from kd_jax.data import pipeline

# Examples whose images are kept for the report.
SHOWN = {'learned': 24, 'lost': 8}


def measure(
  experiment: build.Experiment,
  line: roles.Lineup,
  variables: Mapping[str, types.Variables],
  others: Mapping[str, Mapping[str, types.Variables]],
  split,
  memo: dict | None = None,
) -> measures.Measured:
  """Runs every network on the test set: see `compare.compare`."""
  calls = {
    name: predict.make_outputs(experiment, name, ('logits',), memo)
    for name in dict.fromkeys(line.networks.values())
  }

  def run_of(row, variables):
    return calls[line.networks[row]](variables, split)

  outputs = {row: run_of(row, variables[row]) for row in line.networks}
  labels = next(iter(outputs.values()))['labels']
  logits = with_means(line, {r: x['logits'] for r, x in outputs.items()})
  moments = {
    moment: {
      row: scored(fidelity.right(run_of(row, v)['logits'], labels))
      for row, v in rows.items()
    }
    for moment, rows in others.items()
  }
  hard = fidelity.hard(labels)
  return measures.Measured(
    {row: numbers(line, logits, labels, row) for row in logits},
    moments,
    np.bincount(hard, minlength=experiment.data.classes).tolist(),
    judged(line, logits, labels),
    arrays(line, logits, labels, split, experiment.data),
  )


def with_means(line, logits) -> dict[str, np.ndarray]:
  """Adds the logits of the means; those of the teachers come first."""
  means = {
    row: fidelity.mean_of([logits[r] for r in of]).astype(np.float32)
    for row, of in line.means.items()
  }
  first = {k: v for k, v in means.items() if k == line.teacher}
  return {**first, **logits, **means}


def numbers(line, logits, labels, row: str) -> dict[str, Any]:
  """What a row's logits tell of it."""
  teacher = line.teacher
  target = logits[teacher] if teacher not in (None, row) else None
  return {
    **fidelity.measure(logits[row], labels, target),
    **scored(fidelity.right(logits[row], labels)),
  }


def scored(right: np.ndarray) -> dict[str, Any]:
  """Accuracy and Wilson interval of a network that is right at bool [N]."""
  interval = statistics.wilson(int(right.sum()), right.size)
  score = tasks.CLASSIFICATION.score
  return {score: float(right.mean()), 'interval': list(interval)}


def judged(
  line: roles.Lineup, logits: Mapping[str, np.ndarray], labels: np.ndarray
) -> dict[str, Any]:
  """The verdict on every student, the gap it closed, what it learned."""
  right = {row: fidelity.right(x, labels) for row, x in logits.items()}
  verdicts, gaps = {}, {}
  for row, alone in line.students.items():
    verdicts[row] = verdict.of_run(right[row], right[alone]) if alone else None
    gaps[row] = (
      statistics.gap_closed(right[line.teacher], right[alone], right[row])
      if alone and line.teacher
      else None
    )
  picked = picks(line, logits, labels)
  return {
    'verdicts': verdicts,
    'verdict': verdicts[next(iter(line.students))],
    'gap_closed': gaps,
    'examples': {k: len(v) for k, v in picked.items()},
  }


def picks(line, logits, labels) -> dict[str, list[int]]:
  """The test examples that were learned and lost; none without a baseline."""
  student, alone = next(iter(line.students.items()))
  if not (alone and line.teacher):
    return {'learned': [], 'lost': []}
  rows = line.teacher, alone, student
  return fidelity.examples(labels, *(logits[row] for row in rows))


def arrays(line, logits, labels, split, data) -> dict[str, np.ndarray]:
  """The arrays stored beside the report: logits, labels, a few examples."""
  picked = picks(line, logits, labels)
  shown = np.array(
    [i for kind, n in SHOWN.items() for i in picked[kind][:n]], np.int64
  )
  images, texts = np.zeros((0, 1, 1, 1), np.uint8), {}
  named = isinstance(split.inputs, Mapping)
  if not named and len(split.inputs.shape) != 4:  # vectors are no pictures
    shown = shown[:0]
  if shown.size:
    batch = pipeline.take(split, shown)
    if named:
      texts = {'pieces': pieces.texts(data, batch)}
    else:
      images = np.asarray(batch['inputs'])
  return {
    'labels': fidelity.hard(labels),
    'shown': shown,
    'images': measures.pixels(images),
    **texts,
    **{f'logits/{row}': x for row, x in logits.items()},
  }
