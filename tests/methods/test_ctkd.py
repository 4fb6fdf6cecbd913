"""CTKD: who learns the temperature, and in which direction."""

import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import logits
from kd_jax.methods import ctkd
from tests.helpers.methods import signals

STUDENT, TEACHER = (
  {'logits': signals.draw(signals.STUDENT, i)['logits']} for i in range(2)
)


def _run(variant, step):
  """Values, those after a step of what is learned, gradients, what it is."""
  method = methods.make_method(
    'ctkd', variant=variant, decay_steps=2.0, t_end=6.0
  )
  variables = method.init(jax.random.key(0), STUDENT, TEACHER)
  state = {'step': np.int32(step)}

  @jax.jit
  def loss(params, student):
    variables = {'params': params, 'state': state}
    values, _ = method.loss(variables, student, TEACHER, {}, method.hparams)
    return values.sum(), values

  gradients = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
  grads, values = gradients(variables['params'], STUDENT)
  ahead = jax.tree.map(lambda x, g: x - 1e-3 * g, variables['params'], grads[0])
  return values, loss(ahead, STUDENT)[1], grads, variables['params']


@pytest.mark.parametrize('variant', ['global', 'instance'])
def test_descent_on_the_temperature_raises_the_loss(variant):
  values, later, *_ = _run(variant, 2)
  assert later.sum() > values.sum()
  learned = _run(variant, 0)[2][0]
  assert not any(np.any(x) for x in jax.tree.leaves(learned))


def test_the_student_sees_the_temperature_as_given():
  values, _, (_, pull), params = _run('instance', 2)
  both = np.concatenate([STUDENT['logits'], TEACHER['logits']], axis=-1)
  tau = ctkd.Tau(32).apply({'params': params}, both)[:, 0]
  each = 1 + 6 * jax.nn.sigmoid(tau)
  assert np.ptp(each) > 0.01

  def given(student):
    return logits.kd(student, TEACHER['logits'], temperature=each)

  np.testing.assert_allclose(values, given(STUDENT['logits']), rtol=1e-5)
  want = jax.grad(lambda s: given(s).sum())(STUDENT['logits'])
  np.testing.assert_allclose(pull['logits'], want, rtol=1e-4, atol=1e-6)


def test_another_variant_is_refused():
  with pytest.raises(ValueError, match='known: global, instance'):
    methods.make_method('ctkd', variant='local')
