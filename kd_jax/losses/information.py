"""Losses from information theory: correlations and entropies of a batch.

Both couple the examples: the batch must be whole before they see it.
"""

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, numerics


def itrd_correlation(
  student: jax.Array, teacher: jax.Array, *, alpha: float = 1.5
) -> jax.Array:
  """Correlation loss of ITRD: each channel follows the teacher's.

  L = log2 sum_d |c_d - 1|^(2 alpha), c_d = 1/B sum_b s_bd t_bd of channels
  standardized over the batch, the deviation unbiased. So c is (B - 1) / B of
  the correlation, and the least value, at s = t, is log2 D - 2 alpha log2 B. A
  channel without spread, where the source has NaN, has c = 0 and no gradient.

  Args:
    student: [B, D], after a learned linear map to the teacher's width.
    teacher: [B, D].
    alpha: the order.

  Returns:
    f32 [B], in bits, the same number for each example.

  Raises:
    ValueError: the shapes differ.

  Source: Miles et al. 2022, "Information Theoretic Representation
    Distillation", https://arxiv.org/abs/2112.00459; the deviation as in its
    code, https://github.com/roymiles/ITRD. Weight 2.
  """
  geometry.same(student, teacher)
  s, t = (_standardize(numerics.f32(x)) for x in (student, teacher))
  correlation = jnp.mean(s * t, axis=0)
  apart = (correlation - 1) ** 2
  value = jnp.log2(jnp.sum(apart ** jnp.asarray(alpha, apart.dtype)))
  return jnp.full(s.shape[:1], value)


def itrd_mutual(
  student: jax.Array, teacher: jax.Array, *, variant: str = 'code'
) -> jax.Array:
  """Mutual information loss of ITRD, by Renyi's entropy of Gram matrices.

  With G the Gram matrix of unit rows and G_st = G_s * G_t by elements, each
  over its trace:
    'code' (default)  |G_s|_F^2 - |G_st|_F^2
    'paper'           log2 |G_s|_F^2 - log2 |G_st|_F^2
  The latter is minus the mutual information of order 2 but for the teacher's
  entropy, a constant.

  Args:
    student: [B, D], after a learned linear map where the widths differ.
    teacher: [B, D']; its width may differ here.
    variant: 'code' or 'paper'.

  Returns:
    f32 [B], the same number for each example; in bits for 'paper'. Weight 1
    for networks of one kind, 0.05 for others ('code').

  Raises:
    ValueError: another variant.

  Source: Miles et al. 2022, as `itrd_correlation`.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  units = [geometry.unit(numerics.f32(x)) for x in (student, teacher)]
  gram_s, gram_t = (geometry.gram(x) for x in units)
  own, joint = (
    jnp.sum((gram / _positive(jnp.trace(gram))) ** 2)
    for gram in (gram_s, gram_s * gram_t)
  )
  if variant == 'code':
    return jnp.full(gram_s.shape[:1], own - joint)
  bits = jnp.log2(_positive(own)) - jnp.log2(_positive(joint))
  return jnp.full(gram_s.shape[:1], bits)


def _positive(x):
  """`x`, or 1 without a gradient where it is 0 (all rows are)."""
  return jnp.where(x > 0, x, 1)


def _standardize(x):
  """[B, D] with mean 0 and unbiased deviation 1; 0 where there is no spread."""
  variance = jnp.var(x, axis=0, ddof=min(1, len(x) - 1), keepdims=True)
  noise = 1e-6 * jnp.max(jnp.abs(x), axis=0, keepdims=True)
  live = variance > noise**2
  scale = jnp.where(live, 1 / jnp.sqrt(jnp.where(live, variance, 1)), 0)
  return (x - jnp.mean(x, axis=0, keepdims=True)) * scale
