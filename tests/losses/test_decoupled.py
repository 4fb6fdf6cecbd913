"""Losses that tell classes apart, against float64 NumPy and their laws."""

import itertools

import numpy as np
import pytest

from kd_jax.losses import decoupled, logits
from tests.helpers import reference as ref

S, T = ref.draw(0, 5, 7), ref.draw(1, 5, 7)
S32, T32 = np.float32(S), np.float32(T)
LABELS = np.array([0, 3, 6, 3, 1], np.int32)
HOT = np.eye(7, dtype=bool)[LABELS]


def _others(z, temperature):
  """softmax over the classes other than the label's [B, K - 1]."""
  return ref.probs(z[~HOT].reshape(5, 6), temperature)


def _tckd(student, temperature):
  p, q = ref.probs(T, temperature)[HOT], ref.probs(student, temperature)[HOT]
  return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def _nckd(student, temperature):
  return ref.kl(_others(T, temperature), _others(student, temperature))


@pytest.mark.parametrize('alpha,beta,temperature', [(1, 8, 4), (0.5, 2, 1)])
def test_dkd(alpha, beta, temperature):
  def expected(student):
    both = alpha * _tckd(student, temperature)
    return temperature**2 * (both + beta * _nckd(student, temperature))

  hparams = {'alpha': alpha, 'beta': beta, 'temperature': temperature}
  ref.agree(lambda s: decoupled.dkd(s, T32, LABELS, **hparams), expected, S)


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_kd_is_the_target_and_the_others(temperature):
  def part(**weights):
    return decoupled.dkd(S32, T32, LABELS, temperature=temperature, **weights)

  miss = 1 - ref.probs(T, temperature)[HOT]
  got = part(alpha=1.0, beta=0.0) + miss * part(alpha=0.0, beta=1.0)
  whole = logits.kd(S32, T32, temperature=temperature)
  np.testing.assert_allclose(got, whole, rtol=1e-5)


def test_dkd_of_a_sure_network():
  # log(softmax) is -inf here, for the target or for all of the others.
  student = np.float32([[200, 0, 0], [-200, 0, 1]])
  teacher = np.float32([[-150, 2, 0], [150, 1, 0]])
  labels = np.array([0, 0], np.int32)
  got = decoupled.dkd(
    student, teacher, labels, alpha=1.0, beta=0.0, temperature=1.0
  )
  # 1 - p_s is 2 e^-200 for the first, p_s about e^-201 (1 + 1/e) for the other.
  expected = [200 - np.log(2), 200 + np.log(1 + np.e)]
  np.testing.assert_allclose(got, expected, rtol=1e-6)
  ref.finite(lambda s: decoupled.dkd(s, teacher, labels), student)


def test_nkd():
  def expected(student):
    target = -ref.probs(T)[HOT] * ref.log_probs(student)[HOT]
    q_t, q_s = _others(T, 2.0), _others(student, 2.0)
    return target - 0.5 * 4 * (q_t * np.log(q_s)).sum(-1)

  ref.agree(
    lambda s: decoupled.nkd(s, T32, LABELS, temperature=2.0, gamma=0.5),
    expected,
    S,
  )


def test_nkd_has_no_temperature_in_its_target_term():
  hot = decoupled.nkd(S32, T32, LABELS, temperature=9.0, gamma=0.0)
  cold = decoupled.nkd(S32, T32, LABELS, temperature=1.0, gamma=0.0)
  np.testing.assert_array_equal(hot, cold)


@pytest.mark.parametrize('variant', ['code', 'paper'])
def test_ofa(variant):
  p = ref.probs(T)
  weight = p**1.5 if variant == 'code' else p.copy()
  weight[HOT] = (1 + p[HOT]) ** 1.5 - 1
  ref.agree(
    lambda s: decoupled.ofa(s, T32, LABELS, eps=1.5, variant=variant),
    lambda s: -(weight * ref.log_probs(s)).sum(-1),
    S,
  )


@pytest.mark.parametrize('variant', ['code', 'paper'])
def test_ofa_without_power_is_cross_entropy(variant):
  got = decoupled.ofa(S32, T32, LABELS, eps=1.0, variant=variant)
  expected = logits.cross_entropy(S32, np.float32(ref.probs(T)))
  np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize('loss', [decoupled.dkd, decoupled.nkd, decoupled.ofa])
def test_soft_labels_count_by_their_largest_class(loss):
  soft = np.float32(0.7 * HOT + 0.3 / 7)
  got = loss(S32, T32, soft)
  np.testing.assert_array_equal(got, loss(S32, T32, LABELS))


def _bins(z, k, temperature):
  """p at the teacher's k largest, and the rest."""
  top = np.argsort(-T, axis=-1)[:, :k]
  kept = np.take_along_axis(ref.probs(z, temperature), top, axis=-1)
  return np.concatenate([kept, 1 - kept.sum(-1, keepdims=True)], axis=-1)


@pytest.mark.parametrize('k', [1, 3, 6])
def test_topk_kd(k):
  ref.agree(
    lambda s: decoupled.topk_kd(s, T32, k=k, temperature=2.0),
    lambda s: 4 * ref.kl(_bins(T, k, 2.0), _bins(s, k, 2.0)),
    S,
  )


def test_topk_kd_renormalized():
  def expected(student):
    p, q = (_bins(z, 3, 4.0)[:, :3] for z in (T, student))
    p, q = (x / x.sum(-1, keepdims=True) for x in (p, q))
    return 16 * ref.kl(p, q)

  ref.agree(
    lambda s: decoupled.topk_kd(s, T32, k=3, variant='renormalize'), expected, S
  )


def test_topk_kd_rises_with_k_up_to_kd():
  values = [decoupled.topk_kd(S32, T32, k=k) for k in (1, 3, 6, 7)]
  whole = logits.kd(S32, T32)
  np.testing.assert_array_equal(values[-1], whole)
  np.testing.assert_array_equal(decoupled.topk_kd(S32, T32, k=99), whole)
  for less, more in itertools.pairwise(values):
    assert np.all(less <= more * (1 + 1e-5))


def test_topk_kd_is_its_tail_and_its_top():
  p, q = _bins(T, 3, 4.0), _bins(S, 3, 4.0)
  tails = [np.stack([x[:, -1], 1 - x[:, -1]], -1) for x in (p, q)]
  top = decoupled.topk_kd(S32, T32, k=3, variant='renormalize')
  expected = 16 * ref.kl(*tails) + (1 - p[:, -1]) * np.asarray(top)
  got = decoupled.topk_kd(S32, T32, k=3)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_topk_kd_punishes_mass_outside_the_top_only_with_its_tail():
  # Right proportions in the top two, but most of the mass elsewhere.
  teacher = np.float32([[3, 2, -9, -9]])
  student = np.float32([[3, 2, 6, 6]])
  tail = decoupled.topk_kd(student, teacher, k=2, temperature=1.0)
  assert tail[0] > 3
  blind = decoupled.topk_kd(
    student, teacher, k=2, temperature=1.0, variant='renormalize'
  )
  assert blind[0] < 1e-6


def test_topk_kd_counts_ties_once():
  teacher = np.zeros((2, 6), np.float32)
  got = decoupled.topk_kd(S32[:2, :6], teacher, k=3, temperature=1.0)
  q = ref.probs(S[:2, :6])
  q = np.concatenate([q[:, :3], q[:, 3:].sum(-1, keepdims=True)], axis=-1)
  p = np.array([[1 / 6, 1 / 6, 1 / 6, 1 / 2]])
  np.testing.assert_allclose(got, ref.kl(p, q), rtol=1e-5)


def test_topk_kd_refuses_no_classes():
  with pytest.raises(ValueError, match='k >= 1, not 0'):
    decoupled.topk_kd(S32, T32, k=0)


def test_labels_to_ignore_are_finite():
  labels = np.array([-100, 7, -1, 3, 0], np.int32)
  for loss in (decoupled.dkd, decoupled.nkd, decoupled.ofa):
    ref.finite(lambda s, loss=loss: loss(s, T32, labels), S32)


def test_topk_gradient_reaches_every_class():
  _, gradient = ref.value_and_slope(lambda s: decoupled.topk_kd(s, T32, k=2), S)
  assert np.all(np.asarray(gradient) != 0)


def _rld(student, temperature, sure):
  """T^2 MCD + T'^2 SCD, `sure` the T' of the latter."""
  value = np.zeros(5)
  for i, label in enumerate(LABELS):
    p, q = ref.probs(T[i], sure).max(), ref.probs(student[i], sure)[label]
    pairs = np.array([[p, 1 - p], [q, 1 - q]])
    value[i] = sure**2 * ref.kl(*pairs)
    kept = T[i] < T[i, label]
    if kept.any():
      sides = (ref.probs(z[i, kept], temperature) for z in (T, student))
      value[i] += temperature**2 * ref.kl(*sides)
  return value


def test_rld():
  options = {'beta': 1.0, 'temperature': 3.0, 'alpha_temperature': 2.0}
  ref.agree(
    lambda s: decoupled.rld(s, T32, LABELS, **options),
    lambda s: _rld(s, 3.0, 2.0),
    S,
  )


def test_rld_does_not_teach_what_a_wrong_teacher_holds_for_likelier():
  teacher = np.float32([[3, 5, 2, 0, -1]])
  student = np.float32([[0.0, 1.0, 0.5, -0.5, 0.2]])
  label = np.array([0])
  values = [
    decoupled.rld(np.float32(student + [[0, x, 0, 0, 0]]), teacher, label,
                  alpha=0.0)
    for x in (0.0, 4.0)
  ]  # fmt: skip
  np.testing.assert_allclose(*values, rtol=1e-5)


def test_rld_of_a_label_that_the_teacher_likes_least():
  teacher = np.float32([[-3, 5, 2, 0, -1]])
  student = np.zeros((1, 5), np.float32)
  value = decoupled.rld(student, teacher, np.array([0]), alpha=0.0)
  np.testing.assert_array_equal(value, 0)
  ref.finite(lambda s: decoupled.rld(s, teacher, np.array([0])), student)
