"""OFA's exits: their sizes, and what they read of the teacher."""

import jax
import numpy as np
import pytest

from kd_jax import methods
from tests.helpers.methods import feature_runs

STUDENT = feature_runs.outputs(a=(8, 8, 2), b=(2, 2, 4), logits=(5,))
TEACHER = feature_runs.outputs(1, y=(4, 4, 6), z=(2, 2, 9), logits=(5,))
BOTH = [('a', 'logits'), ('b', 'logits')]
LABELS = np.array([0, 1, 2, 3])


def _init(student=STUDENT, teacher=TEACHER, **options):
  method = methods.make_method('ofa_exits', **options)
  init = jax.eval_shape(method.init, jax.random.key(0), student, teacher)
  return method, init['params']


def test_an_exit_halves_to_the_smallest_map():
  _, params = _init(layers=BOTH)
  assert {k for k in params['pair0'] if k.startswith('Sep')} == {
    'Separable_0',
    'Separable_1',
  }
  assert set(params['pair1']) == {'Dense_0', 'classifier'}
  # The widest of the smallest maps, here the teacher's.
  for exit_ in params.values():
    assert exit_['classifier']['kernel'].shape == (9, 5)
  _, params = _init(layers=BOTH, width=3)
  assert params['pair1']['classifier']['kernel'].shape == (3, 5)


def test_of_the_teacher_the_logits_are_enough():
  runner = feature_runs.make('ofa_exits', STUDENT, TEACHER, layers=BOTH[1:])
  batch = {'labels': LABELS}
  whole = runner.run(batch=batch).values
  logits = {'logits': TEACHER['logits']}
  alone, _ = runner.method.loss(
    runner.variables, STUDENT, logits, batch, runner.method.hparams
  )
  np.testing.assert_allclose(alone, whole, rtol=1e-6)


@pytest.mark.parametrize(
  'layers, message',
  [
    ([('a', 'y')], "adapter 'exit' cannot bring"),
    ([('logits', 'logits')], "adapter 'exit' cannot bring"),
  ],
)
def test_refuses(layers, message):
  with pytest.raises(ValueError, match=message):
    _init(layers=layers)
  with pytest.raises(ValueError, match='unknown variant'):
    methods.make_method('ofa_exits', layers=BOTH, variant='x')
