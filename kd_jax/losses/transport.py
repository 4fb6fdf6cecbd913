"""Wasserstein distances: between class distributions, between Gaussians."""

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, numerics, spatial

_SMALL = 1e-8


def class_costs(kernel: jax.Array, *, sharpen: float = 1.0) -> jax.Array:
  """How unlike two classes are, by the classifier that tells them apart.

  With d = 1 - cos(w_i, w_j), w the classes' columns: 1 - exp(-kappa d), or d
  itself where kappa = 0.

  Args:
    kernel: the last classifier's, [D, K].
    sharpen: kappa.

  Returns:
    f32 [K, K], 0 on the diagonal.

  Source: Lv et al. 2024 (as `wkd_l`); the classifier's columns in
    place of features as in its code with COST_MATRIX 'fc'.
  """
  columns = geometry.unit(numerics.f32(kernel).T)
  distance = 1 - geometry.gram(columns)
  sharpen = jnp.asarray(sharpen, distance.dtype)
  return jnp.where(sharpen > 0, -jnp.expm1(-sharpen * distance), distance)


def wkd_l(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  cost: jax.Array,
  *,
  temperature: float = 8.0,
  gamma: float = 600.0,
  regularization: float = 0.05,
  iterations: int = 10,
) -> jax.Array:
  """WKD-L: moves the student's mass to the teacher's, at a cost by class.

  L = -p_t,y log p_s,y + gamma <F, c>: p at temperature 1 (by design); F is the
  plan that moves softmax(z_s / T) to softmax(z_t / T), both over the K - 1
  classes other than y, c = relu(cost) + 1e-8. From u = 1 / (K - 1) Sinkhorn's
  iterations v = q / (G^T u + 1e-8), u = p / (G v + 1e-8) with
  G = exp(-c / eta) end with F = u G v, whose rows sum to the student's p and
  columns nearly to the teacher's q. The gradient flows through all of them.

  Args:
    student: logits z_s [B, ..., K], K >= 3.
    teacher: logits z_t [B, ..., K].
    labels: y, indices i32 [B, ...], or soft [B, ..., K] (the largest class).
    cost: c [K, K], at least 0, such as of `class_costs`.
    temperature: T, without T^2.
    gamma: weight of the transport; the source lets it fall to 0 on a cosine.
    regularization: eta; the divisor of the cost.
    iterations: of Sinkhorn; static.

  Returns:
    f32 [B, ...], in nats and gamma times the cost. Not 0 at equality: the
    regularized plan spreads, and the first term falls until p_s,y = 1.

  Source: Lv et al. 2024, "Wasserstein Distance Rivals Kullback-Leibler
    Divergence for Knowledge Distillation",
    https://arxiv.org/abs/2412.08139; the iterations and 1e-8 are its code's,
    whose value holds the term of the target as here.
  """
  target = numerics.is_target(labels, student)
  log_s, log_t = (numerics.log_probs(z) for z in (student, teacher))
  hit = jnp.exp(jnp.sum(jnp.where(target, log_t, 0), -1))
  of_target = -hit * jnp.sum(jnp.where(target, log_s, 0), -1)
  p, q = (
    jax.nn.softmax(
      numerics.without(numerics.soften(z, temperature), target), axis=-1
    )
    for z in (student, teacher)
  )
  cost = jnp.maximum(numerics.f32(cost), 0) + _SMALL
  gibbs = jnp.exp(-cost / jnp.asarray(regularization, cost.dtype))
  # p, q and so u, v are 0 at the target, which leaves its row and column out.
  u = jnp.where(target, 0, 1 / max(p.shape[-1] - 1, 1))
  for _ in range(iterations):
    v = q / (_times(u, gibbs) + _SMALL)
    u = p / (_times(v, gibbs.T) + _SMALL)
  moved = jnp.sum(u * _times(v, (gibbs * cost).T), axis=-1)
  return of_target + gamma * moved


def wkd_f(
  student: jax.Array,
  teacher: jax.Array,
  *,
  mean_weight: float = 2.0,
  eps: float = 1e-5,
  grid: int = 1,
) -> jax.Array:
  """WKD-F: squared Wasserstein distance of Gaussians with diagonal covariance.

  L = mean over cells of [m sum_c (mu_s - mu_t)_c^2 + sum_c (sd_s - sd_t)_c^2],
  mu and sd = sqrt(var + eps) of a channel over the places of a cell of one
  example, var unbiased; m = 1 is the distance itself. Cells are the windows of
  adaptive pooling to grid x grid (see `spatial.pool`), which overlap where the
  grid does not divide the map. The places of the two sides may differ.

  Args:
    student: maps [B, H, W, C].
    teacher: maps [B, H', W', C].
    mean_weight: m.
    eps: added to the variance.
    grid: cells along a side; static.

  Returns:
    f32 [B], squared units of the feature; 0 at equality.

  Raises:
    ValueError: a grid below 1, channels that differ, or no maps, or maps whose
      cells have one place.

  Source: Lv et al. 2024, as `wkd_l`. Weights of the term 0.08
    (grid 1, m 4) and 0.3 (grid 4, m 3) for two pairs of CIFAR-100.
  """
  if grid < 1:
    raise ValueError(f'wkd_f needs grid >= 1, not {grid}')
  sides = [_moments(numerics.f32(x), grid, eps) for x in (student, teacher)]
  (mean_s, deviation_s), (mean_t, deviation_t) = sides
  geometry.same(mean_s, mean_t)
  of_means = geometry.total((mean_s - mean_t) ** 2)
  of_deviations = geometry.total((deviation_s - deviation_t) ** 2)
  return (mean_weight * of_means + of_deviations) / grid**2


def _times(rows, matrix):
  return jnp.matmul(rows, matrix, precision='highest')


def _moments(x, grid, eps):
  """Means and deviations f32 [B, grid, grid, C] of the cells of a map."""
  if x.ndim != 4:
    raise ValueError(f'wkd_f reads maps [B, H, W, C], not {x.shape}')
  count = spatial.window_sizes(x.shape[1:3], (grid, grid))
  if count.min() < 2:
    raise ValueError(
      f'a grid of {grid} x {grid} leaves one place of a map {x.shape[1]} x '
      f'{x.shape[2]} in a cell; legal: cells of two and more'
    )
  # Around the map's own mean, so that the difference of squares keeps digits.
  middle = jnp.mean(x, axis=(1, 2), keepdims=True)
  mean = spatial.pool(x - middle, (grid, grid))
  square = spatial.pool((x - middle) ** 2, (grid, grid))
  unbiased = jnp.asarray(count / (count - 1), x.dtype)[None, ..., None]
  variance = jnp.maximum(square - mean**2, 0) * unbiased
  return mean + middle, jnp.sqrt(variance + eps)
