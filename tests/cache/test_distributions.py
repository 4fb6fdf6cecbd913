"""Stored distributions of tokens: error against live ones, and bytes."""

import jax
import numpy as np
import pytest

from kd_jax.cache import distributions
from kd_jax.losses import divergences, logits, sparse

V = 300
RNG = np.random.default_rng(0)
T, S = (RNG.normal(size=(2, 6, V), scale=4).astype(np.float32) for _ in 'ts')


def _stored(k, dtype):
  """The k largest classes, and as they come back."""
  live = distributions.top(T, k)
  record = distributions.top_record(V, k, dtype)
  rows = distributions.pack_top(record, live)
  assert rows.nbytes == 12 * record.itemsize
  return live, distributions.unpack_top(rows)


def _loss(top, variant='tail'):
  return np.asarray(
    sparse.topk_kl(
      S, top.log_top, top.classes, log_rest=top.log_rest, variant=variant
    )
  )


def test_all_classes_are_the_live_kl():
  live = distributions.top(T, V)
  np.testing.assert_allclose(
    _loss(live), divergences.forward_kl(S, T), rtol=1e-5
  )


@pytest.mark.parametrize('variant', sparse.VARIANTS)
@pytest.mark.parametrize('dtype', distributions.DTYPES)
@pytest.mark.parametrize('k', [1, 16, V])
def test_the_error_of_the_loss_is_within_what_is_documented(k, dtype, variant):
  live, back = _stored(k, dtype)
  np.testing.assert_array_equal(back.classes, live.classes)
  x = np.asarray(live.log_top)
  rest = np.asarray(live.log_rest)
  rest = np.where(np.isinf(rest), 0, rest)
  half = np.maximum(np.abs(x).max(-1), np.abs(rest)) / 2048
  if dtype == 'uint8':
    half = half + (x.max(-1) - x.min(-1)) / 510
  bound = 2 * half * 1.01 + 1e-5
  moved = np.abs(np.asarray(back.log_top) - x).max(-1)
  assert np.all(moved <= bound)
  entropy = -(np.exp(x) * x).sum(-1) - np.exp(rest) * rest
  value = _loss(live, variant)
  bound = (value + bound) * np.exp(bound) + np.expm1(bound) * entropy
  assert np.all(_loss(back, variant) <= bound)


@pytest.mark.parametrize('dtype', distributions.DTYPES)
def test_what_comes_back_has_mass_one(dtype):
  _, back = _stored(16, dtype)
  mass = np.exp(back.log_top).sum(-1) + np.exp(back.log_rest)
  np.testing.assert_allclose(mass, 1, rtol=1e-5)


def test_sure_and_ruled_out_classes_stay_finite():
  hot = np.full((1, 1, V), -1e4, np.float32)
  hot[..., 7] = 1e4
  for dtype in distributions.DTYPES:
    live = distributions.top(hot, 4)
    record = distributions.top_record(V, 4, dtype)
    back = distributions.unpack_top(distributions.pack_top(record, live))
    assert back.classes[0, 0, 0] == 7
    assert abs(back.log_top[0, 0, 0]) < 1e-6
    assert np.isfinite(sparse.topk_kl(S[:1, :1], *back[:2])).all()


def test_draws_are_stored_exactly_and_are_unbiased():
  n, p = 8, np.float32([[0.5, 0.3, 0.2]])
  keys = jax.random.split(jax.random.key(0), 4000)
  drawn = jax.vmap(lambda key: distributions.sample(key, np.log(p), n))(keys)
  record = distributions.sampled_record(3, n)
  back = distributions.unpack_sampled(distributions.pack_sampled(record, drawn))
  np.testing.assert_array_equal(back.classes, drawn.classes)
  np.testing.assert_array_equal(back.weights, drawn.weights)
  np.testing.assert_allclose(back.weights.sum(-1), 1, rtol=1e-6)
  student = np.float32([[0.1, 2, -1]])
  values = sparse.sampled_cross_entropy(
    np.broadcast_to(student, (4000, 1, 3)), back.classes, back.weights
  )
  want = logits.cross_entropy(student, p)[0]
  error = np.std(values) / np.sqrt(4000)
  assert abs(np.mean(values) - want) < 4 * error


@pytest.mark.parametrize(
  ('classes', 'dtype', 'size'),
  [
    (256, 'float16', 64 * 3 + 2),
    (32_000, 'float16', 64 * 4 + 2),
    (151_936, 'float16', 64 * 6 + 2),
    (151_936, 'uint8', 64 * 5 + 6),
  ],
)
def test_bytes_a_token(classes, dtype, size):
  assert distributions.top_record(classes, 64, dtype).itemsize == size


def test_draws_take_their_bytes():
  assert distributions.sampled_record(32_000, 50).itemsize == 50 * 3


def test_what_cannot_be_stored_is_one_line():
  with pytest.raises(ValueError, match='legal: 1 to 300'):
    distributions.top_record(V, 301)
  with pytest.raises(ValueError, match="'float8'.*known: float16, uint8"):
    distributions.top_record(V, 4, 'float8')
  with pytest.raises(ValueError, match='at least 1'):
    distributions.sampled_record(V, 0)


def test_other_tokens_positions_or_tokenizers_are_another_cache():
  ids = np.arange(6).reshape(2, 3)
  tokens = {'input_ids': ids}
  first = distributions.identity('k', tokens)
  assert first == distributions.identity(
    'k', {'input_ids': ids.copy(), 'positions': [[0, 1, 2]] * 2}
  )
  for tokenizer, inputs in (
    ('l', tokens),
    ('k', {'input_ids': ids + 1}),
    ('k', {**tokens, 'positions': [[0, 1, 0]] * 2}),
  ):
    assert first != distributions.identity(tokenizer, inputs)
