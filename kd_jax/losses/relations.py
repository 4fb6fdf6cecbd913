"""Losses on relations between the examples of a batch, or between channels.

All but `ickd` couple the examples: the batch must be whole (gathered) before
they see it. Features [B, ...] are flattened to [B, D].
"""

import math

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, numerics


def rkd(
  student: jax.Array,
  teacher: jax.Array,
  *,
  distance_weight: float = 25.0,
  angle_weight: float = 50.0,
) -> jax.Array:
  """Relational distillation: distances of pairs and angles of triplets.

  `distance_weight` * `rkd_distance` + `angle_weight` * `rkd_angle`.

  Args:
    student: [B, ...] embeddings.
    teacher: [B, ...]; the width may differ.
    distance_weight: lambda_D.
    angle_weight: lambda_A.

  Returns:
    [B], no unit; 0 at equality. Invariant to moving, turning, mirroring and
    scaling either side. Weight 1.

  Source: Park et al. 2019, "Relational Knowledge Distillation", L_RKD-DA,
    https://arxiv.org/abs/1904.05068; 25 and 50 as in RepDistiller.
  """
  distance = rkd_distance(student, teacher)
  angle = rkd_angle(student, teacher)
  return distance_weight * distance + angle_weight * angle


def rkd_distance(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Huber distance of pairwise distances, each over their mean.

  Row i is mean_j huber(d_s[i, j] / mu_s - d_t[i, j] / mu_t), d the Euclidean
  distance of two examples, mu its mean over pairs i != j of the batch, huber
  quadratic below 1. Built are [B, B] matrices; distances come from the Gram
  matrix of centered embeddings, never from [B, B, D].

  Args:
    student: [B, ...] embeddings.
    teacher: [B, ...]; the width may differ.

  Returns:
    [B], no unit; 0 at equality. Equal rows have distance 0 and no gradient.

  Source: Park et al. 2019 (as `rkd`), L_RKD-D. As in the authors' code, the
    mean of the Huber values is over all B^2 pairs, the zero diagonal included.
    Its mu leaves out every pair at distance 0, so it is larger than ours where
    a batch holds duplicates.
  """
  ratios = [_over_mean(_rows(x)) for x in (student, teacher)]
  return geometry.mean(geometry.smooth_l1(ratios[0] - ratios[1]))


def rkd_angle(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Huber distance of the cosines of the angles of all triplets.

  Row i is mean_{j,k} huber(a_s - a_t), a = <e_ij, e_ik> the cosine at corner
  i, e_ij = (x_j - x_i) / |x_j - x_i| (0 for equal rows). From the Gram matrix,
  by the law of cosines: a = (d_ij^2 + d_ik^2 - d_jk^2) / (2 d_ij d_ik). Built
  are the [B, B, B] cosines themselves, on both sides; never [B, B, D].

  Args:
    student: [B, ...] embeddings.
    teacher: [B, ...]; the width may differ.

  Returns:
    [B], no unit; 0 at equality.

  Source: Park et al. 2019 (as `rkd`), L_RKD-A. As in the authors' code, the
    mean is over all B^3 triplets, those with equal members included.
  """
  cosines = [_corner_cosines(_rows(x)) for x in (student, teacher)]
  return geometry.mean(geometry.smooth_l1(cosines[0] - cosines[1]))


def sp(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """Similarity preserving: which examples excite a layer alike.

  |G_s - G_t|^2_F / B^2, G the Gram matrix [B, B] of the flattened features,
  each row divided by its L2 norm. Row i is sum_j (G_s - G_t)[i, j]^2 / B.

  Args:
    student: [B, ...]; the shape may differ from the teacher's.
    teacher: [B, ...].

  Returns:
    [B], no unit; 0 at equality. Invariant to the scale of either side.
    Weight 3000.

  Source: Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation",
    https://arxiv.org/abs/1907.09682. torchdistill divides the rows by their
    L1 norms, against the paper.
  """
  s = geometry.unit(geometry.gram(_rows(student)))
  t = geometry.unit(geometry.gram(_rows(teacher)))
  return geometry.mean((s - t) ** 2)


def pkt(
  student: jax.Array, teacher: jax.Array, *, epsilon: float = 1e-7
) -> jax.Array:
  """Probabilistic transfer: KL between neighbor probabilities in the batch.

  p[i, j] = (1 + cos(x_i, x_j)) / 2, rows divided by their sum; row i is
  mean_j p_t log((p_t + eps) / (p_s + eps)). The KL is from teacher to student,
  without T^2, and divided by B. Built are [B, B] matrices.

  Args:
    student: [B, ...] embeddings.
    teacher: [B, ...]; the width may differ.
    epsilon: eps; also added to the norms.

  Returns:
    [B], nats / B; 0 at equality. Invariant to the scale of each row (up to
    eps). Weight 30000.

  Source: Passalis and Tefas 2018, "Learning Deep Representations with
    Probabilistic Knowledge Transfer", https://arxiv.org/abs/1803.10837. The
    mean over B^2, where the paper sums, is the authors' code's.
  """
  p_s = _neighbor_probs(_rows(student), epsilon)
  p_t = _neighbor_probs(_rows(teacher), epsilon)
  # p_t - p_s has row sum 0: taken off, only terms of second order are left,
  # where the logarithms' difference would lose half its digits.
  gap = (p_s - p_t) / (p_t + epsilon)
  return geometry.mean(p_t * (gap - jnp.log1p(gap)) + epsilon * gap)


def cc(
  student: jax.Array,
  teacher: jax.Array,
  *,
  variant: str = 'code',
  gamma: float = 0.4,
  order: int = 2,
) -> jax.Array:
  """Correlation congruence: relations of examples in two embeddings.

  'code' (default): with D = |f_s - f_t|, the mean over the B - 1 neighbors in
    the batch of <D_i, D_{i+1}>; each product is shared by its two examples,
    times B / (B - 1). It depends on the order of the batch. `gamma` and
    `order` have no part in it.
  'paper': |K_s - K_t|^2_F / B^2, K the Gaussian kernel of unit rows by its
    Taylor series, K[i, j] = exp(-2 gamma) sum_{p=0..order}
    (2 gamma)^p / p! <f_i, f_j>^p. Built are [B, B] matrices.

  Args:
    student: [B, ...] embeddings (128 wide after learned linears).
    teacher: [B, ...]; for 'code' of the same shape.
    variant: 'code' or 'paper'.
    gamma: of the Gaussian exp(-gamma |x - y|^2).
    order: P, the last term of the series; static.

  Returns:
    [B]; 0 at equality. Weight 0.02 for 'code'.

  Raises:
    ValueError: an unknown variant, or 'code' with shapes that differ.

  Source: Peng et al. 2019, "Correlation Congruence for Knowledge
    Distillation", https://arxiv.org/abs/1904.01802. 'code' is the compact
    form of RepDistiller, where the differences and not the kernels meet.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  s, t = _rows(student), _rows(teacher)
  if variant == 'paper':
    kernels = _taylor(s, gamma, order) - _taylor(t, gamma, order)
    return geometry.mean(kernels**2)
  geometry.same(s, t)
  gap = jnp.abs(s - t)
  near = jnp.sum(gap[:-1] * gap[1:], axis=1) / 2
  share = jnp.pad(near, (0, 1)) + jnp.pad(near, (1, 0))
  return share * (len(s) / max(len(s) - 1, 1))


def ickd(
  student: jax.Array, teacher: jax.Array, *, variant: str = 'code'
) -> jax.Array:
  """Inter-channel correlation: which channels of an example go together.

  With G the Gram matrix [C, C] of an example's channels over its places:
    'code' (default)  |n(G_s) - n(G_t)|^2_F / C, n dividing rows by L2 norms
    'paper'           |G_s - G_t|^2_F / C^2
  Couples no examples.

  Args:
    student: [B, H, W, C] (or [B, L, C]), through an adapter to C channels.
    teacher: [B, H', W', C].
    variant: 'code' or 'paper'.

  Returns:
    [B]; 0 at equality.

  Raises:
    ValueError: an unknown variant, or channels that differ.

  Source: Liu et al. 2021, "Exploring Inter-Channel Correlation for
    Diversity-Preserved Knowledge Distillation",
    https://arxiv.org/abs/2202.03680.
  """
  numerics.need_variant(variant, ('code', 'paper'))
  s, t = _channel_gram(student), _channel_gram(teacher)
  geometry.same(s, t)
  if variant == 'paper':
    return geometry.mean((s - t) ** 2)
  gap = geometry.unit(s) - geometry.unit(t)
  return geometry.total(gap**2) / s.shape[-1]


def _rows(x):
  x = numerics.f32(x)
  return x.reshape(x.shape[0], -1)


def _over_mean(x):
  """[B, B]: distances of rows, over their mean outside the diagonal."""
  distance = numerics.root(geometry.squared_distances(x))
  mean = jnp.sum(distance) / max(len(x) * (len(x) - 1), 1)
  return jnp.where(mean > 0, distance / jnp.where(mean > 0, mean, 1), 0)


def _corner_cosines(x):
  """[B, B, B]: at [i, j, k] the cosine of the angle at row i."""
  square = geometry.squared_distances(x)
  live = square > 0
  inverse = jnp.where(live, 1 / jnp.sqrt(jnp.where(live, square, 1)), 0)
  opposite = square[:, :, None] + square[:, None, :] - square[None, :, :]
  return opposite * inverse[:, :, None] * inverse[:, None, :] / 2


def _neighbor_probs(x, epsilon):
  norm = numerics.root(jnp.sum(x * x, axis=1, keepdims=True))
  x = x * jnp.where(norm > 0, 1 / (norm + epsilon), 0)
  p = (1 + geometry.gram(x)) / 2
  return p / jnp.sum(p, axis=1, keepdims=True)


def _taylor(x, gamma, order):
  cosine = geometry.gram(geometry.unit(x))
  terms = [
    (2 * gamma) ** p / math.factorial(p) * cosine**p for p in range(order + 1)
  ]
  return jnp.exp(-2 * jnp.asarray(gamma, x.dtype)) * sum(terms)


def _channel_gram(x):
  x = geometry.positions(numerics.f32(x))
  return geometry.dot('bpc,bpd->bcd', x, x)
