"""A network that learns from the labels alone: a teacher to be, a baseline."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import api
from kd_jax.models import base


def train_alone(network: Any, data: Any, **recipe) -> api.Distilled:
  """Trains a network on the labels: alpha = 0, and a teacher that is silent.

  Args:
    network: a Network, or a Linen module.
    data: as in `api.distill`.
    **recipe: epochs, batch_size, optimizer and whatever else `api.distill`
      takes, but for what concerns a teacher.

  Returns:
    As `api.distill`; its accuracy is {'student'} alone.

  Raises:
    ValueError: as `api.distill`.
  """
  if isinstance(network, nn.Module):
    network = base.from_linen(network)
  teacher = silent(network)
  done = api.distill(
    network, teacher, teacher.init(jax.random.key(0), None), data, alpha=0.0,
    **recipe,
  )
  return done._replace(accuracy={'student': done.accuracy['student']})


def silent(like: base.Network) -> base.Network:
  """A teacher without parameters that finds every class equally likely.

  Args:
    like: the network whose classes it knows.
  """

  def apply(variables, inputs):
    del variables
    variables = jax.eval_shape(like.init, jax.random.key(0), inputs)
    outputs, _ = jax.eval_shape(like.apply, variables, inputs)
    return jnp.zeros(outputs['logits'].shape)

  return base.from_function(apply, {'params': {}})
