"""Wraps students that predict through a method's classifier (SimKD).

The finished variables of such a student also hold the method's variables: its
parameters in 'params', the rest in a separate collection. With them the
network predicts through the method; without them it is the plain network.
"""

from collections.abc import Mapping

from kd_jax import types
from kd_jax.methods import base as methods
from kd_jax.models import base as models

REUSED = 'reused'


def wrap(network: models.Network, method: methods.Method) -> models.Network:
  """`network`, whose finished variables may hold those of `method`.

  Args:
    network: the student.
    method: with a `predict`.
  """

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    variables, learned = split(variables)
    outputs, state = network.apply(
      variables, inputs, train=train, rng=rng, axis_name=axis_name
    )
    if learned is None:
      return outputs, state
    logits = method.predict(learned, outputs)
    return {**outputs, 'logits': logits}, {**state, REUSED: learned['state']}

  return models.Network(network.init, apply, network.head)


def split(variables: types.Variables) -> tuple[dict, dict | None]:
  """(variables of the plain network, those of the method or None)."""
  if REUSED not in variables:
    return dict(variables), None
  params = dict(variables['params'])
  learned = {'params': params.pop(REUSED), 'state': variables[REUSED]}
  plain = {k: v for k, v in variables.items() if k != REUSED}
  return {**plain, 'params': params}, learned


def join(variables: types.Variables, learned: Mapping) -> dict:
  """The inverse of `split`."""
  params = {**variables['params'], REUSED: learned['params']}
  return {**variables, 'params': params, REUSED: learned['state']}
