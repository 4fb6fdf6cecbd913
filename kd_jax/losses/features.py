"""Losses between one feature of the student and one of the teacher.

Maps are [B, H, W, C]; most of these take [B, ..., C] of any rank. Each returns
f32 [B], and the mean over the batch is the scalar of the source.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, numerics, spatial


def feature_mse(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Mean squared difference of two features of equal shape.

  mean (F_s - F_t)^2 over all elements of an example. This is the distance of
  FitNets (hints, after a regressor; weight 100 in RepDistiller), of SimKD and
  of the feature part of SRRL.

  Args:
    student: [B, ...], already adapted to the teacher's shape.
    teacher: [B, ...], the same shape.

  Returns:
    [B], squared units of the feature.

  Raises:
    ValueError: the shapes differ.

  Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", eq. 3,
    https://arxiv.org/abs/1412.6550. The paper has half the sum of squares;
    RepDistiller and mdistiller take the mean over elements, as here.
  """
  geometry.same(student, teacher)
  return geometry.mean((numerics.f32(student) - numerics.f32(teacher)) ** 2)


def feature_sse(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Sum of squared differences of two features of equal shape.

  sum (F_s - F_t)^2 over all elements of an example: the distance of masked
  generative distillation, between the generated and the teacher's map.

  Args:
    student: [B, ...], already adapted to the teacher's shape.
    teacher: [B, ...], the same shape.

  Returns:
    [B], squared units of the feature.

  Raises:
    ValueError: the shapes differ.

  Source: Yang et al. 2022, "Masked Generative Distillation",
    https://arxiv.org/abs/2205.01529. Sum per example and mean over the batch,
    as the authors' code; hence their small weight, 7e-5.
  """
  geometry.same(student, teacher)
  return geometry.total((numerics.f32(student) - numerics.f32(teacher)) ** 2)


def feature_cosine(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """One minus the cosine of two feature vectors, mean over places.

  mean_p 1 - <s_p, t_p> / (|s_p| |t_p|), the vectors along the last axis. A
  vector of zeros has cosine 0 with any, and passes no gradient.

  Args:
    student: [B, ..., C], already adapted to the teacher's shape.
    teacher: [B, ..., C], the same shape.

  Returns:
    [B], between 0 and 2.

  Raises:
    ValueError: the shapes differ.

  Source: Sanh et al. 2019, "DistilBERT", section 3,
    https://arxiv.org/abs/1910.01108 (there over tokens, weight 1).
  """
  geometry.same(student, teacher)
  s = geometry.unit(numerics.f32(student))
  t = geometry.unit(numerics.f32(teacher))
  # |s - t|^2 / 2 keeps the digits that 1 - <s, t> loses near equality.
  apart = jnp.sum((s - t) ** 2, axis=-1) / 2
  empty = jnp.all(s == 0, axis=-1) * 0.5 + jnp.all(t == 0, axis=-1) * 0.5
  return geometry.mean(apart + empty)


def pkd(
  student: jax.Array, teacher: jax.Array, *, normalize: bool = True
) -> jax.Array:
  """Patient distillation: distance of two states of a sequence's first token.

  mean_d (n(h_s) - n(h_t))^2, n divides by the L2 norm (or does nothing).

  Args:
    student: [B, D] states of one layer; teacher: likewise, of the same width.
    normalize: whether n divides; static.

  Returns:
    [B], no unit if normalized; 0 at equality.

  Raises:
    ValueError: the shapes differ.

  Source: Sun et al. 2019, "Patient Knowledge Distillation for BERT Model
    Compression", equation 7, https://arxiv.org/abs/1908.09355. The paper sums
    over D, the batch and the layers; its code has the mean over D and layers
    (so beta differs by that factor), and casts to half precision.
  """
  s, t = numerics.f32(student), numerics.f32(teacher)
  if normalize:
    s, t = geometry.unit(s), geometry.unit(t)
  return feature_mse(s, t)


def at(
  student: jax.Array,
  teacher: jax.Array,
  *,
  power: float = 2.0,
  variant: str = 'code',
  tokens: jax.Array | None = None,
) -> jax.Array:
  """Attention transfer: distance of normalized spatial activation maps.

  With Q = vec(sum_c |F_c|^p) and q = Q / |Q|_2:
    'code'   mean over places of (q_s - q_t)^2   (weight 1000)
    'paper'  |q_s - q_t|_2 / 2                   (weight beta, the paper's)
  F is `student` or `teacher`, p is `power`. The larger map is pooled first.
  Invariant to the scale of either map. Channels may differ.

  Args:
    student: [B, H, W, C] (or [B, L, C], with equal L).
    teacher: [B, H', W', C'].
    power: p. A Python number is faster than a traced one.
    variant: 'code' or 'paper'.
    tokens: f32 [B, L], 1 at real ones, where F is of text; F is 0 at the
      others, which are then no places of the mean.

  Returns:
    [B], no unit.

  Raises:
    ValueError: an unknown variant, or maps that cannot be aligned or have one
      place.

  Source: Zagoruyko and Komodakis 2017, "Paying More Attention to Attention",
    eq. 2, https://arxiv.org/abs/1612.03928. 'code' is RepDistiller's: the
    square, its mean in place of the norm, and for odd p the signed power
    F^p where the paper has |F|^p.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  s, t = spatial.align(numerics.f32(student), numerics.f32(teacher))
  if variant == 'paper':
    s, t = jnp.abs(s), jnp.abs(t)
  s, t = spatial.attention(s, power), spatial.attention(t, power)
  geometry.same(s, t)
  if variant == 'paper':
    return numerics.root(geometry.total(geometry.unit_gap(s, t) ** 2)) / 2
  if tokens is None:
    return geometry.mean((s - t) ** 2)
  places = jnp.maximum(jnp.sum(tokens, axis=1), 1)
  return geometry.total((s - t) ** 2) / places


def nst(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Neuron selectivity transfer: squared MMD between sets of channel maps.

  Each channel's map is an L2-normalized vector f over the P places; with
  k(x, y) = (x . y)^2 (the paper's polynomial kernel with d = 2, c = 0),
    mean_{c,c'} k(f_s, f_s') + mean k(f_t, f_t') - 2 mean k(f_s, f_t')
  As sum_{c,c'} (f_c . g_c')^2 = |F G^T|^2 = <F^T F, G^T G>, this is also
  |F_s^T F_s / C_s - F_t^T F_t / C_t|^2 over [P, P]. Built per example is
  either two [P, P] or three [C, C] Gram matrices, the cheaper; never
  [C, C', P]. The larger map is pooled first. Weight 50.

  Args:
    student: [B, H, W, C] (or [B, L, C], with equal L).
    teacher: [B, H', W', C'].

  Returns:
    [B], no unit; 0 at equality, up to rounding.

  Raises:
    ValueError: maps that cannot be aligned, or of one place.

  Source: Huang and Wang 2017, "Like What You Like",
    https://arxiv.org/abs/1707.01219. The teacher's own term, a constant that
    some codes drop, is kept, as in RepDistiller.
  """
  s, t = spatial.align(numerics.f32(student), numerics.f32(teacher))
  s, t = geometry.positions(s), geometry.positions(t)
  geometry.same(s[..., 0], t[..., 0])
  geometry.need_places(s)
  s, t = geometry.unit(s, axis=1), geometry.unit(t, axis=1)
  places, c, d = s.shape[1], s.shape[2], t.shape[2]
  if places * (c + d) <= c * c + d * d + c * d:
    grams = _between_places(s) / c - _between_places(t) / d
    return geometry.total(grams**2)
  return _kernel(s, s) + _kernel(t, t) - 2 * _kernel(s, t)


def hierarchical_context(
  students: Sequence[jax.Array], teachers: Sequence[jax.Array]
) -> jax.Array:
  """Mean squared error at full size and at coarser and coarser grids.

  For each layer, (MSE + sum_l w_l MSE_l) / (1 + sum_l w_l): MSE_l compares
  the maps pooled to l x l, for those l of 4, 2, 1 that are smaller than the
  height, and w is 1/2, 1/4, 1/8 in the order used. Summed over the layers.

  Args:
    students: maps [B, H, W, C], the fused ones of ReviewKD.
    teachers: as many, of the same shapes.

  Returns:
    [B], squared units of the feature. Weight 1, warmed up over 20 epochs.

  Raises:
    ValueError: the numbers of layers or their shapes differ.

  Source: Chen et al. 2021, "Distilling Knowledge via Knowledge Review",
    section 3.4 (HCL), https://arxiv.org/abs/2104.09044; the weights are those
    of the authors' code.
  """
  layers = geometry.pairs(students, teachers)
  return sum(_pyramid(student, teacher) for student, teacher in layers)


def cat(
  student: jax.Array,
  teacher: jax.Array,
  *,
  resolution: int = 2,
  normalize: bool = True,
) -> jax.Array:
  """Class attention transfer: mean squared error of class activation maps.

  mean (n(pool(A_s)) - n(pool(A_t)))^2: A are the maps of the last 1x1
  convolution, pool averages to `resolution`, and n divides each class's map by
  its L2 norm over space (or does nothing).

  Args:
    student: [B, H, W, K] class activation maps.
    teacher: [B, H', W', K].
    resolution: height and width after pooling.
    normalize: whether n divides.

  Returns:
    [B]. Weight 400; 15 without normalization.

  Raises:
    ValueError: the numbers of classes differ.

  Source: Guo et al. 2023, "Class Attention Transfer Based Knowledge
    Distillation", https://arxiv.org/abs/2304.12777.
  """
  size = (resolution, resolution)
  s = spatial.pool(numerics.f32(student), size)
  t = spatial.pool(numerics.f32(teacher), size)
  if normalize:
    s, t = geometry.unit(s, axis=(1, 2)), geometry.unit(t, axis=(1, 2))
  return feature_mse(s, t)


def vid_nll(
  mean: jax.Array, teacher: jax.Array, raw_variance: jax.Array
) -> jax.Array:
  """Variational information distillation: a Gaussian's negative log density.

  mean over elements of [(t - mu)^2 / sigma^2 + log sigma^2] / 2, with
  sigma^2 = softplus(alpha) + 1e-5 for each channel; log(2 pi) / 2 is left out.
  mu is `mean`, t `teacher`, alpha `raw_variance`, which must be trained too.

  Args:
    mean: [B, ..., C], predicted from the student (by three 1x1 convolutions).
    teacher: [B, ..., C], the same shape.
    raw_variance: [C]. log(expm1(5 - 1e-5)) starts sigma^2 at 5.

  Returns:
    [B], nats per element without the constant; may be negative. Least at
    mean == teacher, where it is the mean of log(sigma^2) / 2. Weight 1.

  Raises:
    ValueError: the shapes differ.

  Source: Ahn et al. 2019, "Variational Information Distillation for Knowledge
    Transfer", https://arxiv.org/abs/1904.05835; softplus and 1e-5 as in
    RepDistiller.
  """
  geometry.same(mean, teacher)
  variance = jax.nn.softplus(numerics.f32(raw_variance)) + 1e-5
  variance = variance.reshape((1,) * (mean.ndim - 1) + (-1,))
  error = (numerics.f32(mean) - numerics.f32(teacher)) ** 2
  return geometry.mean(error / variance + jnp.log(variance)) / 2


def vkd(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Huber distance of a projected feature from the teacher's normalized one.

  mean_d h(s - n(t))_d, h quadratic below 1, n(t) = (t - mean t) / sqrt(var t +
  1e-5) over the channels, the variance divided by D.

  Args:
    student: [B, D], through an orthogonal map (see `methods.vkd`).
    teacher: [B, D], the mean over places.

  Returns:
    [B], no unit; 0 where s = n(t). Weight 1.

  Raises:
    ValueError: the shapes differ.

  Source: Miles et al. 2024, "VkD: Improving Knowledge Distillation using
    Orthogonal Projections", https://arxiv.org/abs/2403.06213; h as in its
    code.
  """
  geometry.same(student, teacher)
  t = numerics.f32(teacher)
  t = t - jnp.mean(t, axis=-1, keepdims=True)
  t = t / jnp.sqrt(jnp.mean(t**2, axis=-1, keepdims=True) + 1e-5)
  return geometry.mean(geometry.smooth_l1(numerics.f32(student) - t))


def _between_places(x):
  return geometry.dot('bpc,bqc->bpq', x, x)


def _kernel(x, y):
  return geometry.mean(geometry.dot('bpc,bpd->bcd', x, y) ** 2)


def _pyramid(student, teacher):
  loss, weight, weights = feature_mse(student, teacher), 1.0, 1.0
  for size in (4, 2, 1):
    if size < student.shape[1]:
      weight = weight / 2
      weights = weights + weight
      s = spatial.pool(numerics.f32(student), (size, size))
      t = spatial.pool(numerics.f32(teacher), (size, size))
      loss = loss + weight * feature_mse(s, t)
  return loss / weights
