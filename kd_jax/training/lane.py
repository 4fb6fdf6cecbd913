"""Opens, validates, saves and ends a lane, a training of a stage."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import build, checkpoint, errors, metrics, stages, tasks
from kd_jax import state as states
from kd_jax.training import finished
from kd_jax.training import runtime as runtimes


class Lane(NamedTuple):
  """A training of one stage.

  Attributes:
    stage: with the hyperparameters and the seed of the lane.
    session: folder, writer.
    manager: of its checkpoints; None: none are kept.
    step: updates done.
    state: of training, at `step` after `_look` of the loop.
    best: {student: {'score', 'step', 'variables'}} on validation so far; the
      latest, with the score NaN, where nothing has one.
    identity: all that its result depends on.
    way: of stepping, `chunks.SINGLE` or `chunks.CHUNK`; '' before it is chosen.
    strategy: a key of `strategies.STRATEGIES`; '' before it is chosen.
    sums: {metric: sum} over the steps since the last validation.
    count: of those steps.
    scores: {'validation_SCORE/STUDENT'} of the last validation, the first one
      of each student that of the task.
    failure: why it ended early; None while it trains.
  """

  stage: stages.Stage
  session: finished.Session
  manager: Any
  step: int
  state: states.State
  best: Mapping[str, Mapping]
  identity: Mapping[str, Any] = {}
  way: str = ''
  strategy: str = ''
  sums: Mapping[str, float] = {}
  count: int = 0
  scores: Mapping[str, float] = {}
  failure: Exception | None = None


def open_lane(
  experiment: build.Experiment, entry, runtime: runtimes.Runtime
) -> Lane:
  """A lane at its newest whole checkpoint, or before its first step.

  Args:
    experiment: of any of the lanes.
    entry: a `loop.Entry`.
    runtime: of the stage.

  Raises:
    errors.UserError: the checkpoint belongs to another training.
  """
  stage, session = entry.stage, entry.session
  state = runtime.init(stage, entry.starts)
  lane = Lane(
    stage, session, None, 0, state, _first(stage, state), entry.identity
  )
  if session.folder is not None:
    place = session.folder / 'checkpoints' / stage.name
    manager = checkpoint.make_manager(place, experiment.options['keep'])
    lane = _resume(lane._replace(manager=manager))
  return lane._replace(state=runtime.replicate(lane.state))


def _first(stage, state) -> dict[str, dict]:
  """The best-on-validation record before any validation: without a score."""
  return {
    name: {
      'score': np.float32(np.nan),
      'step': np.int32(0),
      'variables': jax.device_get(states.variables_of(state, name, stage)),
    }
    for name in stage.students
  }


def _resume(lane: Lane) -> Lane:
  """The lane at the newest whole checkpoint, or unchanged without any."""
  target = {'state': lane.state, 'best': lane.best}
  step, tree, meta = checkpoint.restore(lane.manager, target, lane.identity)
  if jax.process_index() == 0:
    metrics.forget(lane.session.folder, lane.stage.name, max(step, 0))
  if step < 0:
    return lane
  return lane._replace(
    step=step,
    state=tree['state'],
    best=tree['best'],
    sums=meta['sums'],
    count=meta['count'],
    way=meta['way'],
    strategy=meta.get('strategy', ''),
  )


def read(lane: Lane, step: int, values: Mapping[str, float]) -> Lane:
  """Adds the metrics of the step from `step` - 1 to `step` to the sums.

  A loss that is not finite is the lane's failure, written with the rest.
  """
  bad = metrics.first_bad(values)
  if bad:
    lane.session.writer.write(lane.stage.name, step, values)
    what = bad.removeprefix('loss/')
    what = 'the loss' if what == 'loss' else f"term '{what}'"
    failure = errors.DivergedError(
      f'{what} is {values[bad]} at step {step} of stage {lane.stage.name!r}; '
      f'{_advice(step)}'
    )
    return lane._replace(failure=failure)
  sums = {k: lane.sums.get(k, 0.0) + v for k, v in values.items()}
  return lane._replace(step=step, sums=sums, count=lane.count + 1)


def _advice(step: int) -> str:
  """The remedy for a loss that is not finite."""
  if step == 1:
    return (
      'nothing was updated yet: check the data, the variables of the teacher '
      'and the numbers of the term'
    )
  return (
    'the last good checkpoint is kept; try a lower learning rate or clip_norm'
  )


def validate(
  lane: Lane, runtime: runtimes.Runtime, scores: Mapping[str, float]
) -> Lane:
  """Writes the row of the epoch, with the students' scores on validation."""
  best = {
    name: better(lane.best[name], lane, name, scores, runtime.task)
    for name in lane.stage.students
  }
  means = {name: value / lane.count for name, value in lane.sums.items()}
  row = {**means, **scores, 'epoch': lane.step / runtime.per_epoch}
  lane.session.writer.write(lane.stage.name, lane.step, row)
  return lane._replace(best=best, sums={}, count=0, scores=scores)


def better(best, lane: Lane, name: str, scores, task: tasks.Task) -> Mapping:
  """The best on validation so far: the record, or the lane as it is now.

  As long as nothing has a score, NaN, it is the lane as it is now.
  """
  score, record = scores.get(_score_of(task, name), np.nan), best['score']
  if not np.isnan(record) and not task.better * score > task.better * record:
    return best
  variables = states.variables_of(lane.state, name, lane.stage)
  return {
    'score': np.float32(score),
    'step': np.int32(lane.step),
    'variables': jax.device_get(variables),
  }


def _score_of(task: tasks.Task, name: str) -> str:
  """The score of a student in the row of a validation."""
  return f'validation_{task.score}/{name}'


def score(lane: Lane) -> float:
  """The score of the last validation, the mean over the lane's students."""
  values = {}
  for key, value in lane.scores.items():
    values.setdefault(key.split('/')[1], value)
  return sum(values.values()) / len(values)


def save(lane: Lane) -> None:
  """Starts to save the lane as it is."""
  tree = {'state': lane.state, 'best': lane.best}
  meta = {
    'sums': dict(lane.sums),
    'count': lane.count,
    'identity': dict(lane.identity),
    'way': lane.way,
    'strategy': lane.strategy,
  }
  checkpoint.save(lane.manager, lane.step, tree, meta)


def flush(lane: Lane) -> None:
  """Waits until what was saved is on disk."""
  if lane.manager is not None:
    checkpoint.finish(lane.manager)


def results(
  lane: Lane, runtime: runtimes.Runtime, seconds: float
) -> dict[str, finished.Finished]:
  """{student: Finished} of a lane at its end.

  Args:
    lane: at its last step.
    runtime: validates.
    seconds: of a step.
  """
  trained = {}
  learned = jax.tree.leaves(lane.state.params['terms'])
  held = jax.tree.leaves(
    (
      lane.state.params['terms'],
      lane.state.carried['terms'],
      lane.state.carried['copies'],
    )
  )
  # Of the last step; a lane that was resumed there is not validated yet.
  scores = lane.scores or runtime.validate([lane.state])[0]
  for name in lane.stage.students:
    last = jax.device_get(states.variables_of(lane.state, name, lane.stage))
    best = lane.best[name]
    trained[name] = finished.Finished(
      last,
      best['variables'],
      {
        'last': float(scores.get(_score_of(runtime.task, name), np.nan)),
        'best': float(best['score']),
        'best_step': int(best['step']),
      },
      {
        'seconds_per_step': seconds,
        'extra_parameters': sum(x.size for x in learned),
        'extra_bytes': sum(x.nbytes for x in held),
      },
    )
  if lane.stage.maker is not None:
    name = lane.stage.maker.name
    last = jax.device_get(states.variables_of(lane.state, name, lane.stage))
    cost = {'seconds_per_step': seconds}
    trained[name] = finished.Finished(last, last, {}, cost)
  return trained
