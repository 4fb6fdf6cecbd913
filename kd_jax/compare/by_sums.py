"""Measures networks of many predictions an example, from sums over each.

Pixels of a test set are too many for their logits to be kept: a batch of them
is reduced on the device to what the score, its draws and the comparison with
the teacher need. The answers themselves are kept of a handful of images.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import build, tasks, types
from kd_jax.compare import (
  fidelity,
  predict,
  resampling,
  roles,
  statistics,
  verdict,
)
from kd_jax.compare import measured as measures
from kd_jax.data import checks, pipeline
from kd_jax.losses import spatial
from kd_jax.training import runtime

SHOWN = 6  # examples whose answers are kept for the report

# {row: {name: [N, ...]}}: sums over the predictions of every example.
Sums = Mapping[str, Mapping[str, np.ndarray]]


def measure(
  experiment: build.Experiment,
  line: roles.Lineup,
  variables: Mapping[str, types.Variables],
  others: Mapping[str, Mapping[str, types.Variables]],
  split,
  memo: dict | None = None,
) -> measures.Measured:
  """Runs every network on the test set: see `compare.compare`.

  Nothing is shared by runs: the memo would have to hold a teacher's logits.
  """
  del memo
  task, data = experiment.task, experiment.data
  count, films = len(split.labels), None
  if data.sequences is not None:
    films = checks.sequences(data.sequences(), count, f"'{data.name}' test")
  draws = resampling.make_draws(count, films)
  sums, fits = read(experiment, line, variables, split)
  scores = {row: resampling.score(task, x, draws) for row, x in sums.items()}
  moments = {}
  for moment, rows in others.items():
    alone = line._replace(
      networks={row: line.networks[row] for row in rows}, means={}, teacher=None
    )
    at, _ = read(experiment, alone, rows, split)
    moments[moment] = {
      row: scored(task, resampling.score(task, x, draws))
      for row, x in at.items()
    }
  first = next(iter(sums.values()))
  return measures.Measured(
    {
      row: {**numbers(task, sums[row], fits[row]), **scored(task, scores[row])}
      for row in sums
    },
    moments,
    first['confusion'].sum((0, 2), dtype=np.int64).tolist(),
    judged(task, line, scores),
    {
      **shown_arrays(experiment, line, variables, split, sums),
      **({} if films is None else {'sequences': films}),
      **{
        f'sums/{row}/{name}': values
        for row, of in sums.items()
        for name, values in of.items()
      },
    },
  )


def read(
  experiment: build.Experiment,
  line: roles.Lineup,
  variables: Mapping[str, types.Variables],
  split,
) -> tuple[Sums, dict[str, dict[str, np.ndarray]]]:
  """Runs the networks of a lineup, and its means, over a split.

  Returns:
    The sums of the task by example; and, summed over all examples, what
    `fit_sums` tells, {row: {name: f64}}.
  """
  task, run = experiment.task, make_logits(experiment, line, variables)
  reduce, count = _reducer(task), len(split.labels)

  def step(batch):
    logits = run(batch)
    target = logits.get(line.teacher)
    return {
      row: reduce(
        own,
        None if row == line.teacher else target,
        batch['labels'],
        batch['mask'],
      )
      for row, own in logits.items()
    }

  parts = pipeline.evaluate(
    split,
    min(runtime.eval_batch(experiment.data), count),
    step,
    functools.partial(jax.device_put, device=jax.local_devices()[0]),
  )
  # The last batch is filled up.
  whole = jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)
  # JAX sorts the keys of a dict. A mean of teachers comes first.
  first = [row for row in line.means if row == line.teacher]
  rows = list(dict.fromkeys([*first, *line.networks, *line.means]))
  sums = {row: whole[row][0] for row in rows}
  fits = {row: resampling.whole(whole[row][1]) for row in rows}
  return sums, fits


def make_logits(
  experiment: build.Experiment,
  line: roles.Lineup,
  variables: Mapping[str, types.Variables],
) -> Callable[[types.Batch], dict[str, jax.Array]]:
  """Makes a batch -> {row: logits f32 [B, ..., K]}, a row for every label.

  Those of the means come last. It runs on one device of this process.
  """
  device = jax.local_devices()[0]
  calls = {
    row: predict.make_call(experiment, name, ('logits',))
    for row, name in line.networks.items()
  }
  placed = {
    row: jax.device_put(jax.device_get(variables[row]), device) for row in calls
  }

  def logits(batch):
    rows = {
      row: _at(call(placed[row], batch)['logits'], batch['labels'])
      for row, call in calls.items()
    }
    means = {
      row: _mean([rows[other] for other in of])
      for row, of in line.means.items()
    }
    return {**rows, **means}

  return logits


_at = jax.jit(spatial.at_labels)


@jax.jit
def _mean(logits: Sequence[jax.Array]) -> jax.Array:
  """Logits of the mean of several networks' probabilities."""
  logs = jnp.stack([jax.nn.log_softmax(x) for x in logits])
  return jax.nn.logsumexp(logs, 0) - jnp.log(len(logits))


@functools.lru_cache(8)
def _reducer(task: tasks.Task) -> Callable:
  """(logits, the teacher's or None, labels, mask) -> sums, fit; compiled."""

  @jax.jit
  def reduce(logits, teacher, labels, mask):
    right = task.right(logits, labels)
    sums = task.per_example(logits, labels, mask)
    return sums, fit_sums(logits, teacher, right, mask)

  return reduce


def fit_sums(logits, teacher, right, mask) -> dict[str, jax.Array]:
  """How sure a network is, and how much it agrees with its teacher.

  Args:
    logits: f32 [B, ..., K].
    teacher: likewise, or None.
    right: f32 [B, ...], 1 where the largest logit is the label's.
    mask: f32 [B, ...].

  Returns:
    Sums over the predictions of each example: 'count', 'confidence' and
    'right' [B, BINS] of the bins of `fidelity.reliability`; with a teacher
    'agreement' [B] and 'kl' [B], of KL(teacher || student) in nats.
  """
  logs = jax.nn.log_softmax(logits)
  sure = jnp.exp(logs.max(-1))
  place = jnp.ceil(sure * fidelity.BINS).astype(jnp.int32) - 1
  place = jnp.clip(place, 0, fidelity.BINS - 1)

  def binned(place, values):
    empty = jnp.zeros(fidelity.BINS, jnp.float32)
    return empty.at[place.ravel()].add(values.ravel())

  sums = {
    'count': jax.vmap(binned)(place, mask),
    'confidence': jax.vmap(binned)(place, sure * mask),
    'right': jax.vmap(binned)(place, right * mask),
  }
  if teacher is None:
    return sums
  theirs = jax.nn.log_softmax(teacher)
  kl = (jnp.exp(theirs) * (theirs - logs)).sum(-1)
  same = logits.argmax(-1) == teacher.argmax(-1)
  axes = tuple(range(1, mask.ndim))
  return {
    **sums,
    'agreement': (same * mask).sum(axes),
    'kl': (kl * mask).sum(axes),
  }


def numbers(task: tasks.Task, sums, fit) -> dict[str, Any]:
  """Every number about a network that its sums give, JSON-like."""
  bins, count = reliability(fit), fit['count'].sum()
  whole = resampling.whole(sums)
  return {
    **task.scores(whole),
    'calibration_error': fidelity.calibration_error(bins),
    'reliability': bins,
    'per_class': [
      None if np.isnan(x) else float(x) for x in task.per_class(whole)
    ],
    'agreement': _share(fit, 'agreement', count),
    'agreement_top5': None,
    'kl': _share(fit, 'kl', count),
  }


def _share(fit, name: str, count: float) -> float | None:
  return float(fit[name] / count) if name in fit and count else None


def reliability(fit: Mapping[str, np.ndarray]) -> dict[str, list]:
  """As `fidelity.reliability`, from the sums of `fit_sums`."""
  count = fit['count']

  def means(values):
    return [float(s / n) if n else None for s, n in zip(values, count)]

  return {
    'count': count.astype(np.int64).tolist(),
    'confidence': means(fit['confidence']),
    'accuracy': means(fit['right']),
  }


def scored(task: tasks.Task, drawn: resampling.Resampled) -> dict[str, Any]:
  """Score and interval of a network."""
  interval = drawn.interval(statistics.LEVEL)
  return {task.score: drawn.value, 'interval': list(interval)}


def judged(
  task: tasks.Task,
  line: roles.Lineup,
  scores: Mapping[str, resampling.Resampled],
) -> dict[str, Any]:
  """The verdict on every student, and the gap it closed."""
  verdicts, gaps = {}, {}
  for row, alone in line.students.items():
    verdicts[row] = gaps[row] = None
    if alone:
      pair = scores[row], scores[alone]
      verdicts[row] = verdict.of_drawn_run(*pair, task)
    if alone and line.teacher:
      gaps[row] = statistics.gap_closed(
        scores[line.teacher], scores[alone], scores[row], task.better
      )
  return {
    'verdicts': verdicts,
    'verdict': verdicts[next(iter(line.students))],
    'gap_closed': gaps,
    'examples': None,
  }


def picks(task: tasks.Task, line: roles.Lineup, sums: Sums) -> np.ndarray:
  """The test examples to show, i64 [n].

  From the one that distillation improved most to the one that it harmed most,
  at equal distances in that order; without a student alone by the student's
  score.
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


def shown_arrays(
  experiment, line, variables, split, sums
) -> dict[str, np.ndarray]:
  """Images, labels and every network's answers of the examples shown."""
  shown = picks(experiment.task, line, sums)
  classes = experiment.data.classes
  small = np.uint8 if classes <= 256 else np.uint16
  if not shown.size:
    return {'shown': shown}
  batch = pipeline.take(split, shown)
  run = make_logits(experiment, line, variables)
  logits = run(jax.device_put(batch, jax.local_devices()[0]))
  truth = np.where(batch['mask'] > 0, batch['labels'], tasks.VOID)
  return {
    'shown': shown,
    'images': measures.pixels(np.asarray(batch['inputs'])),
    'truth': truth.astype(np.int16),
    **{
      f'answers/{row}': np.asarray(x.argmax(-1)).astype(small)
      for row, x in logits.items()
    },
  }
