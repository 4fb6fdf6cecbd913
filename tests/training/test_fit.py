"""As many lanes as fit the memory; half of them where that was too many."""

import jax
import pytest

from kd_jax import build, device
from kd_jax.training import choice, fit, loop, strategies
from kd_jax.training import runtime as runtimes
from tests.helpers import grids

pytestmark = pytest.mark.usefixtures('compiled_once')


def lanes_that_fit(name: str, free: int, monkeypatch, count: int = 40) -> int:
  """How many of `count` equal lanes fit so many bytes."""
  made = build.make_experiment(grids.settings()['a'])
  stage = made.stages[-1]
  runtime = runtimes.make_runtime(made, stage)
  inputs = build.example_inputs(made.data)
  teacher = made.networks['teacher'].init(jax.random.key(5), inputs)
  monkeypatch.setattr(device, 'free', lambda: free)
  entry = loop.Entry(stage, {}, None, {})
  strategy = strategies.STRATEGIES[name](runtime)
  return fit.fit(strategy, runtime, [entry] * count, {'teacher': teacher}, 0)


@pytest.mark.parametrize('name', ['loop', 'map', 'vmap'])
def test_lanes_grow_with_the_memory(name, monkeypatch):
  few, more = (
    lanes_that_fit(name, free, monkeypatch) for free in (200_000, 800_000)
  )
  assert 0 < few < more < 40


def test_vmap_needs_more_for_a_lane_than_its_state(monkeypatch):
  assert lanes_that_fit('vmap', 400_000, monkeypatch) < lanes_that_fit(
    'loop', 400_000, monkeypatch
  )


def test_lanes_are_halved_where_memory_runs_out(monkeypatch, capsys, tmp_path):
  tried, original = [], choice.choose

  def choose(lanes, *args):
    if lanes[0].stage.name == 'student':
      tried.append(len(lanes))
      if len(lanes) > 1:
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: simulated')
    return original(lanes, *args)

  monkeypatch.setattr(choice, 'choose', choose)
  outcomes = grids.together(grids.settings(), tmp_path)
  assert tried == [3, 1, 1, 1]
  said = capsys.readouterr().err
  assert 'student: 3 lanes do not fit the memory; 1 at once' in said
  assert all('student' in outcome.networks for outcome in outcomes)


def test_a_single_lane_that_does_not_fit_fails(monkeypatch, tmp_path):
  def choose(lanes, *args):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: simulated')

  monkeypatch.setattr(choice, 'choose', choose)
  with pytest.raises(jax.errors.JaxRuntimeError, match='RESOURCE_EXHAUSTED'):
    grids.together(grids.settings({'a': {}}), tmp_path)
