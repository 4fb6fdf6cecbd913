"""Class attention transfer: class activation maps of both networks."""

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
  """Class attention transfer: the student looks where the teacher looks.

  mean (n(pool(A_s)) - n(pool(A_t)))^2 (`losses.features.cat`), where
  A[h, w, k] = sum_c F[h, w, c] W[c, k] is the activation map of class k: F the
  last map before pooling, W the kernel of the classifier, of either network.
  Its mean over space is the logit less the bias. A feature that has a channel
  for each class and no classifier with rows for its channels is taken for the
  maps themselves. No adapter can stand for a classifier that is not known: its
  maps would not be those of the classes.

  Args:
    layers: [(student, teacher)], the last maps; ('final', 'final') is the
      zoo's name for them.
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

  def plan(student, teacher):
    return [
      features.Pair(s, t, adapters.from_function(lambda x: x))
      for s, t in layer_names.pairs(layers, student, teacher)
    ]

  def init(key, student, teacher):
    del key
    variables = base.NOTHING
    features.check(
      'cat_kd', plan(student, teacher), loss, variables, student, teacher, {}
    )
    return variables

  def loss(variables, student, teacher, batch, hparams):
    del batch, hparams
    total = sum(
      losses.cat(
        class_maps(student, pair.student),
        class_maps(teacher, pair.teacher),
        resolution=resolution,
        normalize=normalize,
      )
      for pair in plan(student, teacher)
    )
    return total, variables['state']

  return base.Method(init, loss, {})


def class_maps(outputs: Mapping, name: str) -> jax.Array:
  """The class activation maps f32 [B, H, W, K] of the layer `name`.

  Raises:
    ValueError: where the layer is no map, or neither are its channels the
      classifier's rows nor the classes.
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
