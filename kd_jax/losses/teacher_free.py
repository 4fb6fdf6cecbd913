"""Self-distillation without a teacher: soft labels that the student makes."""

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics

_SMOOTHING = 0.1  # of the labels of the weak classifier


def uskd(
  student: jax.Array,
  weak: jax.Array,
  labels: jax.Array,
  *,
  alpha: float = 1.0,
  beta: float = 0.1,
  mu: float = 0.005,
  variant: str = 'code',
) -> jax.Array:
  """Universal self-distillation: customized soft labels, and no teacher.

  L = alpha L_t + beta L_non + mu L_weak, s = softmax(z), w = softmax(z_weak):
    L_t     -sum_y P log s_y with P = s_y^2 + y - mean_b s_y^2, detached: an
            example that is easier than the batch has a larger target
    L_non   -sum_{i != y} Q_i log s'_i, s' the softmax over the other classes,
            Q_i ~ 1 / rank_i (Zipf) renormalized over them, detached
    L_weak  the cross-entropy of w with labels smoothed by 0.1
  Classes are ranked, from 1, all K of them, by w_i / (1 - w_y) + l_i:
    'code' (default)  l_i = log s_i / (1 - log s_y): its code reuses a variable
    'paper'           l_i = s_i / (1 - s_y)
  1e-6 is added to the denominators. Soft labels, as of mixup, have the two
  largest as targets y, each with its own value; the sums run over both.

  Args:
    student: logits z [B, ..., K], K >= 3.
    weak: logits of a linear classifier on a feature of the student's middle
      [B, ..., K].
    labels: indices i32 [B, ...], or soft f32 [B, ..., K].
    alpha: weight of L_t.
    beta: weight of L_non.
    mu: weight of L_weak.
    variant: 'code' or 'paper'.

  Returns:
    f32 [B, ...], in nats. Couples the examples by the mean over the batch.

  Raises:
    ValueError: another variant.

  Source: Yang et al. 2023, L_USKD, https://arxiv.org/abs/2303.13005. The
    defaults are its code's for ImageNet; 0.1, 0.1, 0.1 on CIFAR-100.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  labels = jnp.asarray(labels)
  soft = numerics.is_soft(labels)
  log_s, log_w = numerics.log_probs(student), numerics.log_probs(weak)
  if soft:
    share, targets = jax.lax.top_k(numerics.f32(labels), 2)
  else:
    share, targets = jnp.ones_like(log_s[..., :1]), labels[..., None]
  hot = jax.nn.one_hot(targets, log_s.shape[-1], dtype=log_s.dtype)
  of_target = _of_target(log_s, hot, share)
  is_target = jnp.sum(hot, axis=-2) > 0
  target = numerics.f32(labels) if soft else jnp.sum(hot, axis=-2)
  smoothed = (1 - _SMOOTHING) * target + _SMOOTHING / log_s.shape[-1]
  of_weak = -numerics.weighted(smoothed, log_w)
  by = log_s if variant == 'code' else jnp.exp(log_s)
  score = _over_rest(jnp.exp(log_w), hot) + _over_rest(by, hot)
  zipf = jnp.where(is_target, 0, 1 / _ranks(score))
  zipf = zipf / jnp.sum(zipf, axis=-1, keepdims=True)
  log_others = jax.nn.log_softmax(
    numerics.without(numerics.f32(student), is_target), axis=-1
  )
  of_others = -numerics.weighted(jax.lax.stop_gradient(zipf), log_others)
  return alpha * of_target + beta * of_others + mu * of_weak


def _of_target(log_s, hot, share):
  """-sum over the targets of P log s_y: [B, ...]."""
  log_hit = _at(log_s, hot)
  square = jnp.exp(2 * log_hit)
  batch = tuple(range(square.ndim - 1))
  wanted = square + share - jnp.mean(square, axis=batch, keepdims=True)
  wanted = jax.lax.stop_gradient(jnp.where(share == 0, 0, wanted))
  return -jnp.sum(wanted * log_hit, axis=-1)


def _at(x, hot):
  """`x` [B, ..., K] at each target: [B, ..., Y]."""
  return jnp.sum(jnp.where(hot > 0, x[..., None, :], 0), axis=-1)


def _over_rest(x, hot):
  """x / (1 - its sum over the targets + 1e-6)."""
  hit = jnp.sum(_at(x, hot), axis=-1, keepdims=True)
  return x / (1 - hit + 1e-6)


def _ranks(score) -> jax.Array:
  """f32 [B, ..., K]: 1 for the largest; equal scores in their order."""
  order = jnp.argsort(-jax.lax.stop_gradient(score), axis=-1, stable=True)
  places = jnp.argsort(order, axis=-1)
  return (1 + places).astype(score.dtype)
