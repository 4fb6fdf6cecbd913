"""Measures networks whose scores are made of sums over each example.

Pixels and tokens of a test set are too many for their logits to be kept: a
batch of them is reduced on the device to what the score, its draws and the
comparison with the teacher need. The answers themselves are kept of a handful
of examples (see `shown`).
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
  shown,
  statistics,
  verdict,
)
from kd_jax.compare import measured as measures
from kd_jax.data import checks, pipeline
from kd_jax.losses import spatial
from kd_jax.training import runtime

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
  what = 'sequence' if data.vocabulary else 'image'
  draws = resampling.make_draws(count, films, what)
  sums, fits, losses = read(experiment, line, variables, split)
  scores = {row: resampling.score(task, x, draws) for row, x in sums.items()}
  moments = {}
  for moment, rows in others.items():
    alone = line._replace(
      networks={row: line.networks[row] for row in rows}, means={}, teacher=None
    )
    at, *_ = read(experiment, alone, rows, split)
    moments[moment] = {
      row: scored(task, resampling.score(task, x, draws))
      for row, x in at.items()
    }
  first = resampling.whole(next(iter(sums.values())))
  counted = task.counts(first).tolist() if task.counts else [first['count']]
  run = make_logits(experiment, line, variables)
  return measures.Measured(
    {
      row: {
        **numbers(task, sums[row], fits[row], data.bytes_per_token),
        **scored(task, scores[row]),
      }
      for row in sums
    },
    moments,
    counted,
    {
      **judged(task, line, scores),
      **shown.learned(experiment, line, split, losses),
    },
    {
      **shown.arrays(experiment, line, split, sums, losses, run),
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
) -> tuple[Sums, dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
  """Runs the networks of a lineup, and its means, over a split.

  Returns:
    The sums of the task by example; summed over all examples, what `fit_sums`
    tells, {row: {name: f64}}; and the loss of each token, {row: f32 [N, L]} in
    nats, {} where predictions are not of tokens.
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
  if task.prediction != 'token':
    return sums, fits, {}
  return sums, fits, {row: whole[row][2] for row in rows}


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
  """(logits, the teacher's or None, labels, mask) -> a tuple; compiled.

  The sums of the task, those of `fit_sums`, and of tokens the loss of each.
  """

  @jax.jit
  def reduce(logits, teacher, labels, mask):
    sums = task.per_example(logits, labels, mask)
    if task.says == tasks.NUMBER:
      return sums, {}
    if task.says == tasks.EACH:
      # Yes and no are two classes, of which each class is asked.
      logits, teacher = map(_of_two, (logits, teacher))
      right = (logits.argmax(-1) == labels).astype(jnp.float32)
      mask = jnp.broadcast_to(mask[:, None], right.shape)
      return sums, fit_sums(logits, teacher, right, mask)
    fit = fit_sums(logits, teacher, task.right(logits, labels), mask)
    if task.prediction != 'token':
      return sums, fit
    return sums, fit, tasks.per_token(logits, labels)

  return reduce


def _of_two(logits):
  """Logits [B, K] of yes as those [B, K, 2] of no and yes."""
  return None if logits is None else jnp.stack([0 * logits, logits], -1)


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


def numbers(
  task: tasks.Task, sums, fit, bytes_per_token: float | None = None
) -> dict[str, Any]:
  """Every number about a network that its sums give, JSON-like."""
  whole, bins, count, more = resampling.whole(sums), None, 0, {}
  if fit:
    bins, count = reliability(fit), fit['count'].sum()
  scores = {'nll': None, **task.scores(whole), **task.further(sums)}
  if task is tasks.LANGUAGE:
    bits = bytes_per_token and tasks.bits_per_byte(
      scores['nll'], bytes_per_token
    )
    more = {'bits_per_byte': bits}
  return {
    **scores,
    **more,
    'calibration_error': bins and fidelity.calibration_error(bins),
    'reliability': bins,
    'per_class': [
      None if np.isnan(x) else float(x) for x in task.per_class(whole)
    ]
    if task.class_title
    else None,
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
  """Score and interval of a network; no interval where it has no score."""
  interval = drawn.interval(statistics.LEVEL)
  known = np.isfinite([drawn.value, *interval]).all()
  return {
    task.score: drawn.value,
    'interval': list(interval) if known else None,
  }


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
