"""Losses on logits: hard labels, Hinton's soft labels and their kin."""

import jax.numpy as jnp

from kd_jax.losses import numerics

Array = numerics.Array


def cross_entropy(student: Array, labels: Array, *, smoothing=0.0) -> Array:
  """Cross-entropy of the student with the labels: the hard loss.

  L = -sum_k y'_k log softmax(z)_k with y' = (1 - s) y + s / K.

  Args:
    student: logits z [B, ..., K].
    labels: class indices i32 [B, ...], or distributions f32 [B, ..., K]. An
      index that names no class (-100) gives a finite value, to be masked.
    smoothing: s in [0, 1], the share given to the uniform distribution.

  Returns:
    f32 [B, ...], in nats.

  Source: label smoothing, Szegedy et al. 2016, section 7,
    https://arxiv.org/abs/1512.00567.
  """
  log_p = numerics.log_probs(student)
  if numerics.is_soft(labels, student):
    hit = numerics.weighted(numerics.f32(labels), log_p)
  else:
    target = numerics.is_target(labels, student)
    hit = jnp.sum(jnp.where(target, log_p, 0), axis=-1)
  smoothing = numerics.per_prediction(smoothing, log_p)
  # A class ruled out by -inf must not reach the loss as 0 * -inf.
  spread = jnp.where(smoothing > 0, jnp.mean(log_p, axis=-1), 0)
  return -(1 - smoothing) * hit - smoothing * spread


def kd(student: Array, teacher: Array, *, temperature=4.0) -> Array:
  """Hinton's soft loss: T^2 times the KL from teacher to student.

  L = T^2 KL(p_t || p_s), p = softmax(z / T). Its gradient by the student's
  logits is T (p_s - p_t), which for large T tends to the difference of the
  centered logits divided by K: T^2 keeps its size when T changes.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T > 0, a scalar or one number per prediction [B, ...].

  Returns:
    f32 [B, ...], in nats times T^2; 0 at equal logits (up to a constant per
    row).

  Source: Hinton, Vinyals, Dean 2015, equations 1 to 4,
    https://arxiv.org/abs/1503.02531. T = 4 as in RepDistiller and
    mdistiller. Common code differs by a reduction over B and K (then it is
    K times smaller) or leaves out T^2.
  """
  log_s = numerics.log_probs(student, temperature)
  log_t = numerics.log_probs(teacher, temperature)
  squared = numerics.per_prediction(temperature, log_s) ** 2
  return squared * numerics.kl(log_t, log_s)
