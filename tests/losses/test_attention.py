"""Losses on attention, against loops in float64 NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import attention
from tests.helpers import reference as ref

SHAPE = (2, 3, 4, 4)  # batch, heads, queries, keys
S, T = ref.draw(0, *SHAPE), ref.draw(1, *SHAPE)
T32 = np.float32(T)
# The second example has two tokens and two places of padding.
TOKENS = np.float32([[1, 1, 1, 1], [1, 1, 0, 0]])


def test_attention_mse():
  ref.agree(
    lambda s: attention.attention_mse(s, T32),
    lambda s: ((s - T) ** 2).mean((1, 2, 3)),
    S,
  )


def test_attention_mse_counts_masked_scores_as_zero():
  student, teacher = S.copy(), T.copy()
  student[..., 3], teacher[..., 3] = -1e4, -np.inf
  student[..., 2] = -100
  got = attention.attention_mse(np.float32(student), np.float32(teacher))
  student[..., 2:], teacher[..., 3] = 0, 0
  expected = ((student - teacher) ** 2).mean((1, 2, 3))
  np.testing.assert_allclose(got, expected, rtol=1e-6)
  finite = np.where(teacher == 0, -np.inf, teacher)
  ref.finite(lambda s: attention.attention_mse(s, np.float32(finite)), S)


def test_attention_mse_without_padding():
  def expected(student):
    gap = (student - T) ** 2
    return np.stack([gap[0].mean(), gap[1, :, :2, :2].mean()])

  ref.agree(
    lambda s: attention.attention_mse(s, T32, tokens=TOKENS), expected, S
  )


def test_attention_kl():
  def expected(student):
    return ref.kl(ref.probs(T), ref.probs(student)).mean((1, 2))

  ref.agree(lambda s: attention.attention_kl(s, T32), expected, S)


@pytest.mark.parametrize('mask', [-np.inf, -1e4])
def test_attention_kl_of_masked_keys_and_padded_queries(mask):
  hidden = (TOKENS == 0)[:, None, None, :]
  student, teacher = (np.where(hidden, mask, x) for x in (S, T))
  got = attention.attention_kl(
    np.float32(student), np.float32(teacher), tokens=TOKENS
  )
  short = [ref.probs(x[1, :, :2, :2]) for x in (T, S)]
  expected = [
    ref.kl(ref.probs(T[0]), ref.probs(S[0])).mean(),
    ref.kl(*short).mean(),
  ]
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  ref.finite(
    lambda s: attention.attention_kl(s, np.float32(teacher), tokens=TOKENS),
    student,
  )


def _relation(values):
  """softmax(V V^T / sqrt(d)) of [B, heads, L, d]."""
  scores = values @ values.swapaxes(-1, -2) / np.sqrt(values.shape[-1])
  return ref.probs(scores)


def test_value_relation_of_two_widths():
  student, teacher = ref.draw(2, 2, 3, 4, 2), ref.draw(3, 2, 3, 4, 5)

  def expected(student):
    return ref.kl(_relation(teacher), _relation(student)).mean((1, 2))

  ref.agree(
    lambda s: attention.value_relation(s, np.float32(teacher)),
    expected,
    student,
    1e-5,
  )


def test_value_relation_cuts_the_heads_anew():
  student, teacher = ref.draw(2, 2, 3, 4, 4), ref.draw(3, 2, 2, 4, 8)

  def cut(values):
    """The heads side by side, then two heads of half the width."""
    joined = np.concatenate(np.moveaxis(values, 1, 0), axis=-1)
    return np.stack(np.split(joined, 2, axis=-1), axis=1)

  def expected(student):
    both = [_relation(cut(x)) for x in (teacher, student)]
    return ref.kl(*both).mean((1, 2))

  ref.agree(
    lambda s: attention.value_relation(
      s, np.float32(teacher), relation_heads=2
    ),
    expected,
    student,
    1e-5,
  )


def test_value_relation_without_padding():
  student, teacher = ref.draw(2, 2, 3, 4, 2), ref.draw(3, 2, 3, 4, 2)

  def expected(student):
    whole = ref.kl(_relation(teacher), _relation(student))
    short = ref.kl(_relation(teacher[:, :, :2]), _relation(student[:, :, :2]))
    return np.stack([whole[0].mean(), short[1].mean()])

  ref.agree(
    lambda s: attention.value_relation(s, np.float32(teacher), tokens=TOKENS),
    expected,
    student,
    1e-5,
  )


@pytest.mark.parametrize(
  'loss',
  [attention.attention_mse, attention.attention_kl, attention.value_relation],
)
def test_equal_sides_sizes_and_types(loss):
  np.testing.assert_array_equal(loss(T32, T32), 0)
  ref.finite(lambda s: loss(s, -1e4 * np.sign(T32)), 1e4 * np.sign(S))
  ref.finite(lambda s: loss(s, s), S)
  half = jnp.asarray(S, jnp.bfloat16)
  got = loss(half, T32)
  assert got.dtype == jnp.float32
  np.testing.assert_array_equal(got, loss(half.astype(jnp.float32), T32))
  # An example without tokens has no mean; it must not become NaN.
  assert np.isfinite(loss(half, T32, tokens=0 * TOKENS)).all()


def test_heads_that_differ_are_refused_with_both_shapes():
  for loss in (attention.attention_mse, attention.value_relation):
    with pytest.raises(ValueError, match=r'\(2, 2, 4, 4\) and \(2, 3, 4, 4\)'):
      loss(T32[:, :2], T32)
  with pytest.raises(ValueError, match=r'relation_heads=5 .* width of 12'):
    attention.value_relation(T32, T32, relation_heads=5)
