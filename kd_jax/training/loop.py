"""The loop over steps: trains lanes that differ in numbers alone at once.

A lane is a run of a sweep that trains together with others. A frozen teacher
sees a batch once for all lanes, which `strategies` update.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import build, errors, metrics, stages, types
from kd_jax.training import cached_teachers, finished, lane, strategies
from kd_jax.training import runtime as runtimes


class Plan(NamedTuple):
  """How lanes are trained at once.

  Attributes:
    strategy: 'loop', 'vmap', or 'auto': 'loop' on a CPU and 'vmap' else.
    lanes: the most at once; 0: as many as fit the memory.
    halving: the factor of successive halving (see `halving`); 0: none.
    pruner: {number: lane} -> {number: why it goes no further}; called after
      every validation of the last stage.
  """

  strategy: str = 'auto'
  lanes: int = 0
  halving: int = 0
  pruner: Callable[[Mapping[int, lane.Lane]], Mapping] | None = None


ALONE = Plan()
SPARE = 15.0  # seconds; see `_spare`


def make_plan(strategy: str, lanes: int = 0, halving: int = 0) -> Plan:
  """A plan of what a user asks for.

  Raises:
    ValueError: for an unknown strategy, fewer than no lanes, or a factor of
      halving that leaves all.
  """
  if strategy not in ('auto', *strategies.STRATEGIES):
    raise types.unknown(
      'grid strategy', strategy, ['auto', *strategies.STRATEGIES]
    )
  if lanes < 0:
    raise ValueError(f'lanes must be at least 0, not {lanes}')
  if halving and halving < 2:
    raise ValueError(f'the factor of halving must be at least 2, not {halving}')
  return Plan(strategy, lanes, halving)


class Entry(NamedTuple):
  """A lane before it is opened.

  Attributes:
    stage: with the lane's own numbers and seed.
    starts: {student: variables} of those that do not start afresh.
    session: folder, writer, stop.
    identity: all that the lane's result depends on.
  """

  stage: stages.Stage
  starts: Mapping[str, types.Variables]
  session: finished.Session
  identity: Mapping[str, Any]


def train(
  experiment: build.Experiment,
  entries: Sequence[Entry],
  frozen: Mapping[str, Mapping],
  plan: Plan = ALONE,
) -> list[finished.Outcome]:
  """Trains lanes that differ in numbers and seeds alone, at once.

  Args:
    experiment: of any of them: networks, data, placement.
    entries: the lanes.
    frozen: {network: variables} that never change, the same for all.
    plan: how, and how many at once; the rest waits.

  Returns:
    {student: Finished} of each lane, or why it went no further.

  Raises:
    errors.StoppedError: asked to stop; every lane is saved.
    ValueError: more lanes are asked for than fit the memory, or a checkpoint
      belongs to another training.
  """
  stage, session = entries[0].stage, entries[0].session
  prepare = runtimes.make_prepare(experiment, stage.recipe)

  def tick():
    if session.stop():
      raise errors.StoppedError(f'the cache for {stage.name}')

  teachers = cached_teachers.open_stage(
    experiment, stage, frozen, prepare, session, tick
  )
  runtime = runtimes.make_runtime(experiment, stage, teachers)
  name = strategies.choose(plan.strategy, experiment.placement, len(entries))
  strategy = strategies.STRATEGIES[name](runtime)
  size = strategies.fit(name, runtime, entries, frozen, plan.lanes)
  outcomes = []
  for at in range(0, len(entries), size):
    part = entries[at : at + size]
    outcomes += _together(
      experiment, part, frozen, runtime, strategy, plan.pruner
    )
  return outcomes


def _together(experiment, entries, frozen, runtime, strategy, pruner) -> list:
  """Trains the lanes that are in memory at the same time."""
  lanes = [lane.open_lane(experiment, entry, runtime) for entry in entries]
  try:
    with jax.transfer_guard_device_to_host('disallow'):
      begun = time.monotonic(), sum(member.step for member in lanes)
      lanes = _steps(experiment, runtime, frozen, lanes, strategy, pruner)
      steps = max(sum(member.step for member in lanes) - begun[1], 1)
      seconds = (time.monotonic() - begun[0]) / steps
      return [
        finished.Outcome({}, member.failure)
        if member.failure
        else finished.Outcome(lane.results(member, runtime, seconds))
        for member in lanes
      ]
  finally:
    for member in lanes:
      if member.manager is not None:
        member.manager.close()


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


def _steps(experiment, runtime, frozen, lanes, strategy, pruner) -> list:
  """The loop over steps; step n is dispatched before n - 1 is read."""
  stage, stop = lanes[0].stage, lanes[0].session.stop
  total, frozen = stage.recipe.steps, runtime.replicate(dict(frozen))
  start = min(member.step for member in lanes)
  name = stage.name if len(lanes) == 1 else f'{stage.name} x{len(lanes)}'
  every = experiment.options['log_every']
  progress = metrics.make_progress(name, start, total, every)
  moving, spare = _Moving(tuple(lanes)), _spare(experiment)
  saved = time.monotonic()
  for n in range(start, total):
    moving = _enter(moving, n, strategy, progress)
    if not moving.running:
      continue
    signals, batch = runtime.signals(np.int32(n), frozen, runtime.feed(n))
    packed, values = strategy.update(moving.packed, signals, batch)
    moving = _read(moving._replace(packed=packed), strategy, progress)
    moving = moving._replace(waiting=(n + 1, values))
    last, stopping = n + 1 == total, stop()
    validate = last or (n + 1) % runtime.eval_every == 0
    due = (n + 1) % runtime.save_every == 0
    save = last or stopping or (due and time.monotonic() - saved >= spare)
    if validate or save:
      moving = _look(moving, strategy, progress)
    if validate:
      moving = _validate(moving, runtime, pruner)
    if save:
      _save(moving)
      saved = time.monotonic()
    if stopping and not last:
      _flush(moving)
      raise errors.StoppedError(f'{stage.name} at step {n + 1} of {total}')
  progress.close()
  _flush(moving)
  return list(moving.lanes)


def _spare(experiment) -> float:
  """Seconds after a checkpoint within which none is due by itself.

  Where the config gives no number of steps, epochs of a second each would
  mostly wait for the disk. Processes that save together count steps alone.
  """
  given = experiment.options['checkpoint_every'] or jax.process_count() > 1
  return 0.0 if given else SPARE


def _enter(moving, n, strategy, progress) -> _Moving:
  """The lanes that step n moves: failed ones leave, and those that were saved
  at a later step than others join when the loop gets there."""
  running = tuple(
    i
    for i, member in enumerate(moving.lanes)
    if member.step <= n and not member.failure
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


def _validate(moving, runtime, pruner) -> _Moving:
  """The lanes with their scores, and without those that `pruner` drops."""
  lanes = list(moving.lanes)
  for i in _well(moving):
    lanes[i] = lane.validate(lanes[i], runtime)
  dropped = pruner({i: lanes[i] for i in _well(moving)}) if pruner else {}
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
  for member in moving.lanes:
    lane.flush(member)
