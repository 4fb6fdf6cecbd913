"""SimKD: the student matches features and reuses the teacher's classifier."""

import functools

import jax
import jax.numpy as jnp

from kd_jax import kinds
from kd_jax.losses import features as feature_losses
from kd_jax.losses import numerics, spatial
from kd_jax.methods import base, layer_names, teacher_head
from kd_jax.models import lazy


def simkd(
  *, layers: layer_names.Layers = (), factor: kinds.Count = 2
) -> base.Method:
  """Feature matching through a projector; reuses the teacher's classifier.

  L = mean (P(F_s) - F_t)^2, F the last maps before pooling, P a 1x1, a 3x3
  and a 1x1 convolution to D / factor, D / factor and D channels, each with
  batch normalization and ReLU; D the teacher's channels. The larger map is
  pooled to the size of the smaller first. The trained student predicts
  W mean_hw P(F_s) + b with the teacher's W and b: `predict`. Neither labels
  nor logits are used, so this term is the whole loss (weight 1).

  A vector [B, D] is a map of one place. P ends in a ReLU, so the teacher's
  feature must not be negative ('features' and 'final' of the CNNs and ResNets
  of `models` are not); negative values cannot be matched.

  Args:
    layers: one pair [(student, teacher)], the maps [B, H, W, C] or vectors
      [B, C] whose mean the last classifiers read.
    factor: D over the width of P's middle layer; static.

  Returns:
    A batchwise method (its norms couple the examples) whose loss is f32 [B],
    in squared units of the feature. Its state holds a copy of the teacher's
    classifier, for `predict`.

  Raises:
    ValueError: at its init, for several pairs, or a teacher without a known
      classifier that fits its feature.

  Source: Chen et al. 2022, "Knowledge Distillation with the Reused Teacher
    Classifier", equation 3, https://arxiv.org/abs/2203.14001; the projector
    and factor 2 as in its code. A larger map of the student is pooled, as in
    its code; the paper uses a stride.
  """
  layers = layer_names.need('simkd', layers)
  project = functools.partial(_project, factor)

  def init(key, student, teacher):
    ours, theirs = teacher_head.pair('simkd', layers, student, teacher)
    grid = tuple(map(min, ours.shape[1:3], theirs.shape[1:3]))
    width = theirs.shape[-1]
    projector = lazy.init(
      _connector(factor, width, grid),
      key,
      jax.ShapeDtypeStruct((1, *grid, ours.shape[-1]), jnp.float32),
    )
    head = {
      k: jnp.zeros(v.shape, jnp.float32)
      for k, v in teacher[teacher_head.HEAD].items()
    }
    state = {
      'batch_stats': projector['batch_stats'],
      'head': head,
      # The size to which `predict` pools: the shape of this array.
      'grid': jnp.zeros(grid, jnp.float32),
    }
    return {'params': projector['params'], 'state': state}

  def loss(variables, student, teacher, batch, hparams):
    del batch, hparams
    ours, theirs = teacher_head.pair('simkd', layers, student, teacher)
    state = variables['state']
    projected, new = project(variables, ours, train=True)
    value = feature_losses.feature_mse(
      projected, spatial.pool(theirs, state['grid'].shape)
    )
    head = jax.tree.map(numerics.f32, dict(teacher[teacher_head.HEAD]))
    return value, {**state, **new, 'head': head}

  def predict(variables, student):
    ours = layers[0][0]
    name, _ = layer_names.pairs([(ours, ours)], student, student)[0]
    feature = teacher_head.as_map('simkd', name, student[name])
    projected = project(variables, feature, train=False)
    return teacher_head.classify(variables['state']['head'], projected)

  return base.Method(init, loss, {}, batchwise=True, predict=predict)


def _connector(factor, width, grid):
  narrow = max(width // factor, 1)
  # On a map of one place a 3x3 kernel would read only padding around it.
  size = 1 if tuple(grid) == (1, 1) else 3
  return teacher_head.Connector(((narrow, 1), (narrow, size), (width, 1)))


def _project(factor, variables, feature, train):
  """P(feature), in training with the new statistics of its norms."""
  state = variables['state']
  grid = state['grid'].shape
  module = _connector(factor, state['head']['kernel'].shape[0], grid)
  return module.apply(
    {'params': variables['params'], 'batch_stats': state['batch_stats']},
    spatial.pool(feature, grid),
    train,
    mutable=['batch_stats'] if train else False,
  )
