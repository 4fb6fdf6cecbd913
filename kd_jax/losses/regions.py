"""Losses on the logits of an image's regions: scale decoupled distillation.

A region's logits are the classifier's on the mean feature of a part of the
map. They are [B, N, K], the whole image first.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kd_jax.losses import decoupled, geometry, logits, numerics, spatial

_FINEST = 4


def pyramid(x: jax.Array, scales: Sequence[int] = (1, 2, 4)) -> jax.Array:
  """The mean features of a map's regions, from coarse to fine.

  The map is pooled to 4 x 4, and that to each scale: for a side that 4 does
  not divide the whole image's region is not quite the map's mean.

  Args:
    x: [B, H, W, C].
    scales: regions along a side, of 1, 2 and 4, the first of them 1; static.

  Returns:
    f32 [B, N, C], N the sum of the squares; those of a scale row by row.

  Raises:
    ValueError: other scales.

  Source: Wei et al. 2024, as `sdd_kd`; from the 4 x 4 regions as in its code.
  """
  scales = tuple(scales)
  if scales[:1] != (1,) or not set(scales) <= {1, 2, 4}:
    raise ValueError(
      f'scales must begin with 1 and be of 1, 2, 4, not {list(scales)}'
    )
  fine = spatial.pool(numerics.f32(x), (_FINEST, _FINEST))
  return jnp.concatenate(
    [geometry.positions(spatial.pool(fine, (s, s))) for s in scales], axis=1
  )


def sdd_kd(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  *,
  temperature: float = 4.0,
  complementary: float = 2.0,
) -> jax.Array:
  """Scale decoupled KD: `logits.kd` in every region.

  L = 1/N sum_n w_n T^2 KL(p_t,n || p_s,n). A region n > 0 is complementary,
  w_n = `complementary`, where the teacher is right in the region and wrong on
  the whole image, or the reverse; otherwise, and for the whole image, w_n = 1.

  Args:
    student: logits of the regions [B, N, K], the whole image first.
    teacher: likewise.
    labels: y, indices i32 [B], or soft [B, K] (the largest class).
    temperature: T.
    complementary: weight of those regions.

  Returns:
    f32 [B], in nats times T^2; 0 at equal logits.

  Source: Wei et al. 2024, "Scale Decoupled Distillation",
    https://arxiv.org/abs/2403.13512; the sum is divided by N and not by the
    weights, as in its code.
  """
  value = logits.kd(student, teacher, temperature=temperature)
  return _weigh(value, teacher, labels, complementary)


def sdd_dkd(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  *,
  alpha: float = 1.0,
  beta: float = 8.0,
  temperature: float = 4.0,
  complementary: float = 2.0,
) -> jax.Array:
  """Scale decoupled DKD: `decoupled.dkd` in every region.

  Regions are weighed as in `sdd_kd`; its warm-up is a schedule.

  Args:
    student: logits of the regions [B, N, K], the whole image first.
    teacher: likewise.
    labels: y, indices i32 [B], or soft [B, K] (the largest class).
    alpha: weight of TCKD.
    beta: weight of NCKD.
    temperature: T.
    complementary: weight of complementary regions.

  Returns:
    f32 [B], in nats times T^2; 0 at equal logits.

  Source: Wei et al. 2024, as `sdd_kd`.
  """
  options = {'alpha': alpha, 'beta': beta, 'temperature': temperature}
  classes = _classes(labels, teacher)
  value = decoupled.dkd(student, teacher, classes, **options)
  return _weigh(value, teacher, labels, complementary)


def sdd_nkd(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  *,
  temperature: float = 1.0,
  gamma: float = 1.5,
  complementary: float = 2.0,
  variant: str = 'code',
) -> jax.Array:
  """Scale decoupled NKD: cross-entropies with the target and with the classes.

  In each region -p_t,y log p_s,y at temperature 1, and beside it
    'code' (default)  gamma T^2 H(p_t^T, p_s^T) over all classes
    'paper'           gamma T^2 H over the others than y: `decoupled.nkd`
  Regions are weighed as in `sdd_kd`.

  Args:
    student: logits of the regions [B, N, K], the whole image first.
    teacher: likewise.
    labels: y, indices i32 [B], or soft [B, K] (the largest class).
    temperature: T of the second term only.
    gamma: weight of the second term.
    complementary: weight of complementary regions.
    variant: 'code' or 'paper'.

  Returns:
    f32 [B], in nats; not 0 at equality, as `decoupled.nkd`.

  Raises:
    ValueError: another variant.

  Source: Wei et al. 2024, as `sdd_kd`, on Yang et al. 2023,
    https://arxiv.org/abs/2303.13005. Its code's mask of the target is all ones.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  options = {'temperature': temperature, 'gamma': gamma}
  classes = _classes(labels, teacher)
  if variant == 'paper':
    value = decoupled.nkd(student, teacher, classes, **options)
    return _weigh(value, teacher, labels, complementary)
  log_s, log_t = (numerics.log_probs(z) for z in (student, teacher))
  target = numerics.is_target(classes, student)
  hit = jnp.sum(jnp.where(target, jnp.exp(log_t) * log_s, 0), axis=-1)
  soft_s, soft_t = (
    numerics.log_probs(z, temperature) for z in (student, teacher)
  )
  rest = numerics.weighted(jnp.exp(soft_t), soft_s)
  squared = numerics.per_prediction(temperature, rest) ** 2
  value = -hit - gamma * squared * rest
  return _weigh(value, teacher, labels, complementary)


def _classes(labels, regions) -> jax.Array:
  """The label of each region: i32 [B, N]."""
  labels = jnp.asarray(labels)
  if numerics.is_soft(labels):
    labels = jnp.argmax(labels, axis=-1)
  return jnp.broadcast_to(labels[:, None], regions.shape[:-1])


def _weigh(value, teacher, labels, complementary) -> jax.Array:
  """The mean [B] over the regions of weighted values [B, N]."""
  right = jnp.argmax(teacher, axis=-1) == _classes(labels, teacher)
  weight = jnp.where(right != right[:, :1], complementary, 1.0)
  return jnp.mean(weight * value, axis=-1)
