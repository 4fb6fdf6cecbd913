"""One training as the loop sees it: opened, read, saved, finished."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import build, checkpoint, errors, metrics, stages
from kd_jax import state as states
from kd_jax.training import finished as finished_networks
from kd_jax.training import runtime


class Lane(NamedTuple):
  """A training of one stage.

  Attributes:
    stage: with the lane's own numbers and seed.
    session: folder, writer.
    manager: of its checkpoints; None keeps none.
    step: updates made.
    state: of training, at `step` whenever the loop has looked.
    best: {student: {'score', 'step', 'variables'}} on validation so far.
    sums: {metric: sum} over the steps since the last validation.
    count: of those steps.
    scores: {'validation_accuracy/STUDENT', 'validation_nll/..'} of the last
      validation.
    failure: why it went no further; None while all is well.
  """

  stage: stages.Stage
  session: finished_networks.Session
  manager: Any
  step: int
  state: states.State
  best: Mapping[str, Mapping]
  sums: Mapping[str, float] = {}
  count: int = 0
  scores: Mapping[str, float] = {}
  failure: Exception | None = None


def open_lane(
  experiment: build.Experiment,
  stage: stages.Stage,
  made: runtime.Tools,
  starts: Mapping,
  session: finished_networks.Session,
) -> Lane:
  """A lane at its newest whole checkpoint, or before its first step."""
  state = made.init(stage, starts)
  lane = Lane(stage, session, None, 0, state, _worst(stage, state))
  if session.folder is not None:
    place = session.folder / 'checkpoints' / stage.name
    manager = checkpoint.make_manager(place, experiment.options['keep'])
    lane = _resume(lane._replace(manager=manager))
  return lane._replace(state=made.replicate(lane.state))


def _worst(stage, state) -> dict[str, dict]:
  """The best before the first validation: nothing is worse."""
  return {
    name: {
      'score': np.float32(-1),
      'step': np.int32(0),
      'variables': jax.device_get(states.variables_of(state, name, stage)),
    }
    for name in stage.students
  }


def _resume(lane: Lane) -> Lane:
  """The lane at the newest whole checkpoint, or as given."""
  target = {'state': lane.state, 'best': lane.best}
  step, tree, meta = checkpoint.restore(lane.manager, target)
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
  )


def read(lane: Lane, step: int, values: Mapping[str, float]) -> Lane:
  """Adds the metrics of the step from `step` - 1 to `step` to the sums.

  A loss that is not finite is the lane's failure, written down with the rest.
  """
  bad = metrics.first_bad(values)
  if bad:
    lane.session.writer.write(lane.stage.name, step, values)
    what = bad.removeprefix('loss/')
    what = 'the loss' if what == 'loss' else f"term '{what}'"
    return lane._replace(
      failure=errors.DivergedError(
        f'{what} is {values[bad]} at step {step} of stage {lane.stage.name!r}; '
        'the last good checkpoint is kept; '
        'try a lower learning rate or clip_norm'
      )
    )
  sums = {k: lane.sums.get(k, 0.0) + v for k, v in values.items()}
  return lane._replace(step=step, sums=sums, count=lane.count + 1)


def validate(lane: Lane, made: runtime.Tools) -> Lane:
  """Scores the students on validation and writes the row of the epoch."""
  scores = made.validate(lane.state)
  best = {
    name: better(lane.best[name], lane, name, scores)
    for name in lane.stage.students
  }
  means = {name: value / lane.count for name, value in lane.sums.items()}
  row = {**means, **scores, 'epoch': lane.step / made.per_epoch}
  lane.session.writer.write(lane.stage.name, lane.step, row)
  return lane._replace(best=best, sums={}, count=0, scores=scores)


def better(best, lane: Lane, name: str, scores) -> Mapping:
  """The better on validation of what was best and what is now."""
  score = scores.get(f'validation_accuracy/{name}', np.inf)
  if score <= best['score']:
    return best
  variables = states.variables_of(lane.state, name, lane.stage)
  return {
    'score': np.float32(score),
    'step': np.int32(lane.step),
    'variables': jax.device_get(variables),
  }


def accuracy(lane: Lane) -> float:
  """That of the last validation, the mean over the lane's students."""
  own = [v for k, v in lane.scores.items() if 'accuracy' in k]
  return sum(own) / len(own)


def save(lane: Lane) -> None:
  """Starts to save the lane as it is."""
  tree = {'state': lane.state, 'best': lane.best}
  meta = {'sums': dict(lane.sums), 'count': lane.count}
  checkpoint.save(lane.manager, lane.step, tree, meta)


def flush(lane: Lane) -> None:
  """Waits until what was saved is on disk."""
  if lane.manager is not None:
    checkpoint.finish(lane.manager)


def finished(
  lane: Lane, made: runtime.Tools, seconds: float
) -> dict[str, finished_networks.Finished]:
  """{student: Finished} of a lane that has come to its end.

  Args:
    lane: at its last step.
    made: validates.
    seconds: a step of it took.
  """
  found = {}
  learned = jax.tree.leaves(lane.state.params['terms'])
  held = jax.tree.leaves(
    (
      lane.state.params['terms'],
      lane.state.carried['terms'],
      lane.state.carried['copies'],
    )
  )
  # Of the last step; a lane that was resumed there has not been looked at.
  scores = lane.scores or made.validate(lane.state)
  for name in lane.stage.students:
    last = jax.device_get(states.variables_of(lane.state, name, lane.stage))
    best = lane.best[name]
    found[name] = finished_networks.Finished(
      last,
      best['variables'],
      {
        'last': float(scores.get(f'validation_accuracy/{name}', np.nan)),
        'best': float(best['score']),
        'best_step': int(best['step']),
      },
      {
        'seconds_per_step': seconds,
        'extra_parameters': sum(x.size for x in learned),
        'extra_bytes': sum(x.nbytes for x in held),
      },
    )
  return found
