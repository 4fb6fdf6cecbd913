"""Metrics in one array are those of the step, to the bit."""

import jax
import numpy as np

from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.training import packed
from tests.helpers import tiny


def test_a_row_has_the_metrics_of_the_step_in_one_array():
  networks, stage = tiny.networks(), tiny.offline()
  pure = steps.make_halves(networks, stage).step
  state = states.init_state(networks, stage, tiny.batch())
  args = state, tiny.frozen(), tiny.batch()
  apart, together = jax.jit(pure)(*args), jax.jit(packed.in_row(pure))(*args)
  assert tiny.distance(*(s.params for s, _ in (apart, together))) == 0
  one = jax.device_get(together[1])
  assert one.values.shape == (len(apart[1]),)
  assert dict(one.items()) == jax.device_get(apart[1])
  lanes = packed.Row(one.names, np.stack([one.values, 2 * one.values]))
  assert list(dict(lanes.items())['loss']) == [
    x * apart[1]['loss'] for x in (1, 2)
  ]
