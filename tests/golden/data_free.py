"""Families of golden values: losses of images that are made of a teacher."""

from kd_jax.models import batch_norms


def _outputs(loss, x, **attrs):
  return loss(x.student['logits'], **attrs)


def _feature(loss, x, **attrs):
  return loss(x.student['feature'], **attrs)


def _layers(loss, x, **attrs):
  """The inputs of batch norms, with their running statistics."""
  layers = {
    name: batch_norms.moments(
      x.student[name], x.params[f'{name}_mean'], x.params[f'{name}_var']
    )
    for name in sorted(x.student)
  }
  return loss(layers, **attrs)


FAMILIES = {
  'dafl_one_hot': ('synthesis.one_hot', _outputs),
  'dafl_activation': ('synthesis.activation', _feature),
  'dafl_entropy': ('synthesis.information_entropy', _outputs),
  'inversion_variation': ('synthesis.total_variation', _feature),
  'inversion_norm': ('synthesis.image_norm', _feature),
  'inversion_batch_norm': ('synthesis.batch_norm', _layers),
}
