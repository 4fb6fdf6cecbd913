"""Chooses how lanes step: in chunks or single steps, and by which strategy.

Both may change the last digits of a result. So both belong to a run: they are
chosen once, kept with its checkpoints, and used again when the run resumes.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import build, metrics, parallel, types
from kd_jax.training import chunks, fit, lane, strategies
from kd_jax.training import runtime as runtimes


class Ways(NamedTuple):
  """The ways in which the lanes of a stage may step, each made once.

  Attributes:
    runtime: of the stage.
    frozen: {network: variables}, on the devices.
    placement: of the experiment.
    at_once: `steps_at_once` of the config.
    programs: () -> `chunks.Chunks`; None where the data do not lie on the
      devices.
    strategy: name -> `strategies.Strategy`.
  """

  runtime: runtimes.Runtime
  frozen: Mapping[str, types.Variables]
  placement: parallel.Placement
  at_once: int
  programs: Callable
  strategy: Callable


class Choice(NamedTuple):
  """How some lanes step.

  Attributes:
    lanes: they know it too, for their checkpoints.
    programs: `chunks.Chunks`; None for single steps.
    strategy: that updates them.
  """

  lanes: Sequence[lane.Lane]
  programs: chunks.Chunks | None
  strategy: strategies.Strategy


def spread(experiment: build.Experiment, lanes: int) -> build.Experiment:
  """The experiment, its lanes spread over the devices of this process.

  'auto' never trains lanes one after the other on parts of a batch: with more
  lanes than one, each has a device to itself.
  """
  devices = jax.local_devices()
  auto = experiment.options['parallel'] == 'auto' and jax.process_count() == 1
  if lanes == 1 or len(devices) == 1 or not auto:
    return experiment
  return experiment._replace(placement=parallel.on_each(devices[:lanes]))


def make_ways(
  experiment: build.Experiment, runtime: runtimes.Runtime, entry, frozen
) -> Ways:
  """The ways of a stage; nothing is compiled before it is used.

  Args:
    experiment: options, placement.
    runtime: of the stage.
    entry: any lane, as in `loop.train`.
    frozen: {network: variables} on the devices.
  """
  at_once = experiment.options['steps_at_once']

  @functools.cache
  def programs():
    state = jax.eval_shape(lambda: runtime.init(entry.stage, entry.starts))
    most = at_once if at_once > 1 else chunks.MOST
    return runtime.make_chunks(state, frozen, most)

  @functools.cache
  def strategy(name):
    make = strategies.STRATEGIES[name]
    return make(runtime, experiment.placement.devices)

  return Ways(
    runtime, frozen, experiment.placement, at_once, programs, strategy
  )


def choose(
  lanes: Sequence[lane.Lane], ways: Ways, strategy: str
) -> list[Choice]:
  """How lanes step: those that resume as before, the others all alike.

  Args:
    lanes: that train at the same time.
    ways: of the stage.
    strategy: as in `loop.Plan`; a name counts for lanes that resume as well.
  """
  way = next((m.way for m in lanes if m.way), '') or _way(lanes[0], ways)
  lanes = [m._replace(way=m.way or way) for m in lanes]
  known = strategies.allowed(ways.placement) if strategy == 'auto' else ()
  begun = [m.strategy if m.strategy in known else '' for m in lanes]
  if not all(begun):
    new = next(filter(None, begun), '') or _strategy(lanes, ways, strategy)
    begun = [name or new for name in begun]
  groups = {}
  for member, name in zip(lanes, begun):
    member = member._replace(strategy=name)
    groups.setdefault((member.way, name), []).append(member)
  return [
    Choice(members, _programs(ways, way), ways.strategy(name))
    for (way, name), members in groups.items()
  ]


def _programs(ways: Ways, way: str) -> chunks.Chunks | None:
  return ways.programs() if way == chunks.CHUNK else None


def _way(first: lane.Lane, ways: Ways) -> str:
  """The way of stepping of a new run."""
  runtime, steps = ways.runtime, first.stage.recipe.steps

  def single(state, frozen, step):
    batch = runtime.signals(np.int32(step), frozen, runtime.feed(step))
    return runtime.update(state, *batch)[0]

  programs = chunks.choose(
    ways.at_once, ways.programs, single, first.state, ways.frozen, steps
  )
  if programs is None:
    return chunks.SINGLE
  metrics.say(f'{first.stage.name}: {programs.size} steps in one program')
  return chunks.CHUNK


def _strategy(lanes: Sequence[lane.Lane], ways: Ways, strategy: str) -> str:
  """The strategy of new lanes: the fastest of those that a plan allows."""
  if strategy != 'auto':
    return strategy
  stage = lanes[0].stage
  names = strategies.candidates(ways.placement, len(lanes), stage.recipe.steps)
  if len(names) == 1:
    return names[0]
  seconds = _trial(lanes, ways, names)
  times = ', '.join(f'{name} {1e3 * seconds[name]:.3g}' for name in seconds)
  fastest = min(seconds, key=seconds.get)
  metrics.say(
    f'{stage.name}: {len(lanes)} lanes by {fastest} (ms a step: {times})'
  )
  return fastest


def _trial(lanes, ways: Ways, names: Sequence[str]) -> dict[str, float]:
  """{strategy: seconds of a step of all lanes}, remembered by shape."""
  first = lanes[0]
  leaves, structure = jax.tree.flatten((first.state, dict(ways.frozen)))
  shapes = tuple((x.shape, str(x.dtype)) for x in leaves)
  recipe = first.stage.recipe
  seconds = _remembered(
    (names, first.way, len(lanes), len(ways.placement.devices)),
    (shapes, structure, tuple(first.stage.terms), recipe.batch_size),
  )
  if not seconds:
    seconds |= _measured(lanes, ways, names)
  return seconds


@functools.lru_cache(64)
def _remembered(*key) -> dict[str, float]:
  """What trials of equal shapes found in this process; empty at first."""
  del key
  return {}


def _measured(lanes, ways: Ways, names: Sequence[str]) -> dict[str, float]:
  """Takes a few steps by each strategy with copies of the lanes.

  One that runs out of memory is left out.

  Raises:
    jax.errors.JaxRuntimeError: all of them do.
  """
  programs, runtime = _programs(ways, lanes[0].way), ways.runtime
  if programs is None:
    count = chunks.TRIAL
    args = runtime.signals(np.int32(0), ways.frozen, runtime.feed(0))
  else:
    count = min(chunks.TRIAL, programs.size)
    steps = jax.device_put(np.int32(count))
    looked = programs.look(ways.frozen, programs.read(0, count))
    args = *looked, steps

  def seconds_of(name):
    strategy = ways.strategy(name)
    states = [jax.tree.map(jnp.copy, m.state) for m in lanes]
    now = {'packed': strategy.pack(states)}
    call = (
      strategy.update if programs is None else strategy.make_chunk(programs)
    )

    def steps():
      for _ in range(count if programs is None else 1):
        now['packed'], values = call(now['packed'], *args)
      return now['packed'], values

    return chunks.seconds(steps) / count

  seconds, failure = {}, None
  for name in names:
    try:
      seconds[name] = seconds_of(name)
    except jax.errors.JaxRuntimeError as error:
      if not fit.exhausted(error):
        raise
      failure = error
  if not seconds:
    raise failure
  return seconds
