"""MGD: what is left out, by whom it is drawn, and what is rebuilt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from tests.helpers.methods import feature_runs

LAYERS = [('x', 'y')]


def _runner(variant='channels', **options):
  student = feature_runs.outputs(x=(4, 4, 6))
  teacher = feature_runs.outputs(1, y=(4, 4, 6))
  return feature_runs.make(
    'mgd', student, teacher, layers=LAYERS, variant=variant, **options
  )


def _left_out(runner, **changes):
  """bool [B, 4, 4, 6]: which of the student's elements have no gradient.

  The convolutions are replaced by ones that do not mix: each element then has
  a gradient of its own, if it is kept.
  """
  identity = np.zeros((3, 3, 6, 6), np.float32)
  identity[1, 1] = np.eye(6)
  layer = {'kernel': identity, 'bias': np.zeros(6, np.float32)}
  lifted = {**layer, 'bias': 99 * np.ones(6, np.float32)}
  params = {'pair0': {'Conv_0': lifted, 'Conv_1': layer}}
  variables = {**runner.variables, 'params': params}
  state = changes.pop('state', runner.variables['state'])
  found = runner.run({**variables, 'state': state}, **changes)
  return np.asarray(found.grads['student']['x']) == 0


@pytest.mark.parametrize(
  'variant, alike', [('channels', (1, 2)), ('places', (3,))]
)
def test_what_is_left_out_is_whole(variant, alike):
  gone = _left_out(_runner(variant), masked=0.5)
  assert (gone.all(alike) == gone.any(alike)).all()
  assert 0.2 < gone.mean() < 0.8
  assert not _left_out(_runner(variant), masked=0.0).any()
  assert _left_out(_runner(variant), masked=1.0).all()


def test_a_draw_is_of_the_example_and_the_step_alone():
  runner = _runner('places')
  gone = _left_out(runner, masked=0.5)
  assert len({x.tobytes() for x in gone}) == len(gone)
  turned = {'index': runner.batch['index'][::-1]}
  np.testing.assert_array_equal(
    _left_out(runner, masked=0.5, batch=turned), gone[::-1]
  )
  state = runner.run().state
  assert state['count'] == 1
  assert (_left_out(runner, masked=0.5, state=state) != gone).any()


def test_the_value_is_the_sum_of_squares_of_what_is_rebuilt():
  runner = _runner()
  own = runner.variables['params']['pair0']

  @jax.jit
  def rebuild(x):
    for name in ('Conv_0', 'Conv_1'):
      x = jax.nn.relu(x) if name == 'Conv_1' else x
      x = jax.lax.conv_general_dilated(
        x,
        own[name]['kernel'],
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )
    return x

  want = (rebuild(runner.student['x']) - runner.teacher['y']) ** 2
  found = runner.run(masked=0.0).values
  np.testing.assert_allclose(found, want.sum((1, 2, 3)), rtol=1e-4)


def test_it_learns():
  means, _ = _runner().descend(80, 1e-3)
  assert np.mean(means[-5:]) < 0.6 * means[0]


def test_what_it_cannot_read_is_refused():
  sides = {'x': jnp.ones((4, 3))}, {'y': jnp.ones((4, 3))}
  method = methods.make_method('mgd', layers=LAYERS)
  with pytest.raises(ValueError, match="'mgd' cannot bring 3 of"):
    method.init(jax.random.key(0), *sides)
  with pytest.raises(ValueError, match="did you mean 'places'"):
    methods.make_method('mgd', layers=LAYERS, variant='place')
