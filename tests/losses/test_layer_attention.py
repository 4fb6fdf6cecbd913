"""Attention over layers: that it weighs, and what it weighs."""

import numpy as np
import pytest

from kd_jax.losses import layer_attention
from tests.helpers import reference as ref

B, D = 3, 2
MAPS = [np.float32(ref.draw(i, B, 2, 2, 4)) for i in range(3)]
SMALL = np.float32(ref.draw(4, B, 2, 2, 3))


def _maps_apart(x, y):
  return ((np.float64(x) - y) ** 2).mean((1, 2, 3))


def test_semckd_moves_to_the_layer_that_a_query_points_at():
  students, teachers = [[MAPS[0], MAPS[0]]], [[MAPS[1], MAPS[2]]]
  query = [np.tile(np.float32([[2, 0]]), (B, 1))]
  keys = [np.tile(np.float32(k), (B, 1)) for k in ([[3, 0]], [[0, 1]])]
  got = layer_attention.semckd(students, teachers, query, keys, sharpness=0.5)
  share = 1 / (1 + np.exp(-2))  # cosines 1 and 0, over 0.5
  want = share * _maps_apart(MAPS[0], MAPS[1])
  want += (1 - share) * _maps_apart(MAPS[0], MAPS[2])
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_similarity_is_the_gram_matrix_of_flattened_maps():
  flat = MAPS[0].reshape(B, -1)
  got = layer_attention.similarity(MAPS[0])
  np.testing.assert_allclose(got, flat @ flat.T, rtol=1e-5)


def _activity(x):
  v = (np.float64(x) ** 2).mean(-1).reshape(B, -1)
  return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_afd_is_the_mean_over_layers_where_attention_sees_nothing():
  nothing = (
    np.zeros((B, 1, D), np.float32),
    np.zeros((B, 2, 1, D), np.float32),
    np.zeros((1, D), np.float32),
    np.zeros((2, D), np.float32),
  )
  got = layer_attention.afd(MAPS[:2], [SMALL], *nothing)
  each = [((_activity(x) - _activity(SMALL)) ** 2).mean(1) for x in MAPS[:2]]
  np.testing.assert_allclose(got, np.mean(each, axis=0), rtol=1e-5)
  alone = layer_attention.afd([SMALL, SMALL], [SMALL], *nothing)
  np.testing.assert_allclose(alone, 0, atol=1e-7)


def test_afd_refuses_a_teacher_of_one_place():
  with pytest.raises(ValueError, match='one place'):
    layer_attention.afd(
      MAPS[:1], [SMALL[:, :1, :1]], np.ones((B, 1, D), np.float32),
      np.ones((B, 1, 1, D), np.float32), np.ones((1, D), np.float32),
      np.ones((1, D), np.float32),
    )  # fmt: skip
