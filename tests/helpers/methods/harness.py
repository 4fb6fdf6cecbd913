"""Methods as the contract asks them: each compiled once, as a term's loss."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, terms
from kd_jax.methods import base
from tests.helpers.methods import cases, signals


class Made(NamedTuple):
  """A method with sides to compare, and the compiled loss of its term.

  Attributes:
    method: under test.
    shapes: (student, teacher), of which the sides are drawn.
    reads: the outputs that it looks at.
    student: its outputs.
    teacher: its outputs.
    variables: as initialized.
    hparams: its defaults, as arrays.
    batch: what both sides speak of.
    evaluate: compiled (variables, student, teacher, batch, hparams) -> value,
      state, gradients by (params, student, teacher).
  """

  method: base.Method
  shapes: tuple[Mapping, Mapping]
  reads: frozenset[str]
  student: Mapping
  teacher: Mapping
  variables: Mapping
  hparams: Mapping
  batch: Mapping
  evaluate: Callable


def made_by(name: str) -> base.Method:
  """The method of the case `name`."""
  method = name.split('/')[0]
  return methods.make_method(method, **cases.CASES[name].options)


@functools.cache
def make(name: str, alike: bool = False) -> Made:
  """The method `name` by its case; `alike` gives both sides one shape."""
  case = cases.CASES[name]
  shapes = signals.TEACHER if alike else signals.STUDENT, signals.TEACHER
  batch = signals.batch()
  if case.dense:
    shapes = tuple(signals.pixels(side) for side in shapes)
    batch = signals.maps(batch)
  reads = frozenset(case.reads)
  student, teacher = (
    signals.draw(side, i, names=reads) for i, side in enumerate(shapes)
  )
  method = made_by(name)
  hparams = {k: jnp.float32(v) for k, v in method.hparams.items()}
  evaluate = jax.jit(functools.partial(differentiate, method))
  return Made(
    method,
    shapes,
    reads,
    student,
    teacher,
    start(name, student, teacher),
    hparams,
    batch,
    evaluate,
  )


def start(name: str, student, teacher) -> dict:
  """What a new method of this name learns and remembers, compiled."""
  method = made_by(name)
  sides = [signals.shapes_of(x) for x in (student, teacher)]
  init = jax.jit(lambda key: method.init(key, *sides))
  return init(jax.random.key(3))


def total(method, variables, student, teacher, batch, hparams):
  """The loss of a term by this method, and the method's new state."""
  term = terms.Term('student', 'teacher', method)
  signals_ = {'student': student, 'teacher': teacher}
  numbers = {**hparams, 'weight': jnp.float32(1)}
  value, (states, _) = terms.total_loss(
    {'term': term},
    {'term': variables},
    signals_,
    batch,
    {'term': numbers},
    jnp.int32(0),
  )
  return value, states['term']


def differentiate(method, variables, student, teacher, batch, hparams):
  """value, state, and the gradients by params, student and teacher."""

  def loss(params, student, teacher):
    held = {**variables, 'params': params}
    return total(method, held, student, teacher, batch, hparams)

  (value, state), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(
    variables['params'], student, teacher
  )
  return value, state, gradients


def ask(made: Made, student=None, teacher=None, **changes) -> Any:
  """What the compiled method makes of these sides, in NumPy.

  Args:
    made: the method.
    student: outputs in place of its own; teacher: likewise.
    **changes: variables, batch or hparams in place of its own.
  """
  given = {
    'variables': made.variables,
    'batch': made.batch,
    'hparams': made.hparams,
    **changes,
  }
  found = made.evaluate(
    given['variables'],
    made.student if student is None else student,
    made.teacher if teacher is None else teacher,
    given['batch'],
    given['hparams'],
  )
  return jax.tree.map(np.asarray, found)


@functools.cache
def plain(name: str):
  """What the method makes of its own sides."""
  return ask(make(name))


@functools.cache
def warm(name: str) -> dict:
  """Its variables after a step: what only a first step does is behind."""
  return {**make(name).variables, 'state': plain(name)[1]}


def norm(tree) -> float:
  """The norm of all numbers of a tree; 0 for an empty one."""
  leaves = [np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)]
  return float(np.linalg.norm(np.concatenate([np.zeros(1), *leaves])))


def apart(tree, other) -> float:
  """The norm of the difference over that of `other`."""
  gap = jax.tree.map(lambda x, y: np.float64(x) - np.float64(y), tree, other)
  return norm(gap) / max(norm(other), 1e-30)


def finite(tree) -> bool:
  """Whether all numbers of a tree are."""
  return all(np.isfinite(x).all() for x in jax.tree.leaves(tree))


def close(got, want, bound: float) -> None:
  """Asserts that each leaf is within `bound`, relative to its greatest."""
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    scale = np.abs(y).max(initial=0)
    np.testing.assert_allclose(x, y, rtol=0, atol=bound * (scale + 1e-6))
