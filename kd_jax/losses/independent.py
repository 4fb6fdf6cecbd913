"""Losses of logits that are no distribution: a number, or yes or no to each."""

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics

Array = numerics.Array


def squared_error(student: Array, labels: Array) -> Array:
  """The squared error of a number: the hard loss of regression.

  L = (z - y)^2.

  Args:
    student: the predictions z [B, ..., 1]; of more, the first one counts.
    labels: y [B, ...].

  Returns:
    f32 [B, ...], in squared units of the labels.

  Source: as for how alike two sentences are (STS-B) in GLUE, Wang et al. 2018,
    https://arxiv.org/abs/1804.07461.
  """
  return jnp.square(numerics.f32(student)[..., 0] - numerics.f32(labels))


def binary_cross_entropy(student: Array, labels: Array) -> Array:
  """Cross-entropy of each class, yes or no: the hard loss of several labels.

  L = -sum_k y_k log s(z_k) + (1 - y_k) log(1 - s(z_k)), s the sigmoid.

  Args:
    student: logits z [B, ..., K] of independent classes.
    labels: y f32 [B, ..., K] in [0, 1]; or indices i32 [B, ...], the one class
      that is there (one against the rest).

  Returns:
    f32 [B, ...], in nats, summed over the classes. PyTorch's
    BCEWithLogitsLoss divides by K.

  Source: one against the rest, Wightman, Touvron, Jegou 2021,
    https://arxiv.org/abs/2110.00476 (on ImageNet, with its mean over K).
  """
  z = numerics.f32(student)
  soft = numerics.is_soft(labels)
  y = numerics.f32(labels if soft else numerics.is_target(labels, z))
  # log s(z) = -softplus(-z), finite for any z.
  yes, no = -jax.nn.softplus(-z), -jax.nn.softplus(z)
  return -jnp.sum(jnp.where(y > 0, y * yes, 0) + (1 - y) * no, axis=-1)


def binary_kd(
  student: Array, teacher: Array, *, temperature: float = 1.0
) -> Array:
  """Hinton's soft loss of each class, yes or no.

  L = T^2 sum_k KL(Bernoulli(s(z_t / T)_k) || Bernoulli(s(z_s / T)_k)).

  Args:
    student: logits z_s [B, ..., K] of independent classes.
    teacher: logits z_t [B, ..., K].
    temperature: T > 0, a scalar or one number per prediction [B, ...].

  Returns:
    f32 [B, ...], in nats times T^2, summed over the classes; 0 at equal
    logits.

  Source: P. Yang et al., Multi-label knowledge distillation, 2023,
    https://arxiv.org/abs/2308.06453 (the one-versus-all loss on logits, at
    T = 1; its losses on embeddings of labels are not here).
  """
  log_s, log_t = (
    _log_bernoulli(numerics.soften(z, temperature)) for z in (student, teacher)
  )
  value = numerics.kl(log_t, log_s).sum(-1)
  return numerics.per_prediction(temperature, value) ** 2 * value


def _log_bernoulli(z: Array) -> Array:
  """log(1 - p) and log p of each class, f32 [B, ..., K, 2]."""
  return jnp.stack([-jax.nn.softplus(z), -jax.nn.softplus(-z)], axis=-1)
