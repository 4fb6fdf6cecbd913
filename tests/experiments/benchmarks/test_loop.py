"""The benchmark of the loop: its ways take the same steps."""

import jax
import pytest

from experiments.benchmarks import loop


@pytest.mark.slow
def test_it_runs_and_says_both_ratios(capsys):
  assert loop.main(['--quick']) in (0, 1)  # a loaded machine may miss the aims
  line = capsys.readouterr().out.strip().splitlines()[-1]
  assert line.startswith('small dense network: ')
  assert line.endswith(' times a bare lax.scan')


def test_the_aims_decide():
  seconds = {'old loop': [9.0, 6.0], 'chunks': [1.0], 'scan': [1.0, 2.0]}
  assert loop.verdict(seconds) == (6.0, 1.0)


@pytest.mark.slow
def test_all_ways_train(monkeypatch):
  """Each leaves a state that has moved by as many steps."""
  waited = []
  wait = jax.block_until_ready
  monkeypatch.setattr(
    jax, 'block_until_ready', lambda x: waited.append(x) or wait(x)
  )
  for way in loop.make_ways('small dense network').values():
    way(3)
  assert len(waited) == len(loop.WAYS)
  for state in waited:
    state = state[0] if isinstance(state, list) else state
    assert int(state.step) == 3
