"""USKD: a student that makes its own soft labels."""

import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import numerics
from kd_jax.losses import teacher_free as losses
from kd_jax.methods import adapters, base, layer_names


def uskd(
  *,
  layer: str = '',
  alpha: kinds.NonNegative = 1.0,
  beta: kinds.NonNegative = 0.1,
  mu: kinds.NonNegative = 0.005,
  variant: str = 'code',
) -> base.Method:
  """Universal self-distillation: soft labels from the student and the labels.

  L = alpha L_t + beta L_non + mu L_weak: the student's own confidence makes
  the target's label, Zipf's law over ranked classes the others', and a linear
  classifier on a feature of its middle, learned by L_weak, takes part in the
  ranks (see `losses.teacher_free.uskd`). It reads the labels and no teacher,
  and stands beside the cross-entropy.

  Args:
    layer: the student's output that the weak classifier reads, the mean over
      its places (the source: the last but one stage).
    alpha: weight of L_t.
    beta: weight of L_non.
    mu: weight of L_weak.
    variant: 'code' or 'paper', of the ranks.

  Returns:
    A batchwise method whose loss is f32 [B], in nats. Weight 1.

  Raises:
    ValueError: no layer; at its init, for an unknown one.

  Source: Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge
    Distillation", https://arxiv.org/abs/2303.13005; defaults as in its code.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  if not layer:
    raise ValueError("method 'uskd' needs layer='a layer of the student'")
  hparams = {'alpha': float(alpha), 'beta': float(beta), 'mu': float(mu)}

  def parts(student):
    ((name, _),) = layer_names.pairs([(layer, layer)], student, student)
    shape, classes = student[name].shape, student['logits'].shape[-1]
    weak = adapters.from_module(nn.Dense(classes), (shape[0], shape[-1]))
    return name, weak

  def init(key, student, teacher):
    del teacher
    _, weak = parts(student)
    return {'params': weak.init(key)['params'], 'state': {}}

  def loss(variables, student, teacher, batch, hparams):
    del teacher
    name, weak = parts(student)
    x = numerics.f32(student[name])
    pooled = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
    logits, _ = weak.apply({'params': variables['params']}, pooled)
    value = losses.uskd(
      student['logits'], logits, batch['labels'], variant=variant, **hparams
    )
    return value, variables['state']

  return base.Method(init, loss, hparams, batchwise=True)
