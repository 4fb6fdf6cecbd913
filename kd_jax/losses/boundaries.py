"""Losses on which side of a threshold a pre-activation lies: AB and OFD."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy import stats

from kd_jax.losses import geometry, numerics


def ab(
  students: Sequence[jax.Array],
  teachers: Sequence[jax.Array],
  *,
  margin: float = 1.0,
) -> jax.Array:
  """Activation boundaries: the student's neurons fire where the teacher's do.

  0.003 sum_i 2^(i - n + 1) sum over elements of layer i (from 0) of n of
    (s + m)^2  where t <= 0 and s > -m
    (s - m)^2  where t > 0 and s <= m
  s is the student, t the teacher, both before the ReLU; m is `margin`.

  Args:
    students: pre-activations [B, H, W, C], through connectors (1x1 + norm).
    teachers: as many, of the same shapes.
    margin: m.

  Returns:
    [B]; 0 where every element is beyond its margin on the teacher's side, so
    not at equality. Weight 1, in an initialization stage of 30 epochs.

  Raises:
    ValueError: the numbers of layers or their shapes differ.

  Source: Heo et al. 2019, "Knowledge Transfer via Distillation of Activation
    Boundaries", https://arxiv.org/abs/1811.03233. The layer weights and
    the factor 3 / 1000 are RepDistiller's, after the authors' code.
  """
  layers = geometry.pairs(students, teachers)
  weights = [2.0 ** (i - len(layers) + 1) for i in range(len(layers))]
  losses = [_hinge(*pair, margin) for pair in layers]
  return 0.003 * sum(w * loss for w, loss in zip(weights, losses))


def ofd(student: jax.Array, teacher: jax.Array, margin: jax.Array) -> jax.Array:
  """Overhaul of feature distillation: the partial L2 distance of one layer.

  With the target u = max(t, m), sum over elements of
    (s - u)^2  where t > 0 or s > u, else 0
  s is the student, t the teacher, both before the ReLU, m the channel's
  `margin` (negative): where the teacher is silent, so may the student be.

  Args:
    student: [B, H, W, C], through a connector (1x1 + norm).
    teacher: [B, H, W, C].
    margin: [C], from `ofd_margin`.

  Returns:
    [B], squared units of the feature; 0 at equality, if no teacher value lies
    below its margin. Layer i of n (from 0) weighs 2^(i - n + 1), all of them
    0.001.

  Raises:
    ValueError: the shapes differ.

  Source: Heo et al. 2019, "A Comprehensive Overhaul of Feature Distillation",
    https://arxiv.org/abs/1904.01866; sum and mean as in mdistiller.
  """
  geometry.same(student, teacher)
  s, t = numerics.f32(student), numerics.f32(teacher)
  m = numerics.f32(margin).reshape((1,) * (t.ndim - 1) + (-1,))
  target = jnp.maximum(t, m)
  counts = (t > 0) | (s > target)
  return geometry.total(jnp.where(counts, (s - target) ** 2, 0))


def ofd_margin(mean_bias: jax.Array, std_scale: jax.Array) -> jax.Array:
  """The mean of the negative part of a batch-normalized channel.

  E[x | x < 0] = b - g phi(b / g) / Phi(-b / g) for x ~ Normal(b, g^2), with
  b the norm's bias and g the size of its scale; -3 g where fewer than one
  value in a thousand is negative.

  Args:
    mean_bias: [C], the bias of the normalization before the ReLU.
    std_scale: [C], its scale; the sign does not matter.

  Returns:
    [C], at most 0.

  Source: Heo et al. 2019 (as `ofd`); the -3 g is the authors' code's.
  """
  b, g = numerics.f32(mean_bias), jnp.abs(numerics.f32(std_scale))
  live = g > 0
  z = b / jnp.where(live, g, 1)
  tail = stats.norm.cdf(-z)
  # A constant channel is its own mean, if it is negative at all.
  rare = jnp.where(live, tail <= 0.001, b >= 0)
  mean = b - g * stats.norm.pdf(z) / jnp.where(rare, 1, tail)
  return jnp.where(rare, -3 * g, mean)


def _hinge(student, teacher, margin):
  geometry.same(student, teacher)
  s, t = numerics.f32(student), numerics.f32(teacher)
  silent = jnp.where((t <= 0) & (s > -margin), (s + margin) ** 2, 0)
  firing = jnp.where((t > 0) & (s <= margin), (s - margin) ** 2, 0)
  return geometry.total(silent + firing)
