"""METHODS, the one table: name -> maker of a method."""

from kd_jax import types
from kd_jax.losses import features as feature_losses
from kd_jax.losses import logits
from kd_jax.methods import base, features

# The methods that read the labels and no teacher.
HARD = ('cross_entropy',)

METHODS = {
  'cross_entropy': base.on_labels(logits.cross_entropy),
  'kd': base.on_logits(logits.kd),
  'feature_mse': features.on_features(feature_losses.feature_mse),
}


def make_method(name: str, **options) -> base.Method:
  """The method `name`; options are its hyperparameters and static ones.

  Raises:
    ValueError: for an unknown name or option, with the known ones.
  """
  if name not in METHODS:
    raise types.unknown('method', name, METHODS)
  return METHODS[name](**options)
