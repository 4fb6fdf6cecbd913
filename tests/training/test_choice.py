"""The strategy of lanes is tried once, said, kept and used again."""

import jax
import pytest

from kd_jax import checkpoint, errors
from kd_jax.training import choice, chunks, strategies
from tests.helpers import grids

pytestmark = pytest.mark.usefixtures('compiled_once')
NAMES = ('loop', 'map')


@pytest.fixture(autouse=True)
def tries(monkeypatch):
  """As on an accelerator, with two strategies and no trial before."""
  choice._remembered.cache_clear()

  def candidates(placement, lanes, steps):
    return NAMES if lanes == len(grids.SETTINGS) else ('loop',)

  monkeypatch.setattr(strategies, 'candidates', candidates)
  yield
  choice._remembered.cache_clear()


def prefer(monkeypatch, name: str) -> list[str]:
  """Lets a trial find this strategy the faster; what has been tried."""
  tried = []

  def seconds(steps):
    jax.block_until_ready(steps())
    tried.append(NAMES[len(tried) % len(NAMES)])
    return 0.001 if tried[-1] == name else 0.002

  monkeypatch.setattr(chunks, 'seconds', seconds)
  return tried


def kept(folder) -> dict[str, str]:
  """{setting: strategy of its newest checkpoint}."""
  found = {}
  for name in grids.SETTINGS:
    steps = (folder / name / 'checkpoints/student').iterdir()
    newest = max(steps, key=lambda path: int(path.name))
    found[name] = checkpoint.read_json(newest / 'meta/metadata')['strategy']
  return found


@pytest.mark.slow
@pytest.mark.parametrize('at_once', ['1', '4'])
def test_the_fastest_is_taken_said_and_remembered(
  at_once, monkeypatch, capsys, tmp_path
):
  for name in NAMES:
    choice._remembered.cache_clear()
    tried = prefer(monkeypatch, name)
    configs = grids.settings(steps_at_once=at_once)
    for turn in ('first', 'second'):
      grids.together(configs, tmp_path / name / turn)
      assert kept(tmp_path / name / turn) == dict.fromkeys(configs, name)
    times = {'loop': 'loop 1, map 2', 'map': 'loop 2, map 1'}[name]
    if at_once == '1':
      times = times.replace('1', '0.125').replace('2', '0.25')
    said = capsys.readouterr().err
    assert said.count(f'student: 3 lanes by {name} (ms a step: ') == 2, said
    assert tried == list(NAMES)


def test_lanes_that_resume_keep_their_strategy(monkeypatch, tmp_path):
  asked = []

  def stop():
    asked.append(1)
    return len(asked) > 26  # in the middle of the last stage

  prefer(monkeypatch, 'map')
  with pytest.raises(errors.StoppedError):
    grids.together(grids.settings(), tmp_path, stop=stop)
  assert set(kept(tmp_path).values()) == {'map'}
  tried = prefer(monkeypatch, 'loop')
  choice._remembered.cache_clear()
  grids.together(grids.settings(), tmp_path)
  assert set(kept(tmp_path).values()) == {'map'}
  assert not tried


def test_a_strategy_that_runs_out_of_memory_is_left_out(monkeypatch, tmp_path):
  def seconds(steps):
    jax.block_until_ready(steps())
    calls.append(1)
    if len(calls) == 1:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: simulated')
    return 1.0

  calls = []
  monkeypatch.setattr(chunks, 'seconds', seconds)
  grids.together(grids.settings(), tmp_path)
  assert set(kept(tmp_path).values()) == {'map'}


def test_other_failures_of_a_trial_are_not_hidden(monkeypatch, tmp_path):
  def seconds(steps):
    raise jax.errors.JaxRuntimeError('INTERNAL: simulated')

  monkeypatch.setattr(chunks, 'seconds', seconds)
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    grids.together(grids.settings(), tmp_path)


def test_the_real_trial_runs(capsys, tmp_path):
  grids.together(grids.settings(steps_at_once='4'), tmp_path)
  (name,) = set(kept(tmp_path).values())
  assert f'3 lanes by {name}' in capsys.readouterr().err
