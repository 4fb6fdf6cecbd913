"""Which rotated images are kept, and what does not count."""

import numpy as np
import pytest

from kd_jax.losses import logits, rotations
from tests.helpers import reference as ref

S, T = (np.float32(ref.draw(i, 3, 4, 5)) for i in range(2))
LABELS = np.array([1, 0, 4])
ALL = np.ones(3, bool)


def _ranked(ranks) -> np.ndarray:
  """Teacher's logits [3, 4, 5] in which the label has these ranks [3, 3]."""
  teacher = np.zeros((3, 4, 5), np.float32)
  for i, label in enumerate(LABELS):
    others = [k for k in range(5) if k != label]
    for j, rank in enumerate(ranks[i]):
      teacher[i, j + 1, label] = 1
      teacher[i, j + 1, others[:rank]] = 2
  return teacher


@pytest.mark.parametrize(
  'ratio, kept',
  [
    (0.0, [[1, 0, 0], [1, 0, 0], [0, 0, 1]]),
    (0.4, [[1, 1, 0], [1, 1, 0], [0, 0, 1]]),
    (1.0, [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
  ],
)
def test_the_right_ones_and_the_least_wrong_are_kept(ratio, kept):
  teacher = _ranked([[0, 1, 3], [0, 1, 2], [4, 3, 0]])
  got = rotations.transformed(S, teacher, LABELS, ALL, ratio=ratio)
  each = logits.kd(S[:, 1:], teacher[:, 1:], temperature=4.0)
  want = (np.array(kept) * each).sum(1) * 3 / np.sum(kept)
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_nothing_kept_is_no_loss():
  teacher = _ranked([[1, 1, 1]] * 3)
  got = rotations.transformed(S, teacher, LABELS, ALL, ratio=0.1)
  np.testing.assert_array_equal(got, 0)


def test_an_example_that_does_not_count_changes_nothing():
  valid = np.array([True, True, False])
  few = valid[:2]
  got = rotations.contrasted(S, T, valid)
  want = rotations.contrasted(S[:2], T[:2], few)
  np.testing.assert_allclose(got[:2], want, rtol=1e-5)
  got = rotations.transformed(S, T, LABELS, valid, ratio=0.5)
  want = rotations.transformed(S[:2], T[:2], LABELS[:2], few, ratio=0.5)
  np.testing.assert_allclose(got[:2], want, rtol=1e-5)
  got = rotations.contrast(T, valid)
  np.testing.assert_allclose(got[:2], rotations.contrast(T[:2], few), rtol=1e-5)


def test_contrast_is_least_where_rotations_are_their_image():
  own = np.repeat(10 * np.eye(3, 6, dtype=np.float32)[:, None], 4, axis=1)
  least = -np.log(np.e / (np.e + 2))
  np.testing.assert_allclose(rotations.contrast(own, ALL), least, rtol=1e-5)
  assert (rotations.contrast(S, ALL) > least).all()


def test_equal_sides_have_no_loss():
  for got in (
    rotations.contrasted(T, T, ALL),
    rotations.transformed(T, T, LABELS, ALL),
  ):
    np.testing.assert_allclose(got, 0, atol=1e-6)
