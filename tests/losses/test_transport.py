"""Wasserstein losses: the plan, the costs, and Gaussians of maps."""

import numpy as np
import pytest

from kd_jax.losses import transport
from tests.helpers import reference as ref

S, T = ref.draw(0, 5, 6), ref.draw(1, 5, 6)
S32, T32 = np.float32(S), np.float32(T)
LABELS = np.array([0, 3, 5, 3, 1], np.int32)
KERNEL = np.float32(ref.draw(2, 4, 6))
COST = np.asarray(transport.class_costs(KERNEL))
MAPS = [ref.draw(3 + i, 3, 4, 4, 2) for i in range(2)]


def _transport(student, teacher, label, temperature, eta, iterations):
  """<F, c> of one example, its class cut out of all arrays."""
  keep = np.arange(6) != label
  p, q = (ref.probs(z[keep], temperature) for z in (student, teacher))
  cost = np.maximum(COST.astype(np.float64), 0)[np.ix_(keep, keep)] + 1e-8
  gibbs, u = np.exp(-cost / eta), np.full(5, 1 / 5)
  for _ in range(iterations):
    v = q / (gibbs.T @ u + 1e-8)
    u = p / (gibbs @ v + 1e-8)
  flow = u[:, None] * gibbs * v
  np.testing.assert_allclose(flow.sum(1), p, rtol=1e-4)
  return (flow * cost).sum()


def _wkd_l(student, gamma):
  rows = np.arange(5), LABELS
  hit = -ref.probs(T)[rows] * ref.log_probs(student)[rows]
  moved = [
    _transport(s, t, y, 3.0, 0.2, 8) for s, t, y in zip(student, T, LABELS)
  ]
  return hit + gamma * np.array(moved)


def test_wkd_l_leaves_the_target_out_of_the_plan():
  ref.agree(
    lambda s: transport.wkd_l(
      s, T32, LABELS, COST, temperature=3.0, gamma=5.0, regularization=0.2,
      iterations=8,
    ),
    lambda s: _wkd_l(s, 5.0),
    S,
  )  # fmt: skip


def test_a_nearer_class_costs_less_to_move_to():
  cost = np.ones((6, 6), np.float32) - np.eye(6, dtype=np.float32)
  cost[1, 2] = cost[2, 1] = 0.1
  teacher = np.float32([[0, 9, 0, 0, 0, 0]])
  near, far = np.float32([[0, 0, 9, 0, 0, 0]]), np.float32([[0, 0, 0, 9, 0, 0]])
  options = {'temperature': 1.0, 'gamma': 1.0, 'regularization': 0.1}
  label = np.array([0])
  of_near, of_far = (
    transport.wkd_l(s, teacher, label, cost, **options) for s in (near, far)
  )
  assert float(of_near[0]) < float(of_far[0]) - 0.5


def test_class_costs():
  columns = KERNEL / np.linalg.norm(KERNEL, axis=0)
  distance = 1 - columns.T @ columns
  got = transport.class_costs(KERNEL, sharpen=0.0)
  np.testing.assert_allclose(got, distance, atol=1e-6)
  got = transport.class_costs(KERNEL, sharpen=2.0)
  np.testing.assert_allclose(got, 1 - np.exp(-2 * distance), atol=1e-6)


def _wkd_f(student, weight):
  total = 0
  for moment, factor in ((np.mean, weight), (_deviation, 1)):
    gap = moment(student, axis=(1, 2)) - moment(MAPS[1], axis=(1, 2))
    total = total + factor * (gap**2).sum(-1)
  return total


def _deviation(x, axis):
  return np.sqrt(x.var(axis, ddof=1) + 1e-5)


def test_wkd_f_is_the_distance_of_gaussians():
  ref.agree(
    lambda s: transport.wkd_f(s, np.float32(MAPS[1]), mean_weight=3.0),
    lambda s: _wkd_f(s, 3.0),
    MAPS[0],
  )


def test_wkd_f_keeps_digits_far_from_zero():
  near, far = (
    transport.wkd_f(*(np.float32(x + shift) for x in MAPS), grid=2)
    for shift in (0.0, 100.0)
  )
  np.testing.assert_allclose(far, near, rtol=1e-3)


def test_wkd_f_compares_maps_of_other_sizes():
  small, large = np.float32(MAPS[0][:, :2]), np.float32(MAPS[1])
  assert transport.wkd_f(small, large).shape == (3,)


@pytest.mark.parametrize(
  'shapes, grid, message',
  [
    (((2, 4, 4, 3), (2, 4, 4, 2)), 1, 'differ in shape'),
    (((2, 3), (2, 3)), 1, 'reads maps'),
    (((2, 4, 4, 3), (2, 4, 4, 3)), 4, 'one place of a map 4 x 4'),
    (((2, 4, 4, 3), (2, 4, 4, 3)), 0, 'grid >= 1'),
  ],
)
def test_wkd_f_refuses(shapes, grid, message):
  with pytest.raises(ValueError, match=message):
    transport.wkd_f(*(np.ones(s, np.float32) for s in shapes), grid=grid)
