"""The divergences, against float64 NumPy, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import divergences, logits
from tests.helpers import reference as ref

S, T = ref.draw(0, 4, 6), ref.draw(1, 4, 6)
S32, T32 = np.float32(S), np.float32(T)


def _forward(student, temperature=1.0):
  return ref.kl(ref.probs(T, temperature), ref.probs(student, temperature))


def _reverse(student, temperature=1.0):
  return ref.kl(ref.probs(student, temperature), ref.probs(T, temperature))


def _entropy(temperature=1.0):
  return -(ref.probs(T, temperature) * ref.log_probs(T, temperature)).sum(-1)


def _jsd(student, beta, temperature=1.0):
  p, q = ref.probs(T, temperature), ref.probs(student, temperature)
  middle = beta * p + (1 - beta) * q
  return beta * ref.kl(p, middle) + (1 - beta) * ref.kl(q, middle)


def test_forward_kl():
  ref.agree(
    lambda s: divergences.forward_kl(s, T32, temperature=2.0),
    lambda s: _forward(s, 2.0),
    S,
  )
  ref.agree(
    lambda s: divergences.forward_kl(s, T32, variant='cross_entropy'),
    lambda s: _forward(s) + _entropy(),
    S,
  )


def test_reverse_kl_goes_from_student_to_teacher():
  ref.agree(
    lambda s: divergences.reverse_kl(s, T32, temperature=2.0),
    lambda s: _reverse(s, 2.0),
    S,
  )


def test_reverse_kl_forgives_a_lost_mode():
  # Two equal modes; the student has one of them, and pays log 2 for it, where
  # the forward direction would ask for the log of what it gives the other.
  teacher = np.float32([[0, 0, -50]])
  student = np.float32([[0, -50, -50]])
  got = divergences.reverse_kl(student, teacher)
  np.testing.assert_allclose(got, np.log(2), rtol=1e-6)
  assert divergences.forward_kl(student, teacher)[0] > 20


@pytest.mark.parametrize('variant', ['kl', 'cross_entropy'])
def test_symmetric_kl(variant):
  extra = _entropy() if variant == 'cross_entropy' else 0
  ref.agree(
    lambda s: divergences.symmetric_kl(s, T32, mix=0.7, variant=variant),
    lambda s: 0.3 * (_forward(s) + extra) + 0.7 * _reverse(s),
    S,
  )


@pytest.mark.parametrize('beta', [0.0, 0.1, 0.5, 0.9, 1.0])
def test_generalized_jsd(beta):
  def expected(student):
    if beta == 0:
      return _forward(student, 2.0)
    if beta == 1:
      return _reverse(student, 2.0)
    return _jsd(student, beta, 2.0)

  ref.agree(
    lambda s: divergences.generalized_jsd(s, T32, beta=beta, temperature=2.0),
    expected,
    S,
  )


@pytest.mark.parametrize('beta', [0.0, 1e-3, 0.3, 0.999, 1.0])
def test_normalized_jsd(beta):
  def expected(student):
    if beta in (0.0, 1.0):
      return (_reverse if beta else _forward)(student)
    return _jsd(student, beta) / (beta * (1 - beta))

  # 1 - 0.999 is known to f32 to one part in 60,000 only.
  bound = 1e-4 if beta == 0.999 else 3e-6
  ref.agree(
    lambda s: divergences.generalized_jsd(s, T32, beta=beta, normalize=True),
    expected,
    S,
    bound,
  )


def test_normalized_jsd_is_continuous_where_the_plain_one_jumps():
  def at(beta, normalize):
    value = divergences.generalized_jsd(
      S32, T32, beta=beta, normalize=normalize
    )
    return np.asarray(value).sum()

  for end, near in ((0.0, 1e-7), (1.0, 1 - 1e-7)):
    assert abs(at(near, True) / at(end, True) - 1) < 1e-3
    assert at(near, False) / at(end, False) < 1e-3


def test_beta_is_traced_once_for_its_ends_and_its_inside():
  traces = []

  @jax.jit
  def compute(beta):
    traces.append(None)
    return divergences.generalized_jsd(S32, T32, beta=beta)

  np.testing.assert_allclose(compute(0.0), _forward(S), rtol=1e-5)
  np.testing.assert_allclose(compute(0.5), _jsd(S, 0.5), rtol=1e-5)
  np.testing.assert_allclose(compute(1.0), _reverse(S), rtol=1e-5)
  assert len(traces) == 1


def test_normalized_jsd_has_a_slope_in_beta_at_its_ends_too():
  with jax.enable_x64(True):
    s, t = jnp.asarray(S / 4), jnp.asarray(T / 4)

    @jax.jit
    @jax.value_and_grad
    def total(beta):
      value = divergences.generalized_jsd(s, t, beta=beta, normalize=True)
      return value.sum()

    for beta in (0.0, 0.25, 1.0):
      low, high = max(beta - 1e-6, 0.0), min(beta + 1e-6, 1.0)
      expected = (total(high)[0] - total(low)[0]) / (high - low)
      assert abs(total(beta)[1] / expected - 1) < 1e-4


def test_generalized_jsd_of_sure_networks_is_finite():
  sure = 1e4 * np.eye(4, 6, dtype=np.float32)
  student = np.concatenate([sure, sure, 0 * sure])
  teacher = np.concatenate([-sure, sure, sure])

  @jax.jit
  @jax.value_and_grad
  def total(student, beta):
    plain, normal = (
      divergences.generalized_jsd(student, teacher, beta=beta, normalize=n)
      for n in (False, True)
    )
    return plain.sum() + normal.sum()

  for beta in (0.0, 1e-30, 1e-6, 0.5, 1 - 1e-6, 1.0):
    value, gradient = total(student, beta)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_js():
  ref.agree(
    lambda s: divergences.js(s, T32, mix=0.8), lambda s: _jsd(s, 0.2), S
  )


def test_js_is_symmetric_and_bounded_at_one_half():
  got = divergences.js(S32, T32, mix=0.5)
  swapped = divergences.js(T32, S32, mix=0.5)
  np.testing.assert_allclose(got, swapped, rtol=1e-5)
  sure = 1e4 * np.eye(2, 6, dtype=np.float32)
  worst = divergences.js(sure, sure[::-1], mix=0.5)
  np.testing.assert_allclose(worst, np.log(2), rtol=1e-6)
  for end in (0.0, 1.0):
    np.testing.assert_array_equal(divergences.js(S32, T32, mix=end), 0)


def _skewed(p, q, skew):
  return ref.kl(p, skew * p + (1 - skew) * q)


def test_skew_kl():
  p = ref.probs(T)
  ref.agree(
    lambda s: divergences.skew_kl(s, T32),
    lambda s: _skewed(p, ref.probs(s), 0.1),
    S,
  )
  ref.agree(
    lambda s: divergences.skew_kl(s, T32, skew=0.4, variant='cross_entropy'),
    lambda s: _skewed(p, ref.probs(s), 0.4) + _entropy(),
    S,
  )


def test_skew_reverse_kl():
  ref.agree(
    lambda s: divergences.skew_reverse_kl(s, T32, skew=0.2),
    lambda s: _skewed(ref.probs(s), ref.probs(T), 0.2),
    S,
  )


@pytest.mark.parametrize(
  'loss,limit',
  [(divergences.skew_kl, _forward), (divergences.skew_reverse_kl, _reverse)],
)
def test_skew_from_the_kl_to_nothing(loss, limit):
  np.testing.assert_allclose(loss(S32, T32, skew=0.0), limit(S), rtol=1e-5)
  values, gradient = ref.value_and_slope(lambda s: loss(s, T32, skew=1.0), S)
  np.testing.assert_array_equal(values, 0)
  np.testing.assert_array_equal(gradient, 0)


def test_tv():
  ref.agree(
    lambda s: divergences.tv(s, T32, temperature=2.0),
    lambda s: np.abs(ref.probs(s, 2.0) - ref.probs(T, 2.0)).sum(-1) / 2,
    S,
  )


def test_tv_obeys_pinsker():
  distance = np.asarray(divergences.tv(S32, T32))
  assert np.all((distance > 0) & (distance < 1))
  assert np.all(distance**2 <= _forward(S) / 2)


def test_t_squared_keeps_the_size_of_the_gradient():
  got = divergences.forward_kl(S32, T32, temperature=4.0, t_squared=True)
  np.testing.assert_allclose(got, logits.kd(S32, T32), rtol=1e-6)
  losses = (
    divergences.forward_kl,
    divergences.reverse_kl,
    divergences.symmetric_kl,
    divergences.generalized_jsd,
    divergences.js,
    divergences.skew_kl,
    divergences.skew_reverse_kl,
  )
  for loss in losses:
    plain, scaled = (
      loss(S32, T32, temperature=3.0, t_squared=t) for t in (False, True)
    )
    np.testing.assert_allclose(scaled, 9 * plain, rtol=1e-6)
