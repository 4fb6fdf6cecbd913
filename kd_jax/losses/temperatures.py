"""Soft losses at a temperature of the example's own."""

import jax
import jax.numpy as jnp

from kd_jax.losses import decoupled, logits, numerics

Array = numerics.Array


def normkd(student: Array, teacher: Array, *, t_norm: float = 2.0) -> Array:
  """Hinton's soft loss, each side at T in proportion to its logits' spread.

  L = T_t^2 KL(softmax(z_t / T_t) || softmax(z_s / T_s)), T = t_norm std_k z
  with the unbiased standard deviation (divided by K - 1). The gradient flows
  through T_s. Unlike `logits.lskd` it is scaled by T_t^2 and adds no epsilon;
  logits that are all equal, where the source has NaN, are softened by 1 and
  count 0 in T_t^2.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    t_norm: T_norm.

  Returns:
    f32 [B, ...], in nats times T_t^2; 0 where the two rows differ by a positive
    scale and a shift only.

  Source: Chi et al. 2023, "NormKD: Normalized Logits for Knowledge
    Distillation",
    https://arxiv.org/abs/2308.00520; T_norm 2
    and weight 0.9 for CIFAR-100 in its code.
  """
  (z_s, _), (z_t, squared) = (_spread(z, t_norm) for z in (student, teacher))
  return squared * logits.kd(z_s, z_t, temperature=1.0)


def normkd_dkd(
  student: Array,
  teacher: Array,
  labels: Array,
  *,
  alpha: float = 1.0,
  beta: float = 8.0,
  t_norm: float = 2.0,
) -> Array:
  """Decoupled KD, each side at T in proportion to its logits' spread.

  L = T_t^2 (alpha TCKD + beta NCKD): `decoupled.dkd` at the temperatures of
  `normkd`.

  Args:
    student: logits z_s [B, ..., K], K >= 2.
    teacher: logits z_t [B, ..., K].
    labels: y, indices i32 [B, ...], or soft [B, ..., K] (the largest class).
    alpha: weight of TCKD.
    beta: weight of NCKD.
    t_norm: T_norm.

  Returns:
    f32 [B, ...], in nats times T_t^2; 0 where the two rows differ by a positive
    scale and a shift only.

  Source: Chi et al. 2023, as `normkd`; its warm-up is a schedule.
  """
  (z_s, _), (z_t, squared) = (_spread(z, t_norm) for z in (student, teacher))
  options = {'alpha': alpha, 'beta': beta, 'temperature': 1.0}
  return squared * decoupled.dkd(z_s, z_t, labels, **options)


def kd_each(
  student: Array, teacher: Array, temperature: Array, *, variant: str = 'paper'
) -> Array:
  """Hinton's soft loss at a temperature for each prediction.

    'paper' (default)  T^2 KL(p_t || p_s), p = softmax(z / T): `logits.kd`
    'code'             1e-7 is added to p_t first, which then sums to more
                       than 1: a little above the KL, not 0 at equality

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T [B, ...].
    variant: 'paper' or 'code'.

  Returns:
    f32 [B, ...], in nats times T^2.

  Raises:
    ValueError: another variant.

  Source: Li et al. 2023, "Curriculum Temperature for Knowledge Distillation",
    https://arxiv.org/abs/2211.16231; 'code' is in the README of its
    repository, "Instance-wise Temperature".
  """
  numerics.need_variant(variant, ('paper', 'code'))
  if variant == 'paper':
    return logits.kd(student, teacher, temperature=temperature)
  log_s = numerics.log_probs(student, temperature)
  p_t = jnp.exp(numerics.log_probs(teacher, temperature)) + 1e-7
  squared = numerics.per_prediction(temperature, log_s) ** 2
  return squared * jnp.sum(p_t * (jnp.log(p_t) - log_s), axis=-1)


def _spread(z, t_norm) -> tuple[Array, Array]:
  """(z / T, T^2) with T = t_norm std_k z; (z, 0) for logits all equal."""
  z = numerics.f32(z)
  variance = jnp.var(z, axis=-1, ddof=min(1, z.shape[-1] - 1))
  # Below this the spread is the rounding of the mean.
  noise = 1e-6 * jax.lax.stop_gradient(jnp.max(jnp.abs(z), axis=-1))
  live = variance > noise**2
  deviation = jnp.where(live, jnp.sqrt(jnp.where(live, variance, 1)), 1)
  temperature = numerics.per_prediction(t_norm, z) * deviation
  return z / temperature[..., None], jnp.where(live, temperature**2, 0)
