"""SSKD: what the teacher says of rotated images, as further knowledge."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import numerics
from kd_jax.losses import rotations as losses
from kd_jax.methods import adapters, base, layer_names, pairs

TURNS = 'turns'  # i32 [4 B] of a batch: quarter turns of the image


class Projection(nn.Module):
  """Two dense layers of the feature's own width, a ReLU in between."""

  @nn.compact
  def __call__(self, x):
    width = x.shape[-1]
    return nn.Dense(width)(nn.relu(nn.Dense(width)(x)))


def sskd(
  *,
  layers: layer_names.Layers = (),
  projection_steps: kinds.Whole | None = None,
  transformed_weight: kinds.NonNegative = 2.7,
  contrast_weight: kinds.NonNegative = 10.0,
  temperature: kinds.Temperature = 4.0,
  contrast_temperature: kinds.Temperature = 0.5,
  ratio: kinds.Share = 1.0,
  contrast_ratio: kinds.Share = 0.75,
) -> base.Method:
  """Self-supervision as knowledge: rotated images, told apart and classified.

  The batch is of `augment=(.., 'rotations')`: each image and its three turns.
  The term has two stages, by its count of updates n:
    n < projection_steps   the teacher's projection learns to tell whose
                           rotation an image is (`losses.rotations.contrast`)
    afterwards             a L_tf + b L_ss: soft labels of rotated images, and
                           the similarities of rotated to upright ones in the
                           two projections (`transformed`, `contrasted`); the
                           teacher's projection stays as it was
  The student's projection is learned with it. Rotated images have no label of
  their own: other terms, such as the cross-entropy and the soft loss that
  belong to the method, and the accuracy count the upright ones alone.

  Args:
    layers: one pair [(student, teacher)], the features before the classifiers,
      flattened.
    projection_steps: updates of the first stage, required (the source has 30
      epochs).
    transformed_weight: a.
    contrast_weight: b.
    temperature: T of L_tf.
    contrast_temperature: T of L_ss.
    ratio: share of the teacher's mistakes on rotated images that is kept.
    contrast_ratio: likewise of its mistakes about whose rotation it is.

  Returns:
    A batchwise method whose loss is f32 [4 B], in nats times T^2; 0 where both
    sides and their projections agree, in the second stage. Weight 1 beside 0.1
    of the cross-entropy and 0.9 of the soft loss at T = 4.

  Raises:
    ValueError: no projection_steps, or several pairs of layers.

  Source: Xu et al. 2020, "Knowledge Distillation Meets Self-Supervision",
    https://arxiv.org/abs/2006.07114; defaults as in its code, which trains the
    projection before, by an optimizer of its own.
  """
  layers = layer_names.need('sskd', layers)
  if projection_steps is None:
    raise ValueError(
      "method 'sskd' needs projection_steps, the updates that train the "
      "teacher's projection first"
    )
  hparams = {
    'transformed_weight': float(transformed_weight),
    'contrast_weight': float(contrast_weight),
    'temperature': float(temperature),
    'contrast_temperature': float(contrast_temperature),
    'ratio': float(ratio),
    'contrast_ratio': float(contrast_ratio),
  }

  def features(student, teacher):
    ours, theirs = layer_names.single('sskd', layers, student, teacher)
    return student[ours], teacher[theirs]

  def init(key, student, teacher):
    pairs.check_logits('sskd', student, teacher)
    params = {
      side: _projection(x).init(key)['params']
      for key, side, x in zip(
        jax.random.split(key),
        ('student', 'teacher'),
        features(student, teacher),
      )
    }
    # A copy: one buffer cannot be donated in two places.
    frozen = jax.tree.map(jnp.copy, params['teacher'])
    return {
      'params': params,
      'state': {'count': jnp.int32(0), 'frozen': frozen},
    }

  def loss(variables, student, teacher, batch, hparams):
    params, state = variables['params'], variables['state']
    first = state['count'] < projection_steps
    frozen = jax.tree.map(
      lambda new, old: jnp.where(first, jax.lax.stop_gradient(new), old),
      params['teacher'],
      state['frozen'],
    )
    ours, theirs = features(student, teacher)
    valid = _by_image(batch['mask'])[:, 0] > 0
    learned = losses.contrast(_project(params['teacher'], theirs), valid)
    rotated = losses.transformed(
      _by_image(student['logits']),
      _by_image(teacher['logits']),
      _by_image(batch['labels'])[:, 0],
      valid,
      temperature=hparams['temperature'],
      ratio=hparams['ratio'],
    )
    own = losses.contrasted(
      _project(params['student'], ours),
      _project(frozen, theirs),
      valid,
      temperature=hparams['contrast_temperature'],
      ratio=hparams['contrast_ratio'],
    )
    value = hparams['transformed_weight'] * rotated
    value = jnp.where(first, learned, value + hparams['contrast_weight'] * own)
    new = {'count': state['count'] + 1, 'frozen': frozen}
    return _of_upright(value), new

  return base.Method(init, loss, hparams, batchwise=True, needs=(TURNS,))


def _projection(x) -> adapters.Adapter:
  return adapters.from_module(Projection(), (1, adapters.size(x.shape)))


def _project(params, x):
  """The projected feature, by image: [B, 4, D]."""
  x = numerics.f32(x.reshape(x.shape[0], -1))
  return _by_image(Projection().apply({'params': params}, x))


def _by_image(x):
  """[4 B, ...] -> [B, 4, ...]."""
  return x.reshape(-1, 4, *x.shape[1:])


def _of_upright(value):
  """The values [B] of the upright images among zeros: [4 B]."""
  return jnp.pad(value[:, None], ((0, 0), (0, 3))).ravel()
