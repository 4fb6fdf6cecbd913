"""Cross-entropy, Hinton's loss and their kin, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import logits
from tests.helpers import reference as ref

S, T = ref.draw(0, 5, 7), ref.draw(1, 5, 7)
S32, T32 = np.float32(S), np.float32(T)
LABELS = np.array([0, 3, 6, 3, 1], np.int32)
ROWS = np.arange(5)


def _kd(student, temperature):
  p, q = ref.probs(T, temperature), ref.probs(student, temperature)
  return temperature**2 * ref.kl(p, q)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_cross_entropy(smoothing):
  target = (1 - smoothing) * np.eye(7)[LABELS] + smoothing / 7
  ref.agree(
    lambda s: logits.cross_entropy(s, LABELS, smoothing=smoothing),
    lambda s: -(target * ref.log_probs(s)).sum(-1),
    S,
  )
  soft = logits.cross_entropy(S32, np.float32(target))
  hard = logits.cross_entropy(S32, LABELS, smoothing=smoothing)
  np.testing.assert_allclose(soft, hard, rtol=1e-6)


def test_cross_entropy_of_labels_to_ignore_is_finite():
  labels = np.array([0, -100, 6, 7, -1], np.int32)
  ref.finite(lambda s: logits.cross_entropy(s, labels, smoothing=0.1), S32)


def test_cross_entropy_allows_classes_that_are_ruled_out():
  student = S32.copy()
  student[:, 5] = -np.inf
  got = logits.cross_entropy(student, LABELS)
  kept = np.delete(S, 5, axis=1)
  expected = -ref.log_probs(kept)[ROWS, LABELS - (LABELS > 5)]
  np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 4.0, 20.0])
def test_kd(temperature):
  ref.agree(
    lambda s: logits.kd(s, T32, temperature=temperature),
    lambda s: _kd(s, temperature),
    S,
  )


def test_kd_gradient_is_t_times_the_difference():
  got = jax.grad(lambda s: logits.kd(s, T32).mean())(S32)
  expected = 4.0 * (ref.probs(S, 4.0) - ref.probs(T, 4.0)) / len(S)
  assert ref.apart(got, expected) < 1e-6


def test_kd_tends_to_matching_of_centered_logits():
  gap = (S - T) - (S - T).mean(-1, keepdims=True)
  got = jax.grad(lambda s: logits.kd(s, T32, temperature=1e3).sum())(S32)
  assert ref.apart(got, gap / 7) < 0.01
  value = logits.kd(S32, T32, temperature=1e3)
  assert ref.apart(value, (gap**2).mean(-1) / 2) < 0.01


def test_kd_keeps_the_digits_of_a_small_loss():
  # A sum of p (log p - log q) is off by a few percent here, or negative.
  student = T + ref.draw(2, 5, 7, scale=0.01)
  student = np.float32(student).astype(np.float64)
  got = logits.kd(np.float32(student), T32, temperature=20.0)
  assert np.all(got > 0)
  assert ref.apart(got, _kd(student, 20.0)) < 1e-3


def test_kd_does_not_depend_on_the_number_of_classes():
  # The 'mean' of common code divides by K: a scale that the classes set.
  def widen(z):
    return np.concatenate([z, np.full((5, 93), -1e4, np.float32)], axis=1)

  got = logits.kd(widen(S32), widen(T32))
  np.testing.assert_allclose(got, logits.kd(S32, T32), rtol=1e-6)


def test_kd_takes_a_temperature_for_each_prediction():
  each = np.array([1.0, 2.0, 4.0, 8.0, 16.0], np.float32)
  got = logits.kd(S32, T32, temperature=each)
  for i, temperature in enumerate(each):
    one = logits.kd(S32[i], T32[i], temperature=temperature)
    np.testing.assert_allclose(got[i], one, rtol=1e-6)


def test_kd_allows_classes_that_the_teacher_rules_out():
  teacher = np.where(np.arange(7) == 3, -np.inf, T32)
  ref.finite(lambda s: logits.kd(s, teacher), S32)
  p, q = ref.probs(np.delete(T, 3, 1), 4.0), ref.probs(S, 4.0)
  expected = 16 * ref.kl(p, np.delete(q, 3, 1))
  np.testing.assert_allclose(logits.kd(S32, teacher), expected, rtol=1e-5)


def test_standardize():
  got = np.asarray(logits.standardize(S32))
  np.testing.assert_allclose(got.mean(-1), 0, atol=1e-6)
  np.testing.assert_allclose(got.std(-1, ddof=1), 1, rtol=1e-6)
  ref.finite(logits.standardize, np.ones((2, 4), np.float32))


def test_lskd():
  def z_score(z):
    spread = z.std(-1, ddof=1, keepdims=True)
    return (z - z.mean(-1, keepdims=True)) / (spread + 1e-7)

  def expected(student):
    return 4 * ref.kl(ref.probs(z_score(T), 2), ref.probs(z_score(student), 2))

  ref.agree(lambda s: logits.lskd(s, T32), expected, S)


def test_lskd_sees_neither_scale_nor_shift():
  scale = np.array([[0.1], [1], [2], [5], [50]], np.float32)
  moved = S32 * scale + 3 * scale[::-1]
  np.testing.assert_allclose(
    logits.lskd(moved, T32), logits.lskd(S32, T32), rtol=1e-4
  )
  np.testing.assert_allclose(logits.lskd(moved, S32), 0, atol=1e-5)


def test_logit_mse():
  ref.agree(
    lambda s: logits.logit_mse(s, T32), lambda s: ((s - T) ** 2).mean(-1), S
  )


def test_ttm():
  power = ref.probs(T) ** (1 / 3)
  total = power.sum(-1)
  tempered = power / total[:, None]

  def plain(student):
    return ref.kl(tempered, ref.probs(student))

  ref.agree(lambda s: logits.ttm(s, T32, temperature=3.0), plain, S)
  ref.agree(
    lambda s: logits.ttm(s, T32, temperature=3.0, variant='wttm'),
    lambda s: total * plain(s),
    S,
  )


@pytest.mark.parametrize('variant', ['ttm', 'wttm'])
def test_ttm_at_temperature_one_is_kd(variant):
  got = logits.ttm(S32, T32, temperature=1.0, variant=variant)
  np.testing.assert_allclose(
    got, logits.kd(S32, T32, temperature=1.0), rtol=1e-5
  )


def _wsld_weight():
  ce_s = -ref.log_probs(S)[ROWS, LABELS]
  ce_t = -ref.log_probs(T)[ROWS, LABELS]
  return 1 - np.exp(-ce_s / (ce_t + 1e-7))


def test_wsld():
  soft = -4 * (ref.probs(T, 2) * ref.log_probs(S, 2)).sum(-1)
  got = logits.wsld(S32, T32, LABELS)
  assert ref.apart(got, _wsld_weight() * soft) < 1e-6
  got = logits.wsld(S32, T32, LABELS, variant='kl')
  assert ref.apart(got, _wsld_weight() * _kd(S, 2.0)) < 1e-6


@pytest.mark.parametrize('variant', ['kl', 'cross_entropy'])
def test_wsld_does_not_train_through_its_weight(variant):
  def total(student):
    return logits.wsld(student, T32, LABELS, variant=variant).sum()

  gap = ref.probs(S, 2.0) - ref.probs(T, 2.0)
  expected = _wsld_weight()[:, None] * 2 * gap
  assert ref.apart(jax.grad(total)(S32), expected) < 1e-5


def test_gradient_reversal_under_one_compilation():
  traces = []

  @jax.jit
  def gradient(temperature, strength):
    traces.append(None)

    def total(temperature):
      turned = logits.gradient_reversal(temperature, strength)
      return logits.kd(S32, T32, temperature=turned).sum()

    return jax.value_and_grad(total)(temperature)

  step = 1e-5
  slope = (_kd(S, 4 + step) - _kd(S, 4 - step)).sum() / (2 * step)
  for strength in (0.0, 0.3, 1.0):
    value, got = gradient(4.0, strength)
    np.testing.assert_allclose(value, _kd(S, 4.0).sum(), rtol=1e-6)
    np.testing.assert_allclose(got, -strength * slope, rtol=1e-4)
  assert len(traces) == 1


def test_gradient_reversal_keeps_the_type():
  x = jnp.ones(3, jnp.bfloat16)
  got = jax.grad(lambda x: logits.gradient_reversal(x, 0.5).sum())(x)
  assert got.dtype == jnp.bfloat16
  np.testing.assert_array_equal(got.astype(np.float32), -0.5)


def test_an_unknown_variant_names_the_near_one():
  with pytest.raises(ValueError, match="'wtm'; did you mean 'wttm'"):
    logits.ttm(S32, T32, variant='wtm')
