"""Lanes that are spread over devices are the lanes of a single device."""

import functools

import jax
import numpy as np
import pytest

from kd_jax import build, parallel
from kd_jax.training import runtime as runtimes
from kd_jax.training import strategies
from tests.helpers import quick, tiny

STEPS = 3
DEVICES = 2  # of the eight that conftest has


@functools.cache
def built() -> tuple[build.Experiment, ...]:
  """Three settings that differ in numbers, so that one device has two."""
  configs = [quick.get_config(t) for t in ('2', '4', '8')]
  for c in configs:
    c.parallel, c.baseline = 'one', False
  first = build.make_experiment(configs[0])
  return first, *(build.make_experiment(c, like=first) for c in configs[1:])


@functools.cache
def runtime(devices: int) -> runtimes.Runtime:
  placement = parallel.on_one()
  if devices > 1:
    placement = parallel.on_each(jax.devices()[:devices])
  made = built()[0]._replace(placement=placement)
  return runtimes.make_runtime(made, made.stages[-1])


@functools.cache
def trained(name: str, devices: int, chunks: bool) -> tuple[list, np.ndarray]:
  """States and the losses of the last step, by lane."""
  made = runtime(devices)
  strategy = strategies.STRATEGIES[name](made, jax.devices()[:devices])
  inputs = build.example_inputs(built()[0].data)
  teacher = built()[0].networks['teacher'].init(jax.random.key(5), inputs)
  frozen = made.replicate({'teacher': teacher})
  states = [made.replicate(made.init(e.stages[-1], {})) for e in built()]
  # The updates donate what they take.
  packed = strategy.pack([jax.tree.map(lambda x: x.copy(), s) for s in states])
  if chunks:
    programs = made.make_chunks(states[0], frozen, STEPS + 1)
    looked = programs.look(frozen, programs.read(0, STEPS))
    args = *looked, jax.device_put(np.int32(STEPS))
    packed, rows = strategy.make_chunk(programs)(packed, *args)
    column = programs.names.index('loss')
    rows = np.stack(strategy.read_chunk(rows))[:, STEPS - 1, column]
  else:
    for n in range(STEPS):
      signals, batch = made.signals(np.int32(n), frozen, made.feed(n))
      packed, rows = strategy.update(packed, signals, batch)
    rows = np.array([row['loss'] for row in strategy.read(rows)])
  return strategy.unpack(packed), rows


@pytest.mark.parametrize('chunks', [False, True], ids=['single', 'chunk'])
@pytest.mark.parametrize(
  'name',
  [
    'loop',
    pytest.param('unrolled', marks=pytest.mark.slow),
    pytest.param('map', marks=pytest.mark.slow),
    pytest.param('vmap', marks=pytest.mark.slow),
  ],
)
def test_spread_lanes_are_those_of_one_device(name, chunks):
  states, losses = trained(name, DEVICES, chunks)
  wanted, numbers = trained('loop', 1, chunks)
  assert len(states) == len(losses) == len(built())
  # Each device asks the teacher about a part of the batch: other sums.
  np.testing.assert_allclose(losses, numbers, rtol=1e-5)
  for ours, theirs in zip(states, wanted, strict=True):
    assert tiny.distance(ours.params, theirs.params) < 1e-4
    assert int(ours.step) == STEPS


def test_the_teacher_is_shared_out_over_the_batch():
  made = runtime(DEVICES)
  inputs = build.example_inputs(built()[0].data)
  teacher = built()[0].networks['teacher'].init(jax.random.key(5), inputs)
  signals, _ = made.signals(
    np.int32(0), made.replicate({'teacher': teacher}), made.feed(0)
  )
  logits = signals['teacher']['logits']
  parts = {
    shard.device: shard.data.shape[0] for shard in logits.addressable_shards
  }
  half = logits.shape[0] // DEVICES
  assert parts == dict.fromkeys(jax.devices()[:DEVICES], half)


def test_a_batch_that_is_uneven_is_not_shared_out():
  placement = parallel.on_each(jax.devices()[:3])
  batch = jax.jit(placement.share)({'inputs': np.zeros((4, 2), np.float32)})
  assert batch['inputs'].shape == (4, 2)


def test_candidates():
  one = parallel.on_one()
  assert strategies.candidates(one, 8, 10_000) == ('loop',)  # a CPU
  assert strategies.allowed(one) == tuple(strategies.STRATEGIES)
  assert strategies.allowed(parallel.on_mesh()) == ('loop',)


def test_candidates_of_an_accelerator(monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  one, each = parallel.on_one(), parallel.on_each(jax.devices()[:4])
  every = tuple(strategies.STRATEGIES)
  assert strategies.candidates(one, 8, 10_000) == every
  assert strategies.candidates(one, 1, 10_000) == ('loop',)
  assert strategies.candidates(one, 8, 20) == ('loop',)  # too short to try
  assert strategies.candidates(each, 8, 10_000) == every
  assert strategies.candidates(each, 4, 10_000) == ('loop',)  # one a device
  assert strategies.candidates(parallel.on_mesh(), 8, 10_000) == ('loop',)


@pytest.mark.parametrize('devices', [1, DEVICES])
def test_lanes_are_validated_by_one_program(devices):
  made = runtime(devices)
  strategy = strategies.STRATEGIES['map'](made, jax.devices()[:devices])
  states = [made.init(e.stages[-1], {}) for e in built()]
  other = jax.tree.map(lambda x: 2 * x, states[1].params)
  states[1] = states[1]._replace(params=other)
  together = made.validate(states, strategy.over)
  for ours, theirs in zip(together, made.validate(states), strict=True):
    assert ours == pytest.approx(theirs, rel=1e-6)
  assert together[0] == together[2] != together[1]
