"""Laws that every loss on logits obeys, over one table of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import decoupled, divergences, logits, multilevel
from tests.helpers import reference as ref

# name -> (loss, takes labels, its float hyperparameters)
LOSSES = {
  'kd': (logits.kd, False, {'temperature': 3.0}),
  'lskd': (logits.lskd, False, {'temperature': 3.0}),
  'logit_mse': (logits.logit_mse, False, {}),
  'ttm': (logits.ttm, False, {'temperature': 3.0}),
  'wsld': (logits.wsld, True, {'temperature': 3.0}),
  'dkd': (decoupled.dkd, True, {'alpha': 2.0, 'beta': 3.0, 'temperature': 3.0}),
  'nkd': (decoupled.nkd, True, {'temperature': 3.0, 'gamma': 2.0}),
  'ofa': (decoupled.ofa, True, {'eps': 1.5, 'temperature': 3.0}),
  'topk_kd': (
    lambda s, t, **h: decoupled.topk_kd(s, t, k=3, **h),
    False,
    {'temperature': 3.0},
  ),
  'dist': (
    multilevel.dist,
    False,
    {'beta': 2.0, 'gamma': 3.0, 'temperature': 3.0},
  ),
  'mlld': (multilevel.mlld, False, {'class_weight': 2.0}),
  'forward_kl': (divergences.forward_kl, False, {'temperature': 3.0}),
  'reverse_kl': (divergences.reverse_kl, False, {'temperature': 3.0}),
  'symmetric_kl': (divergences.symmetric_kl, False, {'mix': 0.3}),
  'generalized_jsd': (
    divergences.generalized_jsd,
    False,
    {'beta': 0.3, 'temperature': 3.0},
  ),
  'js': (divergences.js, False, {'mix': 0.3, 'temperature': 3.0}),
  'skew_kl': (divergences.skew_kl, False, {'skew': 0.3}),
  'skew_reverse_kl': (divergences.skew_reverse_kl, False, {'skew': 0.3}),
  'tv': (divergences.tv, False, {'temperature': 3.0}),
}
# Least elsewhere than at equal logits, or not 0 there: their docstrings.
NOT_ZERO = ('ttm', 'wsld', 'nkd', 'ofa')
BATCHWISE = ('dist', 'mlld')

S, T = np.float32(ref.draw(0, 2, 3, 5)), np.float32(ref.draw(1, 2, 3, 5))
LABELS = np.array([[0, 4, 2], [-100, 1, 3]], np.int32)


@pytest.fixture(params=LOSSES, name='name')
def fixture_name(request):
  return request.param


@functools.cache
def _compiled(name):
  """Values, and the gradient of their sum; the hyperparameters are traced."""
  loss, labeled, _ = LOSSES[name]

  def total(student, teacher, labels, hparams):
    extra = (labels,) if labeled else ()
    values = loss(student, teacher, *extra, **hparams)
    return jnp.sum(values), values

  return jax.jit(jax.value_and_grad(total, has_aux=True))


def _both(name, student, teacher, labels=LABELS):
  (_, values), slope = _compiled(name)(
    student, teacher, labels, LOSSES[name][2]
  )
  return values, slope


def _values(name, *args):
  return np.asarray(_both(name, *args)[0])


def test_tokens_are_predictions(name):
  """[B, L, K] gives what its rows give as [B L, K]."""
  got = _values(name, S, T)
  assert got.shape == (2, 3)
  flat = _values(name, S.reshape(6, 5), T.reshape(6, 5), LABELS.reshape(6))
  np.testing.assert_allclose(got.reshape(6), flat, rtol=1e-5)


def test_low_precision_inputs_are_widened_first(name):
  """Bit for bit, op by op: a compiler may round a fused cast otherwise."""
  half_s, half_t = jnp.asarray(S, jnp.bfloat16), jnp.asarray(T, jnp.bfloat16)
  with jax.disable_jit():
    got, slope = _both(name, half_s, half_t)
    wide, _ = _both(name, *(x.astype(jnp.float32) for x in (half_s, half_t)))
  assert got.dtype == jnp.float32
  assert slope.dtype == jnp.bfloat16
  np.testing.assert_array_equal(got, wide)


def test_minimum_at_equal_logits(name):
  got = _values(name, S, S)
  if name in NOT_ZERO:
    assert np.all(got[LABELS >= 0] > 0)
  else:
    assert np.all(np.abs(got) <= 1e-6 * _values(name, S, T))


def test_sure_networks_give_finite_values_and_gradients(name):
  """Logits of +-1e4, one-hot, wrong, equal; and constant ones."""
  sure = 1e4 * np.eye(5, dtype=np.float32)
  student = [sure[0], sure[4], sure[2], -sure[1], 0 * sure[3], 0 * sure[0]]
  teacher = [sure[0], -sure[4], sure[1], sure[1], sure[3], 0 * sure[0]]
  student, teacher = (np.reshape(x, (2, 3, 5)) for x in (student, teacher))
  labels = np.array([[0, 4, 2], [1, 3, 0]], np.int32)
  values, slope = _both(name, student, teacher, labels)
  assert np.isfinite(values).all(), values
  assert np.isfinite(slope).all(), slope


def test_a_shift_of_all_logits_does_not_count(name):
  shift = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
  got, base = _values(name, S + shift, T - shift), _values(name, S, T)
  if name == 'logit_mse':
    assert np.all(np.abs(got - base).ravel()[1:] > 0.1)
  else:
    np.testing.assert_allclose(got, base, rtol=2e-5)


def test_the_order_of_the_batch_does_not_count(name):
  got = _values(name, S[::-1], T[::-1], LABELS[::-1])
  np.testing.assert_allclose(got[::-1], _values(name, S, T), rtol=1e-5)


def test_only_batchwise_losses_couple_the_examples(name):
  # The first example alone changes; the second example's value must stay.
  changed = S + np.float32([[[1], [2], [3]], [[0], [0], [0]]]) * T
  moved = _values(name, changed, T)
  stayed = _values(name, S, T)
  if name in BATCHWISE:
    assert np.all(moved[1] != stayed[1])
  else:
    np.testing.assert_array_equal(moved[1], stayed[1])


def test_double_precision_stays_double(name):
  with jax.enable_x64(True):
    student, teacher = jnp.asarray(S, 'float64'), jnp.asarray(T, 'float64')
    got, slope = _both(name, student, teacher)
    assert got.dtype == jnp.float64
    step = 1e-6 * np.where(np.arange(5) % 2, 1.0, -0.5) * np.ones((2, 3, 1))
    up, down = (_values(name, student + x, teacher) for x in (step, -step))
    expected = np.sum(up - down) / 2
    # wsld does not train through its weight, so its gradient is another.
    if name != 'wsld':
      error = abs(np.sum(slope * step) - expected)
      assert error < 1e-6 * (1e-6 + abs(expected))
  np.testing.assert_allclose(got, _values(name, S, T), rtol=2e-5)
