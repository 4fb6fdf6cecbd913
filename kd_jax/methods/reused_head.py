"""Students that predict through what a method learned (a reused classifier).

Such a student's finished variables hold the method's: its parameters in
'params', the rest in a collection of its own. A network that finds them there
predicts through them; without them it is the plain network.
"""

from collections.abc import Mapping

from kd_jax import types
from kd_jax.methods import base as methods
from kd_jax.models import base as models

REUSED = 'reused'


def wrap(network: models.Network, method: methods.Method) -> models.Network:
  """`network`, whose finished variables may hold what `method` learned.

  Args:
    network: the student.
    method: with a `predict`.
  """

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    own, held = split(variables)
    outputs, carried = network.apply(
      own, inputs, train=train, rng=rng, axis_name=axis_name
    )
    if held is None:
      return outputs, carried
    logits = method.predict(held, outputs)
    return {**outputs, 'logits': logits}, {**carried, REUSED: held['state']}

  return models.Network(network.init, apply, network.head)


def split(variables: types.Variables) -> tuple[dict, dict | None]:
  """(the network's own variables, the method's {'params', 'state'} or None)."""
  if REUSED not in variables:
    return dict(variables), None
  params = dict(variables['params'])
  held = {'params': params.pop(REUSED), 'state': variables[REUSED]}
  own = {k: v for k, v in variables.items() if k != REUSED}
  return {**own, 'params': params}, held


def join(variables: types.Variables, held: Mapping) -> dict:
  """The inverse of `split`."""
  params = {**variables['params'], REUSED: held['params']}
  return {**variables, 'params': params, REUSED: held['state']}
