"""Feature methods run by hand: drawn outputs, values, gradients, descent."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods
from kd_jax.methods import base

B = 4


class Found(NamedTuple):
  """What one step sees: values [B], the new state, and the gradients of the
  mean by 'params' and 'student'."""

  values: jax.Array
  state: Mapping
  grads: Mapping


class Made(NamedTuple):
  """A method on one student and one teacher, compiled once."""

  method: base.Method
  student: Mapping
  teacher: Mapping
  variables: Mapping
  step: Callable
  batch: Mapping

  def run(self, variables=None, student=None, batch=None, **hparams) -> Found:
    """A step, with these in place of its own."""
    variables = self.variables if variables is None else variables
    learnt = {
      'params': variables['params'],
      'student': self.student if student is None else student,
    }
    numbers = {**self.method.hparams, **hparams}
    numbers = {k: jnp.float32(v) for k, v in numbers.items()}
    return self.step(learnt, variables['state'], batch or self.batch, numbers)

  def descend(self, steps: int, rate: float) -> tuple[list[float], dict]:
    """The mean values of gradient descent on student and params, and what
    is learnt in the end."""
    variables, student, means = self.variables, self.student, []
    for _ in range(steps):
      found = self.run(variables, student)
      means.append(float(found.values.mean()))
      student, params = jax.tree.map(
        lambda x, g: x - rate * g,
        (student, variables['params']),
        (found.grads['student'], found.grads['params']),
      )
      variables = {'params': params, 'state': found.state}
    return means, variables


def outputs(seed: int = 0, **shapes) -> dict:
  """Normal numbers f32 [B, *shape] by name."""
  rng = np.random.default_rng(seed)
  return {
    name: jnp.asarray(rng.normal(size=(B, *shape)), jnp.float32)
    for name, shape in shapes.items()
  }


def make(name: str, student: Mapping, teacher: Mapping, **options) -> Made:
  """The method `name` on these sides."""
  method = methods.make_method(name, **options)

  def step(learnt, state, batch, hparams):
    def loss(learnt):
      variables = {'params': learnt['params'], 'state': state}
      values, new = method.loss(
        variables, learnt['student'], teacher, batch, hparams
      )
      return values.mean(), (values, new)

    (_, (values, new)), grads = jax.value_and_grad(loss, has_aux=True)(learnt)
    return Found(values, new, grads)

  init = jax.jit(lambda key: method.init(key, student, teacher))
  return Made(
    method,
    student,
    teacher,
    init(jax.random.key(0)),
    jax.jit(step),
    {'index': jnp.arange(B, dtype=jnp.int32)},
  )


def norm(tree) -> float:
  """The norm of all numbers of a tree."""
  return float(np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(tree))))


def apart(tree, other) -> float:
  """The norm of the difference of two trees."""
  return norm(jax.tree.map(lambda x, y: x - y, tree, other))
