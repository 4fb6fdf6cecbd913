"""Class attention transfer: compares class activation maps."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kd_jax import kinds
from kd_jax.losses import features as losses
from kd_jax.losses import numerics
from kd_jax.methods import adapters, base, features, layer_names, teacher_head


def cat_kd(
  *,
  layers: layer_names.Layers = (('final', 'final'),),
  resolution: kinds.Count = 2,
  normalize: bool = True,
) -> base.Method:
  """Class attention transfer: the student attends where the teacher does.

  mean (n(pool(A_s)) - n(pool(A_t)))^2 (`losses.features.cat`), where
  A[h, w, k] = sum_c F[h, w, c] W[c, k] is the activation map of class k: F the
  last map before pooling, W the kernel of the classifier, of either network.
  Its mean over space is the logit without bias. Where no classifier has rows
  for the channels of a feature, and the feature has a channel for each class,
  the feature itself is the maps. No adapter can replace an unknown classifier:
  its maps would not be those of the classes.

  Args:
    layers: [(student, teacher)], the last maps; they are called 'final' in the
      networks of `models`.
    resolution: height and width after pooling (2).
    normalize: whether n divides each map by its L2 norm (True).

  Returns:
    A method whose loss is f32 [B]; 0 where the maps agree. No
    hyperparameters. Weight 400 (15 without `normalize`). Couples no examples.

  Source: Guo et al. 2023, "Class Attention Transfer Based Knowledge
    Distillation", https://arxiv.org/abs/2304.12777. The authors' code replaces
    the classifier by a 1x1 convolution without bias before pooling, which is
    the same map.
  """
  layers = layer_names.need('cat_kd', layers)

  def compare(student, ours, teacher, theirs, hparams, batch):
    del hparams, batch
    return losses.cat(
      class_maps(student, ours),
      class_maps(teacher, theirs),
      resolution=resolution,
      normalize=normalize,
    )

  return features.unadapted('cat_kd', layers, compare, {})


def class_maps(outputs: Mapping, name: str) -> jax.Array:
  """The class activation maps f32 [B, H, W, K] of the layer `name`.

  Raises:
    ValueError: the layer is not a map, or it has a channel neither for each
      row of the classifier nor for each class.
  """
  x = numerics.f32(outputs[name])
  kernel = (
    outputs[teacher_head.HEAD]['kernel']
    if teacher_head.HEAD in outputs
    else None
  )
  if x.ndim == 4 and kernel is not None and kernel.shape[0] == x.shape[-1]:
    kernel = numerics.f32(kernel)
    return jnp.einsum('bhwc,ck->bhwk', x, kernel)
  if x.ndim == 4 and x.shape[-1] == outputs['logits'].shape[-1]:
    return x
  rows = 'not known' if kernel is None else f'{kernel.shape[0]} rows'
  raise ValueError(
    f"'{name}' {adapters.shown(x.shape)} gives no class activation maps: they "
    f'need a map with a channel for each row of the classifier ({rows})'
  )
