"""SRRL: applies the teacher's classifier to the student's features."""

import jax
import jax.numpy as jnp

from kd_jax import kinds
from kd_jax.losses import features as feature_losses
from kd_jax.losses import logits as logit_losses
from kd_jax.methods import base, layer_names, pairs, teacher_head
from kd_jax.models import lazy


def srrl(
  *,
  layers: layer_names.Layers = (),
  feature_weight: kinds.NonNegative = 1.0,
  logit_weight: kinds.NonNegative = 1.0,
) -> base.Method:
  """Softmax regression representation learning: match features and logits.

  L = a mean_d (h_s - h_t)_d^2 + b mean_k (W h_s + b_t - z_t)_k^2, with h_t the
  teacher's feature, h_s = mean_hw relu(norm(C F_s)) the student's through a
  learned 1x1 convolution, W and b_t the teacher's classifier and z_t its
  logits. a is `feature_weight`, b `logit_weight`. No temperature. The student
  keeps its own classifier, which the labels train in another term.

  Args:
    layers: one pair [(student, teacher)], maps [B, H, W, C] or vectors [B, C].
      The teacher's classifier reads the mean over places of its feature, which
      must not be negative.
    feature_weight: a.
    logit_weight: b.

  Returns:
    A batchwise method (its norm couples the examples) whose loss is f32 [B],
    in squared units of the feature and of the logits. Weight 1.

  Raises:
    ValueError: at its init, for several pairs, or a teacher without a known
      classifier that fits its feature.

  Source: Yang et al. 2021, "Knowledge Distillation via Softmax Regression
    Representation Learning", L_FM and L_SR with the L2 loss,
    https://openreview.net/forum?id=ZzwDy_wiWv; means over d and k, and means
    over places before the difference, as in its code, which reads maps.
    SimKD's program for CIFAR-100 gives the connector pooled vectors.
  """
  layers = layer_names.need('srrl', layers)
  defaults = {
    'feature_weight': float(feature_weight),
    'logit_weight': float(logit_weight),
  }

  def connector(theirs):
    return teacher_head.Connector(((theirs.shape[-1], 1),))

  def init(key, student, teacher):
    pairs.check_logits('srrl', student, teacher)
    ours, theirs = teacher_head.pair('srrl', layers, student, teacher)
    shape = jax.ShapeDtypeStruct((1, *ours.shape[1:]), jnp.float32)
    variables = lazy.init(connector(theirs), key, shape)
    return {
      'params': variables['params'],
      'state': {'batch_stats': variables['batch_stats']},
    }

  def loss(variables, student, teacher, batch, hparams):
    del batch
    ours, theirs = teacher_head.pair('srrl', layers, student, teacher)
    variables = {'params': variables['params'], **variables['state']}
    mapped, state = connector(theirs).apply(
      variables, ours, mutable=['batch_stats']
    )
    features = feature_losses.feature_mse(
      jnp.mean(mapped, (1, 2)), jnp.mean(theirs, (1, 2))
    )
    predicted = teacher_head.classify(teacher[teacher_head.HEAD], mapped)
    logits = logit_losses.logit_mse(predicted, teacher['logits'])
    value = (
      hparams['feature_weight'] * features + hparams['logit_weight'] * logits
    )
    return value, dict(state)

  return base.Method(init, loss, defaults, batchwise=True)
