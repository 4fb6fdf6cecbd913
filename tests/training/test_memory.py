"""Training that needs less memory: the same numbers, or what differs."""

import jax
import pytest
from flax import linen as nn

from kd_jax import metrics, optim
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.models import base
from tests.helpers import running, tiny

LESS = {'networks__student__remat': True, 'networks__teacher__microbatches': 4}


@pytest.mark.parametrize(
  'parallel',
  [
    'one',
    pytest.param('mesh', marks=pytest.mark.slow),
    pytest.param('pmap', marks=pytest.mark.slow),
  ],
)
def test_parts_and_remat_train_the_same(parallel, tmp_path):
  rows = []
  for i, changes in enumerate(({}, LESS)):
    made = running.experiment(
      parallel=parallel,
      train__steps=4,
      teacher__steps=2,
      networks__student__dropout=0.0,
      baseline=False,
      **changes,
    )
    running.run(made, tmp_path / str(i))
    rows.append(metrics.read_rows(tmp_path / str(i)))
  for ours, theirs in zip(*rows, strict=True):
    assert ours.pop('stage') == theirs.pop('stage')
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


class Plain(nn.Module):
  """A network of which no part couples the examples."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(tiny.CLASSES)(nn.relu(nn.Dense(8)(x.reshape(len(x), -1))))


def moved(method: str, student: nn.Module, parts: int) -> dict:
  """Parameters after an update by a batch, or by its parts accumulated."""
  networks = {**tiny.networks(), 'student': base.from_linen(student)}
  stage = tiny.offline(
    terms={'soft': tiny.soft(name=method)},
    recipe=tiny.recipe(tx=optim.make_optimizer('sgd', accumulate=parts)),
  )
  state = states.init_state(networks, stage, tiny.batch())
  step = jax.jit(steps.make_halves(networks, stage).step)
  for part in range(parts):
    batch = jax.tree.map(lambda x, i=part: x[i::parts], tiny.batch(3))
    state, _ = step(state, tiny.frozen(), batch)
  return state.params['networks']['student']


@pytest.mark.parametrize(
  'method, student, equal',
  [
    ('kd', Plain(), True),
    ('kd', tiny.Net(8), False),  # BatchNorm
    ('dist', Plain(), False),  # compares the examples of a step
  ],
)
def test_accumulated_steps_are_one_large_step_where_nothing_couples(
  method, student, equal
):
  gap = tiny.distance(moved(method, student, 2), moved(method, student, 1))
  assert (gap < 1e-4) == equal
  assert gap < 1e-4 or gap > 1e-3
