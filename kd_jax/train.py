"""The loop over stages, the loop over steps, and evaluation."""

import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from kd_jax import build, checkpoint, keep, metrics, recall, stages, types
from kd_jax import state as states
from kd_jax import tools as made


class Stopped(Exception):  # noqa: N818 (it is no error)
  """A run that was asked to stop, and saved what it had."""


class Diverged(Exception):  # noqa: N818
  """A run whose loss became NaN or infinite."""


# The public face of the smaller file.
Loop = keep.Loop
Finished = keep.Finished


class Memory(NamedTuple):
  """What a checkpoint holds: where a stage is.

  Attributes:
    state: of training.
    best: {student: {'score', 'step', 'variables'}} on validation so far.
    sums: {metric: sum} over the steps since the last validation.
    count: of those steps.
  """

  state: states.State
  best: Mapping[str, Mapping]
  sums: Mapping[str, float]
  count: int


def run(
  experiment: build.Experiment, loop: keep.Loop
) -> dict[str, types.Variables]:
  """Trains every stage that is not finished yet.

  Returns:
    {network: variables} of all that is finished, loaded ones too.

  Raises:
    Stopped: asked to stop; the same run continues where it was.
    Diverged: a loss became NaN or infinite.
    cache.Refused: stored teachers are of something else.
  """
  recall.check(experiment, loop)
  done = dict(experiment.loaded)
  for stage in experiment.stages:
    keep.take(experiment, stage, loop)
    found = keep.found(experiment, stage, loop.folder)
    if found is None:
      starts = {s: done[name] for s, name in stage.starts.items()}
      frozen = {name: done[name] for name in stage.frozen}
      trained = train_stage(experiment, stage, frozen, starts, loop)
      found = keep.keep(experiment, stage, trained, loop.folder)
      keep.give(experiment, stage, loop)
    done |= found
  return done


def train_stage(
  experiment: build.Experiment,
  stage: stages.Stage,
  frozen: Mapping[str, types.Variables],
  starts: Mapping[str, types.Variables],
  loop: keep.Loop,
) -> dict[str, keep.Finished]:
  """Trains the students of a stage, from its newest checkpoint if it has one.

  Args:
    experiment: networks, data, placement.
    stage: what is trained.
    frozen: {network: variables} that never change.
    starts: {student: variables} of those that do not start afresh.
    loop: folder, writer, stop.

  Returns:
    {student: Finished}.
  """
  prepare = made.make_prepare(experiment, stage.recipe)

  def tick():
    if loop.stop():
      raise Stopped(f'the cache for {stage.name}')

  teachers = recall.open_stage(experiment, stage, frozen, prepare, loop, tick)
  tools = made.make_tools(experiment, stage, teachers)
  state = tools.init(frozen, starts)
  memory = Memory(state, _best_of(stage, state), {}, 0)
  manager = None
  if loop.folder is not None:
    place = loop.folder / 'checkpoints' / stage.name
    manager = checkpoint.make_manager(place, experiment.options['keep'])
    memory = _resume(manager, stage, memory, loop.folder)
  memory = memory._replace(state=tools.replicate(memory.state))
  try:
    with jax.transfer_guard_device_to_host('disallow'):
      begun = time.monotonic(), int(jax.device_get(memory.state.step))
      memory = _steps(experiment, stage, tools, frozen, memory, manager, loop)
      steps = max(stage.recipe.steps - begun[1], 1)
      seconds = (time.monotonic() - begun[0]) / steps
  finally:
    if manager is not None:
      manager.close()
  return _finished(stage, memory, tools, seconds)


def _steps(experiment, stage, tools, frozen, memory, manager, loop) -> Memory:
  """The loop over steps; step n is dispatched before n - 1 is read."""
  total = stage.recipe.steps
  frozen = tools.replicate(dict(frozen))
  start = int(jax.device_get(memory.state.step))
  progress = metrics.make_progress(
    stage.name, start, total, experiment.options['log_every']
  )
  waiting = None
  for n in range(start, total):
    state, values = tools.train(memory.state, frozen, tools.feed(n))
    memory = memory._replace(state=state)
    if waiting is not None:
      memory = _read(stage, memory, *waiting, loop, progress)
    waiting = n, values
    last, stop = n + 1 == total, loop.stop()
    validate = last or (n + 1) % tools.eval_every == 0
    save = manager and (last or stop or (n + 1) % tools.save_every == 0)
    if validate or save or stop:
      memory = _read(stage, memory, *waiting, loop, progress)
      waiting = None
    if validate:
      memory = _validate(stage, memory, n + 1, tools, loop)
    if save:
      _save(manager, memory, n + 1)
    if stop and not last:
      _flush(manager)
      raise Stopped(f'{stage.name} at step {n + 1} of {total}')
  progress.close()
  _flush(manager)
  return memory


def _flush(manager) -> None:
  if manager is not None:
    checkpoint.finish(manager)


def _read(stage, memory, n, values, loop, progress) -> Memory:
  """Adds the metrics of step n to the sums.

  Raises:
    Diverged: naming the term, after what is known was written.
  """
  values = {name: float(v) for name, v in jax.device_get(values).items()}
  bad = metrics.first_bad(values)
  if bad:
    loop.writer.write(stage.name, n + 1, values)
    what = bad.removeprefix('loss/')
    what = 'the loss' if what == 'loss' else f"term '{what}'"
    raise Diverged(
      f'{what} is {values[bad]} at step {n + 1} of stage {stage.name!r}; '
      'the last good checkpoint is kept; try a lower learning rate or clip_norm'
    )
  progress.update(n + 1, values)
  sums = {k: memory.sums.get(k, 0.0) + v for k, v in values.items()}
  return memory._replace(sums=sums, count=memory.count + 1)


def _validate(stage, memory, step, tools, loop) -> Memory:
  """Scores the students on validation and writes the row of the epoch."""
  scores = tools.validate(memory.state)
  best = {
    name: better(memory.best[name], stage, name, memory.state, scores, step)
    for name in stage.students
  }
  means = {name: value / memory.count for name, value in memory.sums.items()}
  row = {**means, **scores, 'epoch': step / tools.per_epoch}
  loop.writer.write(stage.name, step, row)
  return memory._replace(best=best, sums={}, count=0)


def better(best, stage, name, state, scores, step) -> Mapping:
  """The better on validation of what was best and what is now."""
  score = scores.get(f'validation_accuracy/{name}', np.inf)
  if score <= best['score']:
    return best
  variables = jax.device_get(states.variables_of(state, name, stage))
  return {
    'score': np.float32(score),
    'step': np.int32(step),
    'variables': variables,
  }


def _best_of(stage, state) -> dict[str, dict]:
  """The best before the first validation: nothing is worse."""
  return {
    name: {
      'score': np.float32(-1),
      'step': np.int32(0),
      'variables': jax.device_get(states.variables_of(state, name, stage)),
    }
    for name in stage.students
  }


def _save(manager, memory: Memory, step: int) -> None:
  tree = {'state': memory.state, 'best': memory.best}
  meta = {'sums': dict(memory.sums), 'count': memory.count}
  checkpoint.save(manager, step, tree, meta)


def _resume(manager, stage, memory: Memory, folder) -> Memory:
  """The memory in the newest whole checkpoint, or the one given."""
  target = {'state': memory.state, 'best': memory.best}
  step, tree, meta = checkpoint.restore(manager, target)
  metrics.forget(folder, stage.name, max(step, 0))
  if step < 0:
    return memory
  return Memory(tree['state'], tree['best'], meta['sums'], meta['count'])


def _finished(stage, memory, tools, seconds) -> dict[str, keep.Finished]:
  finished = {}
  learned = jax.tree.leaves(memory.state.params['terms'])
  scores = tools.validate(memory.state)
  for name in stage.students:
    last = jax.device_get(states.variables_of(memory.state, name, stage))
    best = memory.best[name]
    finished[name] = keep.Finished(last, best['variables'], {
      'last': float(scores.get(f'validation_accuracy/{name}', np.nan)),
      'best': float(best['score']),
      'best_step': int(best['step']),
    }, {
      'seconds_per_step': seconds,
      'extra_parameters': sum(x.size for x in learned),
    })
  return finished
