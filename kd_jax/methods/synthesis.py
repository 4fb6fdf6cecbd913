"""What images that are made of a teacher learn by: terms of a scheme.

Each reads the signal of the images: what the teacher says of them, and
'images'. No teacher is compared, so that they are not in METHODS.
"""

from collections.abc import Callable

from kd_jax import types
from kd_jax.losses import synthesis as losses
from kd_jax.methods import base
from kd_jax.models import batch_norms, generators


def one_hot() -> base.Method:
  """`losses.synthesis.one_hot` of the teacher's logits."""
  return _on('logits', losses.one_hot)


def activation(layer: str, variant: str = 'code') -> base.Method:
  """`losses.synthesis.activation` of the teacher's output `layer`."""
  return _on(layer, lambda x: losses.activation(x, variant=variant))


def information_entropy(variant: str = 'code') -> base.Method:
  """`losses.synthesis.information_entropy` of the teacher's logits."""
  return _on(
    'logits', lambda x: losses.information_entropy(x, variant=variant), True
  )


def total_variation(variant: str = 'l2') -> base.Method:
  """`losses.synthesis.total_variation` of the images."""
  return _on(
    generators.IMAGES,
    lambda x: losses.total_variation(x, variant=variant),
    True,
  )


def image_norm(variant: str = 'batch') -> base.Method:
  """`losses.synthesis.image_norm` of the images."""
  return _on(
    generators.IMAGES, lambda x: losses.image_norm(x, variant=variant), True
  )


def batch_norm(first: float = 1.0) -> base.Method:
  """`losses.synthesis.batch_norm` of the teacher's batch norms."""
  return _on(batch_norms.KEY, lambda x: losses.batch_norm(x, first=first), True)


def _on(key: str, loss: Callable, batchwise: bool = False) -> base.Method:
  """A method whose value is a loss of one output of the student's signal."""

  def init(rng, student, teacher):
    del rng, teacher
    if key not in student:
      raise types.unknown('output of the teacher', key, student)
    if not student[key]:
      raise ValueError(
        'the teacher has no batch norm of Linen with running statistics: the '
        'weight of that loss must be 0'
      )
    return base.NOTHING

  def value(variables, student, teacher, batch, hparams):
    del teacher, batch, hparams
    return loss(student[key]), variables['state']

  return base.Method(init, value, {}, batchwise)
