"""WKD: the teacher's classifier sets the costs, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import transport
from tests.helpers.methods import feature_runs, harness, signals

BATCH = signals.batch()


def test_costs_are_the_teachers_classifiers():
  made = harness.make('wkd_l')
  values, _ = jax.jit(made.method.loss)(
    {'state': {}}, made.student, made.teacher, BATCH, made.hparams
  )
  cost = transport.class_costs(made.teacher['head']['kernel'])
  want = transport.wkd_l(
    made.student['logits'],
    made.teacher['logits'],
    BATCH['labels'],
    cost,
    regularization=0.2,
  )
  np.testing.assert_allclose(values, want, rtol=1e-6)


def test_a_teacher_without_a_classifier_is_refused():
  outputs = {'logits': jax.ShapeDtypeStruct((4, 5), 'float32')}
  with pytest.raises(ValueError, match="needs the teacher's last classifier"):
    methods.make_method('wkd_l').init(jax.random.key(0), outputs, outputs)


def test_at_equality_the_plan_of_a_small_divisor_costs_nothing():
  outputs = signals.draw(signals.TEACHER, 1)
  outputs['logits'] = outputs['logits'] * 3
  values = []
  for divisor in (0.5, 0.05):
    method = methods.make_method(
      'wkd_l', temperature=1.0, gamma=1.0, regularization=divisor, iterations=50
    )
    value, _ = jax.jit(method.loss)(
      {'state': {}}, outputs, outputs, BATCH, method.hparams
    )
    values.append(value)
  hit = jnp.take_along_axis(
    jax.nn.log_softmax(outputs['logits']), BATCH['labels'][:, None], axis=1
  )[:, 0]
  excess = [value + jnp.exp(hit) * hit for value in values]
  assert (excess[1] < 0.3 * excess[0]).all() and (excess[1] >= 0).all()


def test_wkd_f_learns():
  student = feature_runs.outputs(x=(4, 4, 2))
  teacher = {'y': abs(feature_runs.outputs(1, y=(4, 4, 3))['y'])}
  runner = feature_runs.make(
    'wkd_f', student, teacher, layers=[('x', 'y')], grid=2
  )
  means, _ = runner.descend(60, 0.05)
  assert means[-1] < 0.7 * means[0]
