"""Losses on logits: hard labels, Hinton's soft labels and their kin."""

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics

Array = numerics.Array


def cross_entropy(
  student: Array, labels: Array, *, smoothing: float = 0.0
) -> Array:
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
  if numerics.is_soft(labels):
    hit = numerics.weighted(numerics.f32(labels), log_p)
  else:
    target = numerics.is_target(labels, student)
    hit = jnp.sum(jnp.where(target, log_p, 0), axis=-1)
  smoothing = numerics.per_prediction(smoothing, log_p)
  # A class ruled out by -inf must not reach the loss as 0 * -inf.
  spread = jnp.where(smoothing > 0, jnp.mean(log_p, axis=-1), 0)
  return -(1 - smoothing) * hit - smoothing * spread


def kd(student: Array, teacher: Array, *, temperature: float = 4.0) -> Array:
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


def standardize(logits: Array) -> Array:
  """Logits as z-scores over the classes: their scale and shift removed.

  Z(z) = (z - mean_k z) / (std_k z + 1e-7), the standard deviation unbiased
  (divided by K - 1). Any logit method standardizes by passing its two sides
  through this.

  Args:
    logits: z [B, ..., K].

  Returns:
    f32 [B, ..., K]; zeros where all logits of a row are equal.

  Source: Sun et al. 2024, "Logit Standardization in Knowledge Distillation",
    algorithm 1, https://arxiv.org/abs/2403.01427; K - 1 and 1e-7 are its
    code's.
  """
  logits = numerics.f32(logits)
  centered = logits - jnp.mean(logits, axis=-1, keepdims=True)
  freedom = max(logits.shape[-1] - 1, 1)
  variance = jnp.sum(centered**2, axis=-1, keepdims=True) / freedom
  return centered / (numerics.root(variance) + 1e-7)


def lskd(student: Array, teacher: Array, *, temperature: float = 2.0) -> Array:
  """Hinton's soft loss on standardized logits.

  L = T^2 KL(softmax(Z(z_t) / T) || softmax(Z(z_s) / T)), Z = `standardize`.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T, the base temperature.

  Returns:
    f32 [B, ...], in nats times T^2; 0 where the two rows differ by a positive
    scale and a shift only.

  Source: Sun et al. 2024, algorithm 2, https://arxiv.org/abs/2403.01427.
    T = 2 with weight 9 for most pairs; 3 and 9, or 4 and 12, for some.
  """
  return kd(standardize(student), standardize(teacher), temperature=temperature)


def logit_mse(student: Array, teacher: Array) -> Array:
  """Squared difference of the logits, mean over the classes.

  L = 1/K sum_k (z_s - z_t)^2_k. No temperature; unlike `kd` it sees the
  constant that softmax removes.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].

  Returns:
    f32 [B, ...], in squared logits.

  Source: Ba and Caruana 2014, equation 2, https://arxiv.org/abs/1312.6184,
    which has the sum over k times 1/2 (ours times K/2); the mean over k is
    that of Kim et al. 2021, https://arxiv.org/abs/2105.08919, up to 1/K.
  """
  gap = numerics.f32(student) - numerics.f32(teacher)
  return jnp.mean(gap**2, axis=-1)


def ttm(
  student: Array,
  teacher: Array,
  *,
  temperature: float = 4.0,
  variant: str = 'ttm',
) -> Array:
  """KL from a tempered teacher to an untempered student.

  L = w KL(p_t^T || p_s), p_t^T = softmax(z_t / T), p_s = softmax(z_s); no
  T^2. w = 1 for 'ttm'; for 'wttm' w = sum_k (p_t)_k^(1/T), p_t = softmax(z_t),
  which is larger for teachers that spread their mass.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T; 1/T is the paper's power gamma.
    variant: 'ttm' or 'wttm'.

  Returns:
    f32 [B, ...], in nats; 0 where z_s = z_t / T up to a constant, so not at
    equal logits unless T = 1.

  Raises:
    ValueError: another variant.

  Source: Zheng and Yang 2024, "Knowledge Distillation Based on Transformed
    Teacher Matching", https://arxiv.org/abs/2402.11148. The paper tunes T and
    the weight for each pair; T = 4 is ours, as for `kd`. The authors' example
    on CIFAR-100 (VGG-13 to VGG-8) has T = 10 (gamma = 0.1) and weight 45.
  """
  numerics.need_variant(variant, ('ttm', 'wttm'))
  log_s = numerics.log_probs(student)
  log_t = numerics.log_probs(teacher, temperature)
  value = numerics.kl(log_t, log_s)
  if variant == 'ttm':
    return value
  power = numerics.soften(numerics.log_probs(teacher), temperature)
  return jnp.exp(jax.nn.logsumexp(power, axis=-1)) * value


def wsld(
  student: Array,
  teacher: Array,
  labels: Array,
  *,
  temperature: float = 2.0,
  variant: str = 'cross_entropy',
) -> Array:
  """Soft loss that counts less where the student already beats the teacher.

  L = T^2 w H(p_t^T, p_s^T) with w = 1 - exp(-CE(z_s, y) / CE(z_t, y)), both
  CE at T = 1, and H the cross-entropy -sum p_t log p_s. The method detaches
  w: no gradient flows through it.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    labels: y, indices i32 [B, ...] or soft f32 [B, ..., K].
    temperature: T of the soft loss.
    variant: 'cross_entropy' as published, or 'kl', which takes the teacher's
      entropy off: the same gradient, and 0 at equal logits.

  Returns:
    f32 [B, ...], in nats times T^2. The minimum of 'cross_entropy' over z_s
    at a fixed w is w T^2 times the teacher's entropy.

  Raises:
    ValueError: another variant.

  Source: Zhou et al. 2021, "Rethinking Soft Labels for Knowledge
    Distillation: A Bias-Variance Tradeoff Perspective",
    https://arxiv.org/abs/2102.00650; T = 2 and weight 2.5 there. 1e-7 is
    added to the teacher's CE, as in its code.
  """
  numerics.need_variant(variant, ('cross_entropy', 'kl'))
  ratio = cross_entropy(student, labels) / (
    cross_entropy(teacher, labels) + 1e-7
  )
  weight = jax.lax.stop_gradient(-jnp.expm1(-ratio))
  soft = kd(student, teacher, temperature=temperature)
  if variant == 'cross_entropy':
    log_t = numerics.log_probs(teacher, temperature)
    squared = numerics.per_prediction(temperature, log_t) ** 2
    soft = soft - squared * numerics.weighted(jnp.exp(log_t), log_t)
  return weight * soft


@jax.custom_vjp
def gradient_reversal(x: Array, strength) -> Array:
  """`x` itself; its gradient comes back times -strength.

  What stands before it is trained to raise the loss, by a share `strength`.
  CTKD learns its temperature so: `kd(..., temperature=gradient_reversal(T,
  strength))`, the strength rising from 0 to 1 on a cosine.

  Args:
    x: any array.
    strength: a scalar, which may change at every step; it gets no gradient.

  Returns:
    x.

  Source: Ganin and Lempitsky 2015, https://arxiv.org/abs/1409.7495; in
    distillation Li et al. 2023 (CTKD), https://arxiv.org/abs/2211.16231.
  """
  del strength
  return x


def _reversal_forward(x, strength):
  return x, strength


def _reversal_backward(strength, gradient):
  reversed_ = (-strength * gradient).astype(gradient.dtype)
  return reversed_, jnp.zeros_like(strength)


gradient_reversal.defvjp(_reversal_forward, _reversal_backward)
