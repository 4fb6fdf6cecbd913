"""What is remembered of a lane while it trains."""

import numpy as np
import pytest

from kd_jax import tasks
from kd_jax.training import lane


@pytest.mark.parametrize(
  'task, steps',
  [(tasks.CLASSIFICATION, [1, 2, 3, 4, 4, 4, 7]),
   (tasks.LANGUAGE, [1, 2, 3, 4, 4, 6, 6])],
)  # fmt: skip
def test_the_best_is_the_latest_until_there_is_a_score(
  task, steps, monkeypatch
):
  monkeypatch.setattr(lane.states, 'variables_of', lambda state, *_: state)
  best, kept = {'score': np.float32(np.nan), 'step': 0, 'variables': 0}, []
  for step, score in enumerate([None, None, np.nan, 3, np.nan, 2, 5], 1):
    now = lane.Lane(None, None, None, step, step, {})
    scores = {} if score is None else {f'validation_{task.score}/it': score}
    best = lane.better(best, now, 'it', scores, task)
    kept.append(int(best['step']))
    assert best['variables'] == best['step']
  assert kept == steps
