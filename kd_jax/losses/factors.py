"""Losses on a summary of a map: flow matrices and factors."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kd_jax.losses import features, geometry, numerics, spatial


def fsp(
  students: Sequence[jax.Array],
  teachers: Sequence[jax.Array],
  *,
  tokens: jax.Array | None = None,
) -> jax.Array:
  """Flow of solution procedure: how one layer's map turns into the next's.

  For consecutive layers i, G = mean over places of F_i F_{i+1}^T, [C, C'];
  the sum over i of mean (G_s - G_t)^2. Of two neighbors the larger map is
  pooled first. Built per example is [C, C'] for each i.

  Args:
    students: two maps or more, [B, H, W, C].
    teachers: as many, each with the same number of channels.
    tokens: f32 [B, L], 1 at real ones, for features of text [B, L, C] that are
      0 at the others: those are then no places of the mean.

  Returns:
    [B], fourth power of the feature's unit. Weight 50, in an initialization
    stage.

  Raises:
    ValueError: fewer than two layers, or channels that differ.

  Source: Yim et al. 2017, "A Gift from Knowledge Distillation", eq. 1,
    https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html.
    Mean over the matrix as in RepDistiller; the paper has the sum.
  """
  geometry.pairs(students, teachers, least=2)
  value = sum(
    features.feature_mse(_flow(*s), _flow(*t))
    for s, t in zip(_neighbors(students), _neighbors(teachers))
  )
  if tokens is None:
    return value
  places = jnp.maximum(jnp.sum(tokens, axis=1), 1)
  return value * (tokens.shape[1] / places) ** 2


def factor(
  student: jax.Array, teacher: jax.Array, *, p1: float = 2, p2: float = 1
) -> jax.Array:
  """Factor transfer: distance of normalized factors.

  mean over places of |q_s - q_t|^p2, q = Q / |Q|_2, Q = vec(mean_c F_c^p1).
  The larger map is pooled first. Channels may differ.

  Args:
    student: [B, H, W, C], the translator's factor.
    teacher: [B, H', W', C'], the paraphraser's factor.
    p1: power inside; with p1 == 1 signs count.
    p2: power of the distance, at least 1.

  Returns:
    [B], no unit. Weight 200.

  Raises:
    ValueError: maps that cannot be aligned.

  Source: Kim et al. 2018, "Paraphrasing Complex Network", L_FT,
    https://arxiv.org/abs/1802.04977. RepDistiller's form, which borrows the
    spatial map of attention transfer; the paper takes the L1 (or L2) norm
    between the two whole factors, each divided by its L2 norm.
  """
  s, t = spatial.align(numerics.f32(student), numerics.f32(teacher))
  s, t = spatial.attention(s, p1), spatial.attention(t, p1)
  geometry.same(s, t)
  gap = jnp.abs(geometry.unit_gap(s, t))
  return geometry.mean(geometry.power(gap, p2))


def _neighbors(layers):
  return itertools.pairwise(layers)


def _flow(lower, upper):
  """[B, C, C']: mean over places of the products of two maps' channels."""
  lower, upper = spatial.align(numerics.f32(lower), numerics.f32(upper))
  lower, upper = geometry.positions(lower), geometry.positions(upper)
  return geometry.dot('bpc,bpd->bcd', lower, upper) / lower.shape[1]
