"""Logit losses over the whole batch: agreement of examples and of classes.

All are batchwise: an example's value depends on the others. Predictions of
[B, ..., K] logits are one batch of N = B... rows.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from kd_jax.losses import logits, numerics

Array = numerics.Array


def _unlike(
  a: Array, b: Array, axis: int, counts: Array | None = None
) -> Array:
  """1 - Pearson's correlation along an axis; 1 where a side is constant.

  From the distance of the unit vectors, not from the correlation: a
  difference from 1 would lose the digits of two sides that nearly agree.
  `counts` f32 says which entries along the axis count, 1 or 0.
  """
  a, b = (_centered(x, axis, counts) for x in (a, b))
  norm_a, norm_b = (
    numerics.root(jnp.sum(x**2, axis=axis, keepdims=True)) for x in (a, b)
  )
  unit_a = a / jnp.where(norm_a > 0, norm_a, 1)
  unit_b = b / jnp.where(norm_b > 0, norm_b, 1)
  apart = jnp.sum((unit_a - unit_b) ** 2, axis=axis) / 2
  norms = jnp.squeeze(norm_a * norm_b, axis)
  return (norms * apart + 1e-8) / (norms + 1e-8)


def _centered(x: Array, axis: int, counts: Array | None) -> Array:
  """`x` less its mean along an axis; 0 where an entry does not count."""
  if counts is None:
    return x - jnp.mean(x, axis=axis, keepdims=True)
  number = jnp.maximum(jnp.sum(counts), 1)
  mean = jnp.sum(x * counts, axis=axis, keepdims=True) / number
  return jnp.where(counts > 0, x - mean, 0)


def dist(
  student: Array,
  teacher: Array,
  *,
  beta: float = 1.0,
  gamma: float = 1.0,
  temperature: float = 1.0,
  counts: Array | None = None,
) -> Array:
  """Correlation of the predictions, within examples and within classes.

  L_b = T^2 (beta (1 - rho(p_s,b , p_t,b)) + gamma (1 - mean_k rho(p_s,.k ,
  p_t,.k))), p = softmax(z / T), rho Pearson's correlation: over the classes
  in the first (inter-class) term, over the batch in the second (intra-class).
  Batchwise: the second term is the same number for every example. Leading
  dimensions are one batch of N predictions; no array is larger than [N, K].

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    beta: weight of the inter-class term.
    gamma: weight of the intra-class term.
    temperature: T.
    counts: f32 [B, ...], 1 at predictions of which the intra-class term is
      made; None: all.

  Returns:
    f32 [B, ...], without unit, times T^2; 0 at equal logits unless a class
    has the same probability in the whole batch (its rho counts as 0).

  Source: Huang et al. 2022, L_inter and L_intra,
    https://arxiv.org/abs/2205.10536; its code adds 1e-8 to the product of
    the norms, as we do. Its published numbers are of beta = gamma = 2 (here
    1, times a weight of 2) with T = 4 on CIFAR-100 and T = 1 on ImageNet.
  """
  p_s = jnp.exp(numerics.log_probs(student, temperature))
  p_t = jnp.exp(numerics.log_probs(teacher, temperature))
  flat = (-1, p_s.shape[-1])
  counts = None if counts is None else counts.reshape(-1, 1)
  intra = _unlike(p_s.reshape(flat), p_t.reshape(flat), 0, counts)
  value = beta * _unlike(p_s, p_t, axis=-1) + gamma * jnp.mean(intra)
  return numerics.per_prediction(temperature, p_s) ** 2 * value


def _rows(side: Array, temperature) -> Array:
  """Softened probabilities as one matrix [N, K]."""
  p = jnp.exp(numerics.log_probs(side, temperature))
  return p.reshape(-1, p.shape[-1])


def _gram(rows: Array) -> Array:
  """rows rows^T, in full precision on every device."""
  return jnp.matmul(rows, rows.T, precision='highest')


def mlld_instance(
  student: Array, teacher: Array, *, temperature: float = 4.0
) -> Array:
  """The instance level of MLLD, which is `logits.kd`; f32 [B, ...]."""
  return logits.kd(student, teacher, temperature=temperature)


def mlld_class(
  student: Array, teacher: Array, *, temperature: float = 4.0
) -> Array:
  """The class level of MLLD: distance of the class-by-class Gram matrices.

  L = ||P_s^T P_s - P_t^T P_t||_F^2 / K, P = softmax(z / T) as [N, K]; no T^2.
  A sum over the batch, not a mean: it grows with N^2. Batchwise: the same
  number for every prediction. Materialized: two [K, K].

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T.

  Returns:
    f32 [B, ...], without unit; 0 at equal logits.

  Source: Jin et al. 2023, "Multi-level Logit Distillation", CVPR,
    https://github.com/Jin-Ying/Multi-Level-Logit-Distillation.
  """
  p_s, p_t = _rows(student, temperature), _rows(teacher, temperature)
  gap = _gram(p_s.T) - _gram(p_t.T)
  return jnp.full(student.shape[:-1], jnp.sum(gap**2) / gap.shape[0])


def mlld_batch(
  student: Array, teacher: Array, *, temperature: float = 4.0
) -> Array:
  """The batch level of MLLD: distance of the example-by-example Grams.

  L_b = ||(P_s P_s^T - P_t P_t^T)_b||^2, row b, P = softmax(z / T) as [N, K];
  no T^2. Its mean over the N rows is the paper's ||.||_F^2 / N. Batchwise;
  materialized: two [N, N].

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T.

  Returns:
    f32 [B, ...], without unit; 0 at equal logits.

  Source: Jin et al. 2023, as `mlld_class`.
  """
  p_s, p_t = _rows(student, temperature), _rows(teacher, temperature)
  gap = _gram(p_s) - _gram(p_t)
  return jnp.sum(gap**2, axis=-1).reshape(student.shape[:-1])


def mlld(
  student: Array,
  teacher: Array,
  *,
  temperatures: Sequence[float] = (4.0, 3.0, 5.0, 2.0, 6.0),
  instance_weight: float = 1.0,
  class_weight: float = 1.0,
  batch_weight: float = 1.0,
) -> Array:
  """Multi-level logit distillation: three levels at several temperatures.

  L = sum_T (w_i `mlld_instance` + w_c `mlld_class` + w_b `mlld_batch`), each
  at temperature T: a sum, not a mean, over the temperatures. Batchwise;
  materialized: two [K, K] and two [N, N] a temperature.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperatures: the values of T; their number is static.
    instance_weight: w_i.
    class_weight: w_c.
    batch_weight: w_b.

  Returns:
    f32 [B, ...]; 0 at equal logits.

  Source: Jin et al. 2023, as `mlld_class`. Its code sees two views of each
    image: all three levels on the weak one, the instance level alone on the
    strong one; that is two terms here, the second with student
    'student@strong' and teacher 'teacher@strong'. It also multiplies the weak
    terms by a mask of unsure teachers, but after the mean, so that the mask is
    a factor of about 1/2; we leave it to the weight of the term.
  """
  value = 0.0
  for temperature in temperatures:
    levels = [
      level(student, teacher, temperature=temperature)
      for level in (mlld_instance, mlld_class, mlld_batch)
    ]
    value += instance_weight * levels[0]
    value += class_weight * levels[1] + batch_weight * levels[2]
  return value
