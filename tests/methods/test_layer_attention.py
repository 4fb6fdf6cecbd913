"""SemCKD and AFD: layers of either side, and attention that is learned."""

import jax
import pytest

from kd_jax import methods
from tests.helpers import marks
from tests.helpers.methods import feature_runs, signals

NAMED = [('x1', 'y1'), ('x2', 'y2'), ('x2', 'y3')]
STUDENT = feature_runs.outputs(x1=(4, 4, 2), x2=(2, 2, 3))
TEACHER = feature_runs.outputs(1, y1=(4, 4, 3), y2=(2, 2, 2), y3=(2, 2, 4))
OPTIONS = {'semckd': {'factor': 2}, 'afd': {'width': 6}}


@pytest.mark.parametrize('name', marks.slow_but(OPTIONS, ['afd']))
def test_all_layers_of_either_side_meet_and_it_learns(name):
  runner = feature_runs.make(
    name, STUDENT, TEACHER, layers=NAMED, **OPTIONS[name]
  )
  parts = runner.variables['params']
  if name == 'semckd':
    pairs = {k for k in parts if k.startswith('projection')}
    assert pairs == {f'projection{i}_{j}' for i in range(2) for j in range(3)}
  else:
    assert parts['student_places'].shape == (2, 6)
    assert parts['teacher_places'].shape == (3, 6)
  found = runner.run()
  attention = {
    k: x for k, x in found.grads['params'].items() if 'projection' not in k
  }
  assert feature_runs.norm(attention) > 0
  means, _ = runner.descend(30, 0.5 if name == 'semckd' else 5.0)
  assert means[-1] < 0.95 * means[0]


@pytest.mark.parametrize('name', OPTIONS)
def test_vectors_are_refused(name):
  shapes = signals.shapes_of(signals.draw(signals.STUDENT, 0))
  method = methods.make_method(name, layers=[('features', 'map1')])
  with pytest.raises(ValueError, match=r"reads maps.*'features'"):
    method.init(jax.random.key(0), shapes, shapes)


def test_semckd_has_the_size_of_its_batch():
  method = methods.make_method('semckd', layers=NAMED)
  init = jax.eval_shape(method.init, jax.random.key(0), STUDENT, TEACHER)
  kernel = init['params']['query0']['Dense_0']['kernel']
  assert kernel.shape == (feature_runs.B, 2)
  fewer = {name: x[:3] for name, x in STUDENT.items()}
  with pytest.raises(Exception, match='shape'):
    jax.eval_shape(method.loss, init, fewer, TEACHER, {}, method.hparams)
