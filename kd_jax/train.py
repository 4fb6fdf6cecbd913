"""The loop over stages, and the loop over steps: one lane, or many at once."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import build, keep, lane, metrics, recall, stages, types
from kd_jax import tools as made


class Stopped(Exception):  # noqa: N818 (it is no error)
  """A run that was asked to stop, and saved what it had."""


# The public face of the smaller files.
Loop = keep.Loop
Finished = keep.Finished
Diverged = lane.Diverged


class Strategy(NamedTuple):
  """How the states of several lanes are moved by one step.

  Attributes:
    pack: [state] -> what is moved.
    unpack: its inverse.
    move: (packed, signals, batch) -> (packed, metrics, to be `read`).
    read: metrics -> [{name: float}], a dict a lane.
  """

  pack: Callable
  unpack: Callable
  move: Callable
  read: Callable


def looped(tools: made.Tools) -> Strategy:
  """One lane after the other, each by the one compiled update."""

  def move(packed, signals, batch):
    moved = [tools.update(state, signals, batch) for state in packed]
    return [state for state, _ in moved], [values for _, values in moved]

  def read(values):
    return [
      {name: float(v) for name, v in row.items()}
      for row in jax.device_get(values)
    ]

  return Strategy(list, list, move, read)


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
  found, = train_lanes(experiment, [(stage, starts, loop)], frozen)
  if isinstance(found, Exception):
    raise found
  return found


def train_lanes(
  experiment: build.Experiment,
  wanted: Sequence[tuple[stages.Stage, Mapping, keep.Loop]],
  frozen: Mapping[str, types.Variables],
  strategy: Callable[[made.Tools], Strategy] = looped,
  judge: Callable[[Mapping[int, lane.Lane]], Mapping] | None = None,
) -> list[dict[str, keep.Finished] | Exception]:
  """Trains lanes that differ in numbers and seeds alone, at once.

  Args:
    experiment: of any of them: networks, data, placement.
    wanted: the stage, the starts and the loop of each lane.
    frozen: {network: variables} that never change, the same for all.
    strategy: how the lanes are moved.
    judge: {number: lane} -> {number: why it goes no further}; asked after
      every validation.

  Returns:
    {student: Finished} of each lane, or why it went no further.

  Raises:
    Stopped: asked to stop; every lane is saved.
  """
  stage, first = wanted[0][0], wanted[0][2]
  prepare = made.make_prepare(experiment, stage.recipe)

  def tick():
    if first.stop():
      raise Stopped(f'the cache for {stage.name}')

  teachers = recall.open_stage(experiment, stage, frozen, prepare, first, tick)
  tools = made.make_tools(experiment, stage, frozen, wanted[0][1], teachers)
  lanes = [
    lane.open_lane(experiment, own, tools, starts, loop)
    for own, starts, loop in wanted
  ]
  try:
    with jax.transfer_guard_device_to_host('disallow'):
      begun = time.monotonic(), sum(one.step for one in lanes)
      lanes = _steps(experiment, tools, frozen, lanes, strategy(tools), judge)
      steps = max(sum(one.step for one in lanes) - begun[1], 1)
      seconds = (time.monotonic() - begun[0]) / steps
      return [
        one.failure or lane.finished(one, tools, seconds) for one in lanes
      ]
  finally:
    for one in lanes:
      if one.manager is not None:
        one.manager.close()


class _Moving(NamedTuple):
  """Where the loop over steps is.

  Attributes:
    lanes: all of them, as they were when they were last looked at.
    running: the lanes that move, by number.
    packed: their states.
    waiting: (step, metrics) of the last move, not read yet; None: all read.
  """

  lanes: Sequence[lane.Lane]
  running: Sequence[int] = ()
  packed: Any = None
  waiting: tuple[int, Any] | None = None


def _steps(experiment, tools, frozen, lanes, strategy, judge) -> list:
  """The loop over steps; step n is dispatched before n - 1 is read."""
  stage, stop = lanes[0].stage, lanes[0].loop.stop
  total, frozen = stage.recipe.steps, tools.replicate(dict(frozen))
  start = min(one.step for one in lanes)
  name = stage.name if len(lanes) == 1 else f'{stage.name} x{len(lanes)}'
  every = experiment.options['log_every']
  progress = metrics.make_progress(name, start, total, every)
  moving = _Moving(tuple(lanes))
  for n in range(start, total):
    moving = _enter(moving, n, strategy, progress)
    if not moving.running:
      continue
    signals, batch = tools.signals(np.int32(n), frozen, tools.feed(n))
    packed, values = strategy.move(moving.packed, signals, batch)
    moving = _read(moving._replace(packed=packed), strategy, progress)
    moving = moving._replace(waiting=(n + 1, values))
    last, stopping = n + 1 == total, stop()
    validate = last or (n + 1) % tools.eval_every == 0
    save = last or stopping or (n + 1) % tools.save_every == 0
    if validate or save:
      moving = _look(moving, strategy, progress)
    if validate:
      moving = _validate(moving, tools, judge)
    if save:
      _save(moving)
    if stopping and not last:
      _flush(moving)
      raise Stopped(f'{stage.name} at step {n + 1} of {total}')
  progress.close()
  _flush(moving)
  return list(moving.lanes)


def _enter(moving, n, strategy, progress) -> _Moving:
  """The lanes that step n moves: failed ones leave, and those that were saved
  at a later step than others join when the loop gets there."""
  running = tuple(
    i for i, one in enumerate(moving.lanes) if one.step <= n and not one.failure
  )
  if running == moving.running:
    return moving
  moving = _look(moving, strategy, progress)
  states = [moving.lanes[i].state for i in running]
  packed = strategy.pack(states) if running else None
  return moving._replace(running=running, packed=packed)


def _read(moving, strategy, progress) -> _Moving:
  """The lanes with the metrics that wait."""
  if moving.waiting is None:
    return moving
  step, values = moving.waiting
  lanes, rows = list(moving.lanes), strategy.read(values)
  for i, row in zip(moving.running, rows):
    if not lanes[i].failure:
      lanes[i] = lane.read(lanes[i], step, row)
  progress.update(step, metrics.mean(rows))
  return moving._replace(lanes=tuple(lanes), waiting=None)


def _look(moving, strategy, progress) -> _Moving:
  """The lanes as they are now: metrics read, states in their place."""
  moving = _read(moving, strategy, progress)
  lanes = list(moving.lanes)
  states = strategy.unpack(moving.packed) if moving.running else []
  for i, state in zip(moving.running, states):
    lanes[i] = lanes[i]._replace(state=state)
  return moving._replace(lanes=tuple(lanes))


def _validate(moving, tools, judge) -> _Moving:
  """The lanes with their scores, and without those that `judge` drops."""
  lanes = list(moving.lanes)
  for i in _well(moving):
    lanes[i] = lane.validate(lanes[i], tools)
  dropped = judge({i: lanes[i] for i in _well(moving)}) if judge else {}
  for i, reason in dropped.items():
    lanes[i] = lanes[i]._replace(failure=reason)
  return moving._replace(lanes=tuple(lanes))


def _well(moving) -> list[int]:
  return [i for i in moving.running if not moving.lanes[i].failure]


def _save(moving) -> None:
  for i in _well(moving):
    if moving.lanes[i].manager is not None:
      lane.save(moving.lanes[i])


def _flush(moving) -> None:
  for one in moving.lanes:
    lane.flush(one)
