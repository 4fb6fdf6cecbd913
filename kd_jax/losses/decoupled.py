"""Losses that tell classes apart: the target from the others, top from tail."""

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics, sparse

Array = numerics.Array


def _split(logits: Array, target: Array, temperature):
  """log p_y [B, ...], log(1 - p_y) and log softmax over the others [.., K].

  Both logs of the pair come from sums of exponentials, so neither is ever
  log(0); the target's probability in the third is 0.
  """
  logits = numerics.soften(logits, temperature)
  log_p = jax.nn.log_softmax(logits, axis=-1)
  log_hit = jnp.sum(jnp.where(target, log_p, 0), axis=-1)
  log_miss = jax.nn.logsumexp(numerics.without(log_p, target), axis=-1)
  others = numerics.without(logits, target)
  return log_hit, log_miss, jax.nn.log_softmax(others, axis=-1)


def dkd(
  student: Array,
  teacher: Array,
  labels: Array,
  *,
  alpha: float = 1.0,
  beta: float = 8.0,
  temperature: float = 4.0,
) -> Array:
  """Decoupled KD: the target class and the others, weighted apart.

  L = T^2 (alpha TCKD + beta NCKD), with b = (p_y, 1 - p_y) and q = softmax of
  the logits z / T other than the target's: TCKD = KL(b_t || b_s), NCKD =
  KL(q_t || q_s). `kd` is T^2 (TCKD + (1 - p_t,y) NCKD).

  Args:
    student: logits z_s [B, ..., K], K >= 2.
    teacher: logits z_t [B, ..., K].
    labels: y, indices i32 [B, ...], or soft [B, ..., K] (the largest class).
    alpha: weight of TCKD.
    beta: weight of NCKD.
    temperature: T.

  Returns:
    f32 [B, ...], in nats times T^2; 0 at equal logits.

  Source: Zhao et al. 2022, equations 5 to 7,
    https://arxiv.org/abs/2203.08679. Defaults as in its code, which takes
    log(softmax) (infinite for a sure network) and subtracts 1000 at the
    target; ours is the exact limit of both. Its warm-up is a schedule.
  """
  target = numerics.is_target(labels, student)
  hit_s, miss_s, others_s = _split(student, target, temperature)
  hit_t, miss_t, others_t = _split(teacher, target, temperature)
  pair_s = jnp.stack([hit_s, miss_s], axis=-1)
  pair_t = jnp.stack([hit_t, miss_t], axis=-1)
  value = alpha * numerics.kl(pair_t, pair_s)
  value = value + beta * numerics.kl(others_t, others_s)
  return numerics.per_prediction(temperature, value) ** 2 * value


def nkd(
  student: Array,
  teacher: Array,
  labels: Array,
  *,
  temperature: float = 1.0,
  gamma: float = 1.5,
) -> Array:
  """Normalized KD: cross-entropies with the target and with the others.

  L = -p_t,y log p_s,y - gamma T^2 sum_{i != y} q_t,i log q_s,i: p at
  temperature 1 (by design), q = softmax of the other logits z / T.

  Args:
    student: logits z_s [B, ..., K], K >= 2.
    teacher: logits z_t [B, ..., K].
    labels: y, indices i32 [B, ...], or soft [B, ..., K] (the largest class).
    temperature: T of the second term only.
    gamma: weight of the second term.

  Returns:
    f32 [B, ...], in nats. The second term is least where q_s = q_t, at gamma
    T^2 times the entropy of q_t; the first falls until p_s,y = 1.

  Source: Yang et al. 2023, L_NKD, https://arxiv.org/abs/2303.13005.
    Defaults as in its code; the CE with the labels is a separate term.
  """
  target = numerics.is_target(labels, student)
  hit_s, _, _ = _split(student, target, 1.0)
  hit_t, _, _ = _split(teacher, target, 1.0)
  _, _, others_s = _split(student, target, temperature)
  _, _, others_t = _split(teacher, target, temperature)
  rest = -numerics.weighted(jnp.exp(others_t), others_s)
  squared = numerics.per_prediction(temperature, rest) ** 2
  return -jnp.exp(hit_t) * hit_s + gamma * squared * rest


def rld(
  student: Array,
  teacher: Array,
  labels: Array,
  *,
  alpha: float = 1.0,
  beta: float = 8.0,
  temperature: float = 4.0,
  alpha_temperature: float = 1.0,
) -> Array:
  """Refined logit distillation: a wrong teacher is not followed to its class.

  L = alpha T'^2 SCD + beta T^2 MCD. SCD (sample confidence) is KL(b_t || b_s)
  with b_t = (max_k p_t,k, rest) and b_s = (p_s,y, rest) at T': the student is
  as sure of the label as the teacher is of its choice. MCD (masked correlation)
  is KL(q_t || q_s), q the softmax of z / T over the classes with z_t,k < z_t,y
  alone: not the label, nor what the teacher holds for more likely.

  Args:
    student: logits z_s [B, ..., K], K >= 2.
    teacher: logits z_t [B, ..., K].
    labels: y, indices i32 [B, ...], or soft [B, ..., K] (the largest class).
    alpha: weight of SCD.
    beta: weight of MCD.
    temperature: T of MCD.
    alpha_temperature: T' of SCD.

  Returns:
    f32 [B, ...], in nats times T^2; 0 at equal logits where the teacher is
    right. MCD is 0 for a label at the teacher's minimum, which leaves no class.

  Source: Sun et al. 2025, "Knowledge Distillation with Refined Logits",
    https://arxiv.org/abs/2408.07703. As in its code a class
    that ties with the label is left out. Its warm-up is a schedule.
  """
  target = numerics.is_target(labels, student)
  log_t = numerics.log_probs(teacher, alpha_temperature)
  top = jnp.argmax(log_t, axis=-1)
  hit_s, miss_s, _ = _split(student, target, alpha_temperature)
  hit_t, miss_t, _ = _split(
    teacher, numerics.is_target(top, teacher), alpha_temperature
  )
  confidence = numerics.kl(
    jnp.stack([hit_t, miss_t], -1), jnp.stack([hit_s, miss_s], -1)
  )
  wide = numerics.f32(teacher)
  bar = jnp.sum(jnp.where(target, wide, 0), axis=-1, keepdims=True)
  dropped = wide >= bar
  q_s, q_t = (
    jax.nn.log_softmax(
      numerics.without(numerics.soften(z, temperature), dropped), axis=-1
    )
    for z in (student, teacher)
  )
  squared, squared_alpha = (
    numerics.per_prediction(t, confidence) ** 2
    for t in (temperature, alpha_temperature)
  )
  correlation = jnp.where(dropped.all(-1), 0, numerics.kl(q_t, q_s))
  return alpha * squared_alpha * confidence + beta * squared * correlation


def ofa(
  student: Array,
  teacher: Array,
  labels: Array,
  *,
  eps: float = 1.0,
  temperature: float = 1.0,
  variant: str = 'code',
) -> Array:
  """One-for-all: the teacher's target probability enhanced by a power.

  L = -sum_k w_k log p_s,k with w_y = (1 + p_t,y)^eps - 1 and, elsewhere,
  w_k = p_t,k^eps ('code') or p_t,k ('paper'); p = softmax(z / T), no T^2. At
  eps = 1 both are the cross-entropy of student with teacher.

  Args:
    student: logits z_s [B, ..., K], of the last layer or of an exit head.
    teacher: logits z_t [B, ..., K].
    labels: y, indices i32 [B, ...], or soft [B, ..., K] (the largest class).
    eps: the exponent, the paper's gamma.
    temperature: T.
    variant: 'code' or 'paper'.

  Returns:
    f32 [B, ...], in nats; least where p_s is w divided by its sum.

  Raises:
    ValueError: another variant.

  Source: Hao et al. 2023, L_OFA, https://arxiv.org/abs/2310.19444. The
    paper's formula holds the CE with the label too, which its code and ours
    leave to a separate term: hence the -1. eps 1 to 1.5 by pair.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  log_s = numerics.log_probs(student, temperature)
  log_t = numerics.log_probs(teacher, temperature)
  target = numerics.is_target(labels, student)
  enhanced = jnp.expm1(eps * jnp.log1p(jnp.exp(log_t)))
  others = jnp.exp(eps * log_t if variant == 'code' else log_t)
  return -numerics.weighted(jnp.where(target, enhanced, others), log_s)


def topk_kd(
  student: Array,
  teacher: Array,
  *,
  k: int = 10,
  temperature: float = 4.0,
  variant: str = 'tail',
) -> Array:
  """KL on the teacher's k largest classes, with one bin for all others.

  L = T^2 KL(b_t || b_s), b = (p at the teacher's top k, 1 - their sum), p =
  softmax(z / T). It is T^2 (KL of the two tail masses + (1 - tail_t) KL of
  the renormalized tops), and by the data-processing inequality at most `kd`.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    k: classes kept, static; from K on the loss is `kd`.
    temperature: T.
    variant: 'tail', or 'renormalize': both sides divided by their mass in the
      top k. That target is biased: a student pays nothing for mass that it
      wastes on other classes.

  Returns:
    f32 [B, ...], in nats times T^2; 0 at equal logits.

  Raises:
    ValueError: k < 1, or another variant.

  Source: no paper. The tail bin is as in trl's `add_tail`; maxtext
    renormalizes both sides.
  """
  numerics.need_variant(variant, ('tail', 'renormalize'))
  if k < 1:
    raise ValueError(f'topk_kd needs k >= 1, not {k}')
  log_s = numerics.log_probs(student, temperature)
  log_t = numerics.log_probs(teacher, temperature)
  if k < log_t.shape[-1]:
    _, top = jax.lax.top_k(log_t, k)
    log_s = sparse.bins(log_s, top, variant)
    log_t = sparse.bins(log_t, top, variant)
  squared = numerics.per_prediction(temperature, log_s) ** 2
  return squared * numerics.kl(log_t, log_s)
