"""How fast a stage is: measured, written, and no part of what is compared."""

import jax
import pytest

from kd_jax import device, errors, metrics
from kd_jax.training import runtime as runtimes
from kd_jax.training import speed
from tests.helpers import running

QUIET = metrics.Progress(lambda step, values: None, lambda: None)


@pytest.fixture
def clock(monkeypatch):
  """A clock that a test sets: clock['now'] = seconds."""
  time = {'now': 100.0}
  monkeypatch.setattr(speed.time, 'monotonic', lambda: time['now'])
  return time


def stepped(meter, clock, steps, seconds, waiting=0.0):
  """Some calls of the loop, of a step each; some of the time waits for data."""
  update, _ = meter.watch(QUIET)

  def get():
    clock['now'] += waiting
    return 'batch'

  for step in steps:
    meter.start()
    assert meter.fetch(get)() == 'batch'
    clock['now'] += seconds - waiting
    update(step, dict)


def test_the_pace_of_steps_without_what_compiles_and_validates(clock):
  meter = speed.make_meter(32, lambda: None)
  stepped(meter, clock, [1], 50.0)  # compiles
  assert meter.row() == {}
  stepped(meter, clock, range(2, 12), 0.5, 0.125)
  meter.pause()
  clock['now'] += 20  # validates
  want = {'examples_per_second': 64.0, 'waiting': 0.25}
  assert meter.row() == want
  assert meter.row() == {}
  stepped(meter, clock, range(12, 16), 0.25)
  meter.pause()
  assert meter.row() == {'examples_per_second': 128.0, 'waiting': 0.0}


def test_flop_are_counted_once_and_in_long_stages_alone(clock, monkeypatch):
  monkeypatch.setattr(device, 'peak_bytes', lambda: 1.5e9)
  counted = []
  meter = speed.make_meter(10, lambda: counted.append(1) or 2e12, 40e12)
  stepped(meter, clock, range(1, 12), 0.5)
  short = meter.row()
  assert set(short) == {'examples_per_second', 'waiting', 'peak_bytes'}
  assert meter.text(2.0) == '20 examples/s, 0 % waiting for data, 1.50 GB'
  assert not counted
  clock['now'] += speed.COUNTED_AFTER
  stepped(meter, clock, range(12, 22), 0.5)
  assert meter.row()['mfu'] == pytest.approx(0.1, rel=0.9)
  assert meter.text(10.0).endswith('20 TFLOP/s (50 % of the peak)')
  assert len(counted) == 1


def test_the_flop_of_a_step_are_those_of_its_products():
  made = running.experiment()
  stage = made.stages[-1]
  runtime = runtimes.make_runtime(made, stage)
  state = runtime.init(stage, {})
  example = made.prepare(made.data.train.inputs[:1])
  network = made.networks['teacher']
  frozen = {'teacher': network.init(jax.random.key(0), example)}
  one, two = (runtime.flops(state, frozen, lanes) for lanes in (1, 2))
  teacher, student = 64 * 32 + 32 * 10, 64 * 8 + 8 * 10
  # Forward and the gradients of both factors; the input needs no gradient.
  update = 2 * 32 * (3 * student - 64 * 8)
  assert 2 * 32 * teacher + update <= one <= 1.5 * (2 * 32 * teacher + update)
  assert update <= two - one <= 2 * update


def test_rows_of_speed_are_beside_those_of_metrics(tmp_path):
  made = running.experiment(eval_every=10, steps_at_once=5, baseline=False)
  with pytest.raises(errors.StoppedError):
    running.run(made, tmp_path, stop_after=10)
  running.run(made, tmp_path)
  rows = metrics.read_rows(tmp_path, metrics.SPEED)
  assert all(row['examples_per_second'] > 0 for row in rows)
  assert all(0 <= row['waiting'] <= 1 for row in rows)
  steps = [(row['stage'], row['step']) for row in rows]
  assert len(set(steps)) == len(steps)
  assert set(steps) <= {
    (row['stage'], row['step']) for row in metrics.read_rows(tmp_path)
  }
  assert ('teacher', 20) in steps and ('student', 30) in steps
  assert 'waiting' not in metrics.read_rows(tmp_path)[-1]
