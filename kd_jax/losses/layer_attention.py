"""Losses that choose by attention which layers of the student learn from which.

All pairs of a student's and a teacher's layer are compared; the attention that
weighs them is learned, and is part of the gradient.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kd_jax.losses import features, geometry, numerics, spatial


def similarity(x: jax.Array) -> jax.Array:
  """Products of all pairs of examples' flattened maps: [B, ...] -> [B, B]."""
  x = numerics.f32(x)
  return geometry.gram(x.reshape(x.shape[0], -1))


def semckd(
  students: Sequence[Sequence[jax.Array]],
  teachers: Sequence[Sequence[jax.Array]],
  queries: Sequence[jax.Array],
  keys: Sequence[jax.Array],
  *,
  sharpness: float = 1.0,
) -> jax.Array:
  """Semantic calibration: each layer of the student attends to the teacher's.

  L = 1/S sum_i sum_j a_ij mean (r_ij - t_ij)^2 with a_i = softmax over j of
  <q_i, k_j> / sharpness, q and k unit rows.

  Args:
    students: S lists of T maps [B, h, w, C_j], r_ij: the student's layer i,
      projected to the channels of the teacher's layer j.
    teachers: S lists of T maps of the same shapes, the teacher's layers pooled
      to the size of layer i where that is smaller.
    queries: S arrays [B, D], of the student's layers.
    keys: T arrays [B, D], of the teacher's.
    sharpness: divisor of the products.

  Returns:
    f32 [B], squared units of the feature; 0 where all r_ij are t_ij. Weight
    400.

  Source: Chen et al. 2021, "Cross-Layer Distillation with Semantic
    Calibration", https://arxiv.org/abs/2012.03236.
  """
  q, k = (
    jnp.stack([geometry.unit(numerics.f32(x)) for x in side], axis=1)
    for side in (queries, keys)
  )
  products = geometry.dot('bsd,btd->bst', q, k)
  attention = jax.nn.softmax(
    products / jnp.asarray(sharpness, products.dtype), axis=-1
  )
  distance = jnp.stack(
    [
      jnp.stack([features.feature_mse(s, t) for s, t in zip(*row)], axis=1)
      for row in zip(students, teachers, strict=True)
    ],
    axis=1,
  )
  return jnp.sum(attention * distance, axis=(1, 2)) / len(students)


def afd(
  students: Sequence[jax.Array],
  teachers: Sequence[jax.Array],
  queries: jax.Array,
  keys: jax.Array,
  teacher_places: jax.Array,
  student_places: jax.Array,
) -> jax.Array:
  """Attention-based feature distillation: each layer of the teacher chooses.

  L = sum_t sum_s a_ts mean over places of (v_s - v_t)^2 with a_t = softmax over
  s of (<q_t, k_st> + <p_t, p_s>) / sqrt(D), and v the channels' mean square,
  pooled to the teacher's places and divided by its L2 norm.

  Args:
    students: S maps [B, H, W, C]; teachers: T maps.
    queries: [B, T, D], q of the teacher's layers.
    keys: [B, S, T, D], k of the student's layers, for each of the teacher's.
    teacher_places: [T, D], p of the teacher's layers.
    student_places: [S, D], likewise.

  Returns:
    f32 [B], no unit; 0 where all maps are active at the same places. Weight
    200 (50 for some pairs).

  Raises:
    ValueError: a teacher's map of one place.

  Source: Ji et al. 2021, "Show, Attend and Distill: Knowledge Distillation via
    Attention-based Feature Matching", https://arxiv.org/abs/2102.02973.
  """
  products = geometry.dot('btd,bstd->bts', queries, keys)
  places = geometry.dot('td,sd->ts', teacher_places, student_places)
  scores = (products + places[None]) / math.sqrt(queries.shape[-1])
  attention = jax.nn.softmax(scores, axis=-1)
  distance = jnp.stack(
    [
      jnp.stack([_places_apart(s, t) for s in students], axis=1)
      for t in teachers
    ],
    axis=1,
  )
  return jnp.sum(attention * distance, axis=(1, 2))


def _places_apart(student, teacher):
  """[B]: how differently two maps are active over the teacher's places."""
  size = teacher.shape[1:3]
  s, t = (
    spatial.pool(jnp.mean(numerics.f32(x) ** 2, axis=-1, keepdims=True), size)
    for x in (student, teacher)
  )
  s, t = (geometry.positions(x)[..., 0] for x in (s, t))
  geometry.need_places(t[..., None])
  return geometry.mean((geometry.unit(s) - geometry.unit(t)) ** 2)
