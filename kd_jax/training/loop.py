"""Trains lanes that differ in numbers alone at once: the loop over steps.

A lane is a run of a sweep that trains together with others. A frozen teacher
is evaluated once per batch for all lanes, which `strategies` update.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import build, errors, metrics, stages, types
from kd_jax.training import (
  cached_teachers,
  choice,
  chunks,
  finished,
  fit,
  lane,
  speed,
  strategies,
  tracing,
)
from kd_jax.training import runtime as runtimes


class Plan(NamedTuple):
  """Settings of training lanes at once.

  Attributes:
    strategy: a key of `strategies.STRATEGIES`, or 'auto': the fastest of
      `strategies.candidates`, and for lanes that resume the one they had.
    lanes: the most at once; 0: as many as fit the memory.
    halving: the factor of successive halving (see `halving`); 0: none.
    pruner: {number: lane} -> {number: why it is dropped}; called after
      every validation of the last stage.
  """

  strategy: str = 'auto'
  lanes: int = 0
  halving: int = 0
  pruner: Callable[[Mapping[int, lane.Lane]], Mapping] | None = None


ALONE = Plan()
SPARE = 15.0  # seconds; see `_spare`


def make_plan(strategy: str, lanes: int = 0, halving: int = 0) -> Plan:
  """The plan of a user's options.

  Raises:
    ValueError: for an unknown strategy, fewer than 0 lanes, or a factor of
      halving of 1.
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


def check(plan: Plan, experiment: build.Experiment) -> None:
  """Refuses a plan that the placement of an experiment does not allow.

  Raises:
    errors.UserError: a single program of lanes that take several devices each.
  """
  if experiment.options['parallel'] != 'auto':
    strategies.check(plan.strategy, experiment.placement)


class Entry(NamedTuple):
  """A lane before it is opened.

  Attributes:
    stage: with the hyperparameters and the seed of the lane.
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
    plan: how, and how many at once; the others are trained after them.

  Returns:
    {student: Finished} of each lane, or its failure.

  Raises:
    errors.StoppedError: `stop` was true; every lane is saved.
    errors.LanesError: the plan has more lanes than fit the memory.
    errors.UserError: a checkpoint belongs to another training.
  """
  stage, session = entries[0].stage, entries[0].session
  experiment = choice.spread(experiment, len(entries))
  prepare = runtimes.make_prepare(experiment, stage.recipe)

  def tick():
    if session.stop():
      raise errors.StoppedError(f'the cache for {stage.name}')

  teachers = cached_teachers.open_stage(
    experiment, stage, frozen, prepare, session, tick
  )
  frozen = build.lowered(frozen, experiment.specs)
  runtime = runtimes.make_runtime(experiment, stage, teachers)
  frozen = runtime.replicate(dict(frozen))
  ways = choice.make_ways(experiment, runtime, entries[0], frozen)
  if len(entries) == 1:
    plan = plan._replace(strategy='auto')
  name = 'loop' if plan.strategy == 'auto' else plan.strategy
  size = fit.fit(ways.strategy(name), runtime, entries, frozen, plan.lanes)
  outcomes = []
  while len(outcomes) < len(entries):
    part = entries[len(outcomes) : len(outcomes) + size]
    try:
      outcomes += _together(experiment, part, frozen, ways, plan)
    except jax.errors.JaxRuntimeError as error:
      if not fit.exhausted(error) or len(part) == 1:
        raise
      size = len(part) // 2
      metrics.say(
        f'{stage.name}: {len(part)} lanes do not fit the memory; {size} at once'
      )
  return outcomes


def _together(experiment, entries, frozen, ways, plan) -> list:
  """Trains the lanes that are in memory at the same time."""
  runtime = ways.runtime
  lanes = [lane.open_lane(experiment, entry, runtime) for entry in entries]
  try:
    with jax.transfer_guard_device_to_host('disallow'):
      outcomes = {}
      for chosen in choice.choose(lanes, ways, plan.strategy):
        ended = _timed(experiment, runtime, frozen, chosen, plan.pruner)
        outcomes |= {
          id(m.session): o for m, o in zip(chosen.lanes, ended, strict=True)
        }
      return [outcomes[id(member.session)] for member in lanes]
  finally:
    runtime.feed.close()
    for member in lanes:
      if member.manager is not None:
        member.manager.close()


def _timed(
  experiment, runtime, frozen, chosen, pruner
) -> list[finished.Outcome]:
  """Trains lanes to their end; their outcomes, with the time of a step."""
  first = chosen.lanes[0]
  begun = time.monotonic(), sum(member.step for member in chosen.lanes)
  tracer = tracing.make_tracer(
    experiment.options['profile'], first.session.folder, first.stage.name
  )
  try:
    lanes = _steps(experiment, runtime, frozen, chosen, pruner, tracer)
  finally:
    tracer.close()
  taken = max(sum(member.step for member in lanes) - begun[1], 1)
  seconds = (time.monotonic() - begun[0]) / taken
  return [
    finished.Outcome({}, member.failure)
    if member.failure
    else finished.Outcome(lane.results(member, runtime, seconds))
    for member in lanes
  ]


class _Moving(NamedTuple):
  """Where the loop over steps is.

  Attributes:
    lanes: all of them, as of the last `_look`.
    running: the lanes that are updated, by number.
    packed: their states.
    waiting: () -> [(step, [row of a lane])] of the last call, not yet read;
      None: all are read.
  """

  lanes: Sequence[lane.Lane]
  running: Sequence[int] = ()
  packed: Any = None
  waiting: Callable[[], list] | None = None


def _steps(
  experiment, runtime, frozen, chosen: choice.Choice, pruner, tracer
) -> list:
  """The loop over steps: a call is dispatched before the last call is read."""
  lanes, programs, strategy = chosen
  stage, stop = lanes[0].stage, lanes[0].session.stop
  total = stage.recipe.steps
  n = min(member.step for member in lanes)
  name = stage.name if len(lanes) == 1 else f'{stage.name} x{len(lanes)}'
  every = experiment.options['log_every']
  meter = speed.of_stage(experiment, runtime, frozen, lanes)
  progress = meter.watch(
    metrics.make_progress(name, n, total, every, more=meter.text)
  )
  moving, spare = _Moving(tuple(lanes)), _spare(experiment)
  runtime = runtime._replace(feed=meter.fetch(runtime.feed))
  if programs is not None:
    programs = programs._replace(read=meter.fetch(programs.read))
  saved, advance = (
    time.monotonic(),
    _make_advance(runtime, frozen, strategy, programs),
  )
  while n < total:
    moving = _enter(moving, n, strategy, progress)
    if not moving.running:
      n += 1
      continue
    end = _boundary(moving, n, runtime, total, tracer.marks)
    tracer.at(n, moving.packed)
    meter.start()
    with jax.profiler.StepTraceAnnotation('step', step_num=n):
      moving, n = advance(moving, n, end, progress)
    last, stopping = n == total, stop()
    validate = last or n % runtime.eval_every == 0
    due = n % runtime.save_every == 0
    save = last or stopping or (due and time.monotonic() - saved >= spare)
    if validate or save:
      moving = _look(moving, strategy, progress)
      meter.pause()
    if validate:
      moving = _validate(moving, runtime, strategy, pruner)
      meter.write([moving.lanes[i] for i in _well(moving)])
    if save:
      _save(moving)
      saved = time.monotonic()
    if stopping and not last:
      _flush(moving)
      raise errors.StoppedError(f'{stage.name} at step {n} of {total}')
  tracer.at(n, moving.packed)
  progress.close()
  _flush(moving)
  return list(moving.lanes)


def _boundary(moving, n: int, runtime, total: int, marks=()) -> int:
  """The next step after `n` at which the loop validates or saves, a lane that
  was saved at a later step joins, the stage ends, or a mark is."""
  marks = [total, *(mark for mark in marks if mark > n)]
  for every in (runtime.eval_every, runtime.save_every):
    marks.append((n // every + 1) * every)
  marks += [m.step for m in moving.lanes if m.step > n and not m.failure]
  return min(marks)


def _make_advance(runtime, frozen, strategy, programs) -> Callable:
  """(moving, n, end, progress) -> moving and the step it is at, at most `end`.

  The metrics of the call before are read while the new one runs.
  """
  if programs is None:
    return lambda moving, n, end, progress: _single(
      moving, n, runtime, frozen, strategy, progress
    )
  chunk = strategy.make_chunk(programs)
  pace = {'most': 10}  # the first chunks are short: they measure a step

  def advance(moving, n, end, progress):
    count = min(pace['most'], programs.size, end - n)
    begun = time.monotonic()
    signals, batches = programs.look(frozen, programs.read(n, count))
    packed, values = chunk(
      moving.packed, signals, batches, jax.device_put(np.int32(count))
    )
    moving = _read(moving._replace(packed=packed), progress)

    def rows():
      table = strategy.read_chunk(values)
      seconds = (time.monotonic() - begun) / count
      longest = max(int(chunks.SECONDS / max(seconds, 1e-6)), 1)
      pace['most'] = min(longest, 4 * pace['most'])
      return [
        (n + 1 + i, [_row(programs.names, lane_rows[i]) for lane_rows in table])
        for i in range(count)
      ]

    return moving._replace(waiting=rows), n + count

  return advance


def _row(names, values) -> dict[str, float]:
  return {name: float(value) for name, value in zip(names, values)}


def _single(moving, n, runtime, frozen, strategy, progress) -> tuple:
  """A single step of every running lane."""
  signals, batch = runtime.signals(np.int32(n), frozen, runtime.feed(n))
  packed, values = strategy.update(moving.packed, signals, batch)
  moving = _read(moving._replace(packed=packed), progress)
  rows = lambda: [(n + 1, strategy.read(values))]  # noqa: E731
  return moving._replace(waiting=rows), n + 1


def _spare(experiment) -> float:
  """Minimum seconds between periodic checkpoints.

  Without it, and without a number of steps in the config, short epochs would
  mostly wait for the disk. Processes that save together go by steps alone.
  """
  given = experiment.options['checkpoint_every'] or jax.process_count() > 1
  return 0.0 if given else SPARE


def _enter(moving, n, strategy, progress) -> _Moving:
  """The lanes that step n updates: failed lanes leave, and lanes that were
  saved at a later step join when the loop reaches it."""
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


def _read(moving, progress) -> _Moving:
  """The lanes with the metrics of the last call."""
  if moving.waiting is None:
    return moving
  lanes, table = list(moving.lanes), moving.waiting()
  for step, rows in table:
    for i, row in zip(moving.running, rows):
      if not lanes[i].failure:
        lanes[i] = lane.read(lanes[i], step, row)
  step, rows = table[-1]
  progress.update(step, lambda: metrics.mean(rows))
  return moving._replace(lanes=tuple(lanes), waiting=None)


def _look(moving, strategy, progress) -> _Moving:
  """The lanes as they are now, with their metrics and states."""
  moving = _read(moving, progress)
  lanes = list(moving.lanes)
  states = strategy.unpack(moving.packed) if moving.running else []
  for i, state in zip(moving.running, states):
    lanes[i] = lanes[i]._replace(state=state)
  return moving._replace(lanes=tuple(lanes))


def _validate(moving, runtime, strategy, pruner) -> _Moving:
  """The lanes with their scores, and without those that `pruner` drops."""
  lanes, well = list(moving.lanes), _well(moving)
  if not well:
    return moving
  states = [lanes[i].state for i in well]
  for i, scores in zip(well, runtime.validate(states, strategy.over)):
    lanes[i] = lane.validate(lanes[i], runtime, scores)
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
