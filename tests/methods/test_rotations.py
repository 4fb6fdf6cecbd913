"""SSKD: its two stages, and that turned images count in it alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from tests.helpers.methods import signals

LAYERS = [('features', 'features')]
STUDENT, TEACHER = (
  signals.draw(x, i) for i, x in enumerate((signals.STUDENT, signals.TEACHER))
)
BATCH = {**signals.batch(), 'mask': np.float32([1, 0, 0, 0] * 2)}
BATCH['labels'] = np.repeat(BATCH['labels'][::4], 4)


@functools.cache
def _method(steps):
  """The method, and the compiled gradients of its values by what it learns."""
  method = methods.make_method('sskd', layers=LAYERS, projection_steps=steps)

  def loss(params, state):
    values, state = method.loss(
      {'params': params, 'state': state},
      STUDENT,
      TEACHER,
      BATCH,
      method.hparams,
    )
    return values.sum(), (values, state)

  variables = jax.jit(method.init)(jax.random.key(0), STUDENT, TEACHER)
  return variables, jax.jit(jax.grad(loss, has_aux=True))


def _run(steps, variables):
  _, gradients = _method(steps)
  grads, (values, state) = gradients(variables['params'], variables['state'])
  size = {
    side: sum(float(jnp.abs(x).sum()) for x in jax.tree.leaves(tree))
    for side, tree in grads.items()
  }
  return values, state, size


def test_the_teachers_projection_learns_first_and_then_stays():
  variables, _ = _method(1)
  values, state, size = _run(1, variables)
  assert size['teacher'] > 0 == size['student']
  moved = jax.tree.map(lambda x: x + 1, variables['params'])
  later = {'params': moved, 'state': state}
  again, new, size = _run(1, later)
  assert size['student'] > 0 == size['teacher']
  assert (again != values).any()
  for leaf, was in zip(
    jax.tree.leaves(new['frozen']),
    jax.tree.leaves(variables['params']['teacher']),
    strict=True,
  ):
    np.testing.assert_array_equal(leaf, was)


def test_values_are_the_upright_images():
  variables, _ = _method(1)
  values, _, _ = _run(1, variables)
  assert values.shape == (8,)
  assert (values[::4] > 0).all()
  assert not np.any(values.reshape(2, 4)[:, 1:])


def test_a_number_of_steps_is_needed():
  with pytest.raises(ValueError, match='needs projection_steps'):
    methods.make_method('sskd', layers=LAYERS)
