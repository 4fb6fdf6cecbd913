"""USKD: the paper's ranks, and what its labels are."""

import jax
import numpy as np
import pytest

from kd_jax.losses import teacher_free
from tests.helpers import reference as ref

S, W = ref.draw(0, 4, 6, scale=2.0), ref.draw(1, 4, 6, scale=2.0)
S32, W32 = np.float32(S), np.float32(W)
LABELS = np.array([0, 3, 5, 3])
ROWS = np.arange(4)


def _paper(student):
  """alpha 1, beta 1, mu 0; the detached parts are of S."""
  p, w = ref.probs(S), ref.probs(W)
  hit = p[ROWS, LABELS]
  wanted = hit**2 + 1 - (hit**2).mean()
  value = -wanted * ref.log_probs(student)[ROWS, LABELS]
  for i, label in enumerate(LABELS):
    score = w[i] / (1 - w[i, label] + 1e-6) + p[i] / (1 - p[i, label] + 1e-6)
    rank = 1 + np.argsort(np.argsort(-score))
    others = np.arange(6) != label
    target = (1 / rank[others]) / (1 / rank[others]).sum()
    value[i] -= (target * ref.log_probs(student[i, others])).sum()
  return value


def test_the_papers_ranks():
  ref.agree(
    lambda s: teacher_free.uskd(
      s, W32, LABELS, beta=1.0, mu=0.0, variant='paper'
    ),
    _paper,
    S,
  )


def test_the_weak_classifier_learns_smoothed_labels():
  def of_weak(w):
    return teacher_free.uskd(S32, w, LABELS, alpha=0.0, beta=0.0, mu=1.0).sum()

  target = 0.9 * np.eye(6)[LABELS] + 0.1 / 6
  np.testing.assert_allclose(
    jax.grad(of_weak)(W32), ref.probs(W) - target, atol=1e-6
  )

  def by_ranks(w):
    return teacher_free.uskd(S32, w, LABELS, mu=0.0).sum()

  assert not np.any(jax.grad(by_ranks)(W32))


def test_a_soft_label_of_one_class_is_a_hard_one():
  """But for the second largest, which then has no value, yet is no other."""
  hot = np.float32(np.eye(6)[LABELS])
  options = {'beta': 0.0, 'mu': 0.3}
  np.testing.assert_allclose(
    teacher_free.uskd(S32, W32, hot, **options),
    teacher_free.uskd(S32, W32, LABELS, **options),
    rtol=1e-6,
  )


def test_another_variant_is_refused():
  with pytest.raises(ValueError, match='known: code, paper'):
    teacher_free.uskd(S32, W32, LABELS, variant='x')
