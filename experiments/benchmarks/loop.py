"""Times the loop around a step: single steps, chunks of steps, a bare scan.

  python -m experiments.benchmarks.loop [--quick] [--write]

The same distillation steps on 8x8 digits, five ways that take turns: as commit
8dc8783 dispatched them (a minimal copy of its loop), as the loop dispatches
single steps, as it takes them in chunks, chunks fed by a cached teacher, and a
bare `lax.scan` whose metrics are fetched once. Nothing validates or saves.

The exit code is 1 where a small dense network is less than 5 times as fast in
chunks as by the old loop, or takes more than 1.3 times a bare scan.
"""

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments import pages
from experiments.benchmarks import devices, timing

MODULE, SECTION = 'experiments.benchmarks.loop', 'loop'
PACKAGES = ('jax', 'jaxlib', 'numpy')
LEAST, MOST = 5.0, 1.3
# teacher, student
PAIRS = {
  'small dense network': (
    dict(name='mlp', widths=[64]),
    dict(name='mlp', widths=[10]),
  ),
  'cnn 8': (dict(name='cnn', hidden=64), dict(name='cnn', hidden=8)),
  'cnn 32': (dict(name='cnn', hidden=64), dict(name='cnn', hidden=32)),
}
WAYS = ('old loop', 'single', 'chunks', 'chunks, cached', 'scan')


class Effort(NamedTuple):
  """Steps of a timing, timings, and which pairs."""

  steps: int
  repeats: int
  pairs: Sequence[str]


FULL = Effort(300, 9, tuple(PAIRS))
QUICK = Effort(40, 2, ('small dense network',))


def make_ways(pair: str) -> dict[str, Callable[[int], None]]:
  """{way: a function that takes so many steps and waits for the last}."""
  import jax
  import jax.numpy as jnp

  from kd_jax import build, config

  c = config.default()
  c.parallel = 'one'
  c.networks.teacher, c.networks.student = PAIRS[pair]
  c.terms.hard = dict(method='cross_entropy', weight=0.1)
  c.terms.soft = dict(method='kd', weight=0.9, temperature=4.0)
  experiment = build.make_experiment(c)
  data, network = experiment.data.train, experiment.networks['teacher']
  example = jnp.zeros((1, *data.inputs.shape[1:]))
  teacher = network.init(jax.random.key(1), example)
  outputs, _ = network.apply(teacher, experiment.prepare(data.inputs))
  case = make_case(experiment, {'teacher': teacher})
  stored = with_stored(case, np.asarray(jax.device_get(outputs['logits'])))
  return {
    'old loop': old(case),
    'single': looped(case, 1),
    'chunks': looped(case, 100),
    'chunks, cached': looped(stored, 100),
    'scan': scanned(case),
  }


class Case(NamedTuple):
  """What the ways have in common.

  Attributes:
    experiment: on one device.
    stage: the last one.
    runtime: of the stage.
    frozen: {'teacher': variables}.
    starts: () -> {'student': variables}, or empty: it is initialized.
  """

  experiment: object
  stage: object
  runtime: object
  frozen: Mapping
  starts: Callable[[], Mapping] = dict

  def state(self):
    return self.runtime.init(self.stage, self.starts())


def make_case(experiment, frozen: Mapping) -> Case:
  """The case of an experiment's last stage, its teacher live."""
  from kd_jax.training import runtime

  stage = experiment.stages[-1]
  return Case(
    experiment, stage, runtime.make_runtime(experiment, stage), frozen
  )


def with_stored(case: Case, logits: np.ndarray) -> Case:
  """The case with the teacher's logits f32 [N, K] in memory."""
  from kd_jax.training import cached_teachers, runtime

  def read(step, index):
    del step
    return {'teacher': {'logits': logits[index]}}

  teachers = cached_teachers.CachedTeachers(read, True)
  stored = runtime.make_runtime(case.experiment, case.stage, teachers)
  return case._replace(runtime=stored)


def old(case: Case) -> Callable[[int], None]:
  """A minimal copy of what 8dc8783's loop dispatched for each step."""
  import jax

  runtime = case.runtime
  place = {'state': case.state(), 'step': 0}
  # Each metric was an array of its own, and was fetched apart.
  update = jax.jit(runtime.halves.update, donate_argnums=0)

  def run(steps):
    state, waiting, sums = place['state'], None, {}
    for n in range(place['step'], place['step'] + steps):
      batch = runtime.feed(n)
      signals, batch = runtime.signals(np.int32(n), case.frozen, batch)
      state, values = update(state, signals, batch)
      if waiting is not None:
        _add(sums, waiting)
      waiting = values
    _add(sums, waiting)
    jax.block_until_ready(state)
    place.update(state=state, step=place['step'] + steps)

  def _add(sums, values):
    row = {name: float(v) for name, v in jax.device_get([values])[0].items()}
    assert all(np.isfinite(v) for k, v in row.items() if k.startswith('loss'))
    {name: float(np.mean([row[name]])) for name in row}
    for name, value in row.items():
      sums[name] = sums.get(name, 0.0) + value

  return run


def looped(
  case: Case, at_once: int, lanes: int = 1, strategy: str = 'loop'
) -> Callable[[int], None]:
  """The loop's own way from call to call.

  Args:
    case: of the lanes.
    at_once: the most steps in one program; 1: single steps are dispatched.
    lanes: that are trained at once.
    strategy: of `strategies.STRATEGIES`.
  """
  import jax
  import jax.numpy as jnp

  from kd_jax import metrics
  from kd_jax.training import finished, lane, loop, strategies

  copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))

  update = strategies.STRATEGIES[strategy](case.runtime)
  state, chunks = case.state(), None
  if at_once > 1:
    chunks = case.runtime.make_chunks(state, case.frozen, at_once)
  advance = loop._make_advance(case.runtime, case.frozen, update, chunks)
  session = finished.Session(None, metrics.silent())
  quiet = metrics.Progress(lambda step, values: None, lambda: None)
  members = (lane.Lane(case.stage, session, None, 0, None, {}),) * lanes
  states = [copy(state) for _ in members]
  moving = loop._Moving(members, tuple(range(lanes)), update.pack(states))
  place = {'moving': moving, 'step': 0}

  def run(steps):
    moving, n = place['moving'], place['step']
    end = n + steps
    while n < end:
      moving, n = advance(moving, n, end, quiet)
    moving = loop._read(moving, quiet)
    jax.block_until_ready(moving.packed)
    for member in moving.lanes:
      if member.failure:
        raise member.failure
    place.update(moving=moving, step=n)

  return run


def scanned(case: Case) -> Callable[[int], None]:
  """A bare `lax.scan` over the steps; metrics are fetched once."""
  import jax
  import jax.numpy as jnp

  from kd_jax.data import pipeline

  split = pipeline.to_device(case.experiment.data.train)
  place = {'state': case.state(), 'step': 0}

  @functools.partial(jax.jit, donate_argnums=0)
  def many(state, frozen, data, examples):
    def turn(state, index):
      return case.runtime.halves.step(state, frozen, pipeline.take(data, index))

    return jax.lax.scan(turn, state, examples)

  def run(steps):
    first = place['step']
    indices = [batch_of(case, n) for n in range(first, first + steps)]
    examples = jnp.asarray(np.stack(indices))
    state, values = many(place['state'], case.frozen, split, examples)
    check(jax.device_get(values))
    jax.block_until_ready(state)
    place.update(state=state, step=first + steps)

  return run


def one_program(case: Case) -> Callable[[int], None]:
  """The whole step, dispatched as one program; the last metrics are
  fetched."""
  import jax

  from kd_jax.data import pipeline

  split = pipeline.to_device(case.experiment.data.train)
  place = {'state': case.state(), 'step': 0}

  @functools.partial(jax.jit, donate_argnums=0)
  def whole(state, frozen, data, index):
    return case.runtime.halves.step(state, frozen, pipeline.take(data, index))

  def run(steps):
    for _ in range(steps):
      index = jax.device_put(batch_of(case, place['step']))
      place['state'], values = whole(place['state'], case.frozen, split, index)
      place['step'] += 1
    check(jax.device_get(values))
    jax.block_until_ready(place['state'])

  return run


def check(values: Mapping[str, np.ndarray]) -> None:
  """Refuses to time steps whose numbers mean nothing.

  Raises:
    FloatingPointError: a metric is not finite.
  """
  for name, value in values.items():
    if not np.isfinite(value).all():
      raise FloatingPointError(f'{name} is not finite')


def batch_of(case: Case, step: int) -> np.ndarray:
  """The examples of a step's batch, i32 [B]."""
  from kd_jax.data import pipeline

  recipe, size = case.stage.recipe, len(case.experiment.data.train.labels)
  found = pipeline.indices(recipe.data_seed, step, size, recipe.batch_size)
  return found.astype(np.int32)


def measure(pair: str, effort: Effort) -> dict[str, list[float]]:
  """{way: seconds a step, of every repeat}; the ways take turns."""
  ways = make_ways(pair)
  for way in ways.values():
    way(effort.steps)  # compiles
  seconds = {name: [] for name in ways}
  for number in range(effort.repeats):
    order = list(ways) if number % 2 else list(ways)[::-1]
    for name in order:
      begun = time.perf_counter()
      ways[name](effort.steps)
      seconds[name].append((time.perf_counter() - begun) / effort.steps)
  return seconds


def verdict(seconds: Mapping[str, Sequence[float]]) -> tuple[float, float]:
  """(times as fast as the old loop, times a bare scan), of the shortest."""
  best = {name: min(values) for name, values in seconds.items()}
  return best['old loop'] / best['chunks'], best['chunks'] / best['scan']


def section(
  found: Mapping[str, Mapping], argv, effort: Effort, device: str
) -> str:
  """The section of README.md."""
  rows = [
    [pair, *(timing.shown(timing.spread(s[way]), 0, 1e6) for way in WAYS)]
    for pair, s in found.items()
  ]
  return '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: microseconds a step, median '
      f'(quartiles) of {effort.repeats} timings of {effort.steps} steps of 64 '
      'digits.',
      pages.table(['student', *WAYS], rows),
      timing.machine(PACKAGES, device),
    ]
  )


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 1 where chunks miss their aims."""
  parser = timing.make_parser(MODULE, __doc__)
  devices.add_option(parser)
  options = parser.parse_args(argv)
  try:
    device = devices.use(options.device, ('jax',))
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  effort = QUICK if options.quick else FULL
  found = {pair: measure(pair, effort) for pair in effort.pairs}
  faster, slower = verdict(found['small dense network'])
  timing.publish(SECTION, section(found, argv, effort, device), options.write)
  print(
    f"small dense network: {faster:.1f} times 8dc8783's loop, {slower:.2f} "
    'times a bare lax.scan'
  )
  return int(faster < LEAST or slower > MOST)


if __name__ == '__main__':
  sys.exit(main())
