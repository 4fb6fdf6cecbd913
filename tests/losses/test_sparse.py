"""Teachers of which k classes or some draws are known, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import divergences, logits, sparse
from tests.helpers import reference as ref

S, T = ref.draw(0, 4, 7), ref.draw(1, 4, 7)
S32, T32 = np.float32(S), np.float32(T)


def _known(k, temperature=1.0):
  """The teacher's k largest classes, and their log probabilities."""
  classes = np.argsort(-T, axis=-1)[:, :k]
  log_p = ref.log_probs(T, temperature)
  return classes, np.float32(np.take_along_axis(log_p, classes, axis=-1))


@pytest.mark.parametrize('variant', sparse.VARIANTS)
@pytest.mark.parametrize('stored', [True, False])
def test_topk_kl(variant, stored):
  classes, log_top = _known(3)
  mass = np.exp(np.float64(log_top)).sum(-1)
  log_rest = np.float32(np.log1p(-mass)) if stored else None

  def expected(student):
    q = np.take_along_axis(ref.probs(student), classes, axis=-1)
    p = np.exp(np.float64(log_top))
    if variant == 'tail':
      p, q = (np.append(x, 1 - x.sum(-1, keepdims=True), -1) for x in (p, q))
    if variant == 'renormalize':
      q = q / q.sum(-1, keepdims=True)
    return ref.kl(p / p.sum(-1, keepdims=True), q)

  ref.agree(
    lambda s: sparse.topk_kl(
      s, log_top, classes, log_rest=log_rest, variant=variant
    ),
    expected,
    S,
  )


def test_topk_kl_of_all_classes_is_the_kl():
  classes, log_top = _known(7)
  whole = divergences.forward_kl(S32, T32)
  for variant in sparse.VARIANTS:
    got = sparse.topk_kl(S32, log_top, classes, variant=variant)
    np.testing.assert_allclose(got, whole, rtol=1e-5)


def test_with_a_tail_it_rises_with_k_up_to_the_kl():
  whole, last = divergences.forward_kl(S32, T32), np.zeros(4)
  for k in range(1, 7):
    classes, log_top = _known(k)
    value = np.asarray(sparse.topk_kl(S32, log_top, classes))
    assert np.all(value >= last - 1e-5)
    assert np.all(value <= whole + 1e-5)
    last = value


def test_renormalized_is_blind_to_mass_elsewhere_and_the_others_are_not():
  student = jnp.asarray([[3.0, 2, 6, 6]])
  log_top = ref.log_probs(np.float32([[3, 2]])).astype(np.float32)
  value = {
    variant: sparse.topk_kl(
      student, log_top, np.array([[0, 1]]), variant=variant
    )[0]
    for variant in sparse.VARIANTS
  }
  assert value['renormalize'] < 1e-6
  assert value['tail'] > 3
  assert value['renormalize_teacher'] > 3


def test_what_was_tempered_before_it_was_stored_is_exact():
  classes, log_top = _known(3, temperature=2.0)
  got = sparse.topk_kl(S32 / 2, log_top, classes)
  p, q = ref.probs(T, 2.0), ref.probs(S, 2.0)
  bins = [np.take_along_axis(x, classes, -1) for x in (p, q)]
  bins = [np.append(x, 1 - x.sum(-1, keepdims=True), -1) for x in bins]
  np.testing.assert_allclose(got, ref.kl(*bins), rtol=1e-5)


def test_a_tail_that_is_lost_in_rounding_stays_finite():
  log_top = np.float32([[0.0, -30.0]])
  tail = sparse.log_tail(log_top)
  np.testing.assert_allclose(tail, -16, rtol=1e-5)
  value, slope = jax.value_and_grad(
    lambda s: sparse.topk_kl(s, log_top, np.array([[0, 1]])).sum()
  )(jnp.asarray([[1e4, 0.0, -1e4]]))
  assert np.isfinite(value)
  assert np.isfinite(slope).all()


@pytest.mark.parametrize('beta', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('support', sparse.SUPPORTS)
def test_topk_jsd(beta, support):
  side = {'teacher': T, 'student': S}[support]
  classes = np.argsort(-side, axis=-1)[:, :3]

  def bins(z):
    p = np.take_along_axis(ref.probs(z), classes, axis=-1)
    return np.append(p, 1 - p.sum(-1, keepdims=True), axis=-1)

  def expected(student):
    p, q = bins(T), bins(student)
    if beta in (0, 1):
      return ref.kl(*((p, q) if beta == 0 else (q, p)))
    middle = beta * p + (1 - beta) * q
    return beta * ref.kl(p, middle) + (1 - beta) * ref.kl(q, middle)

  ref.agree(
    lambda s: sparse.topk_jsd(s, T32, k=3, beta=beta, support=support),
    expected,
    S,
  )


def test_topk_jsd_refuses_in_one_line():
  with pytest.raises(ValueError, match="unknown support 'pupil'"):
    sparse.topk_jsd(S32, T32, support='pupil')
  with pytest.raises(ValueError, match='k >= 1'):
    sparse.topk_jsd(S32, T32, k=0)


def test_sampled_cross_entropy_is_unbiased():
  """The mean over all 49 pairs of draws, each with its probability."""
  p = ref.probs(T)
  total = np.zeros(4)
  for a in range(7):
    for b in range(7):
      classes = np.tile([a, b], (4, 1))
      weights = np.full((4, 2), 0.5, np.float32)
      value = sparse.sampled_cross_entropy(S32, classes, weights)
      total += p[:, a] * p[:, b] * np.asarray(value)
  want = logits.cross_entropy(S32, np.float32(p))
  np.testing.assert_allclose(total, want, rtol=1e-5)
