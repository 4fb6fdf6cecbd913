"""VID: the variance starts where it should, and is trained."""

import jax
import numpy as np
import pytest

from kd_jax import methods
from tests.helpers.methods import feature_runs

LAYERS = [('x', 'y')]


def _runner(**options):
  student = feature_runs.outputs(x=(4, 4, 2))
  teacher = feature_runs.outputs(1, y=(2, 2, 3))
  return feature_runs.make('vid', student, teacher, layers=LAYERS, **options)


def _mean(runner, variables):
  """What the three convolutions make of the pooled student."""
  own = variables['params']['pair0']
  x = np.asarray(runner.student['x']).reshape(4, 2, 2, 2, 2, 2).mean((2, 4))
  for i in range(3):
    x = np.maximum(x, 0) if i else x
    x = x @ np.asarray(own[f'Dense_{i}']['kernel'])
  return x


@pytest.mark.parametrize('variance', [5.0, 0.5])
def test_the_variance_starts_as_asked(variance):
  runner = _runner(initial_variance=variance)
  error = (_mean(runner, runner.variables) - runner.teacher['y']) ** 2
  want = (error / variance + np.log(variance)).mean((1, 2, 3)) / 2
  np.testing.assert_allclose(runner.run().values, want, rtol=1e-5)


def test_the_variance_is_trained():
  """With a frozen one, as in mdistiller, the value stays above log(5) / 2."""
  runner = _runner()
  before = runner.run().grads['params']['pair0']['raw_variance']
  assert abs(np.asarray(before)).min() > 1e-3
  means, variables = runner.descend(40, 3.0)
  assert means[-1] < 0.9 * np.log(5) / 2
  raw = variables['params']['pair0']['raw_variance']
  start = runner.variables['params']['pair0']['raw_variance']
  assert abs(np.asarray(raw - start)).min() > 0.1


def test_its_gradient_rests_where_the_variance_is_the_error():
  runner = _runner()
  error = (_mean(runner, runner.variables) - runner.teacher['y']) ** 2
  raw = np.log(np.expm1(error.mean((0, 1, 2)) - 1e-5)).astype(np.float32)
  params = {
    'pair0': {**runner.variables['params']['pair0'], 'raw_variance': raw}
  }
  grads = runner.run({**runner.variables, 'params': params}).grads
  assert abs(np.asarray(grads['params']['pair0']['raw_variance'])).max() < 1e-6


def test_what_it_cannot_read_is_refused():
  with pytest.raises(ValueError, match='initial_variance must be above'):
    methods.make_method('vid', layers=LAYERS, initial_variance=0.0)
  sides = feature_runs.outputs(x=(4, 2)), feature_runs.outputs(y=(5, 2))
  with pytest.raises(ValueError, match="'vid' cannot bring 4x2 .* to 5x2"):
    methods.make_method('vid', layers=LAYERS).init(jax.random.key(0), *sides)
