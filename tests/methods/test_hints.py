"""FitNets: the regressor by the sizes, and the two variants."""

import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.methods import hints
from tests.helpers.methods import feature_runs

LAYERS = [('x', 'y')]


@pytest.mark.parametrize(
  'student, teacher, kernel',
  [
    ((8, 8, 2), (4, 4, 3), (3, 3)),
    ((4, 4, 2), (8, 8, 3), (4, 4)),
    ((4, 4, 2), (4, 4, 3), (1, 1)),
    ((7, 5, 2), (5, 4, 3), (3, 2)),
    ((5,), (6,), ()),
    ((4, 5), (4, 6), ()),
  ],
)
def test_the_sizes_say_which_regressor(student, teacher, kernel):
  made = hints.make_regressor((2, *student), (2, *teacher))
  variables = jax.eval_shape(made.init, jax.random.key(0))
  x = np.zeros((2, *student), np.float32)
  out, _ = jax.eval_shape(made.apply, variables, x)
  assert out.shape == (2, *teacher)
  layer = next(v for k, v in variables['params'].items() if 'Norm' not in k)
  assert layer['kernel'].shape == (*kernel, student[-1], teacher[-1])


@pytest.mark.parametrize(
  'student, teacher, plain',
  [
    ((4, 4, 2), (6, 6, 2), False),
    ((4, 4, 2), (8, 8, 2), True),
    ((4, 8, 2), (8, 4, 2), False),
    ((4, 4, 2), (5,), False),
    ((4, 2), (5, 2), False),
  ],
)
def test_a_larger_teacher_is_refused(student, teacher, plain):
  with pytest.raises(ValueError, match="'regressor' cannot bring"):
    hints.make_regressor((2, *student), (2, *teacher), plain=plain)


def test_only_the_codes_regressor_couples_examples():
  made = [
    methods.make_method('fitnet', layers=LAYERS, variant=v)
    for v in ('code', 'paper')
  ]
  assert [m.batchwise for m in made] == [True, False]
  with pytest.raises(ValueError, match="'papr'; did you mean 'paper'"):
    methods.make_method('fitnet', layers=LAYERS, variant='papr')


def test_paper_is_half_the_sum_of_squares():
  student = feature_runs.outputs(x=(3, 3, 2))
  teacher = feature_runs.outputs(1, y=(2, 2, 3))
  runner = feature_runs.make(
    'fitnet', student, teacher, layers=LAYERS, variant='paper'
  )
  layer = runner.variables['params']['pair0']['Conv_0']
  kernel = np.asarray(layer['kernel'])
  x, want = np.asarray(student['x']), np.zeros((4, 2, 2, 3))
  for i in range(2):
    for j in range(2):
      window = x[:, i : i + 2, j : j + 2]
      want[:, i, j] = np.einsum('bhwc,hwcd->bd', window, kernel)
  want = np.maximum(want, 0) - np.asarray(teacher['y'])
  np.testing.assert_allclose(
    runner.run().values, (want**2).sum((1, 2, 3)) / 2, rtol=1e-5
  )


def test_it_learns():
  student = feature_runs.outputs(x=(4, 4, 2))
  teacher = {'y': abs(feature_runs.outputs(1, y=(2, 2, 3))['y'])}
  runner = feature_runs.make('fitnet', student, teacher, layers=LAYERS)
  means, _ = runner.descend(40, 2.0)
  assert means[-1] < 0.5 * means[0]
