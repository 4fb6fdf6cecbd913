"""Losses on transformers' attention: scores, maps and relations of values.

All compare one layer of the student with one of the teacher and give f32 [B].
Sum over pairs of layers outside; TinyBERT pairs student layer i (from 0) with
teacher layer (i + 1) L_t / L_s - 1, MiniLM the last two only.

`tokens` f32 [B, L] (1 = a real token) keeps padding out of the keys and the
means; without it every position counts, as in the sources. With it,
`segments` i32 [B, L] says which sequence of a packed row a token is of: those
of other sequences are no keys. `by_query` (static) returns the values of the
queries f32 [B, L], means over the heads, in place of their mean f32 [B].
"""

import math

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics

Array = numerics.Array


def _need_same(student: Array, teacher: Array) -> None:
  """Raises ValueError unless the two sides have equal shapes."""
  if student.shape != teacher.shape:
    raise ValueError(
      'attention needs equal heads and lengths, not '
      f'{student.shape} and {teacher.shape}'
    )


def _mean(values: Array, weights: Array) -> Array:
  """Weighted mean over all axes but the first; 0 where no weight is left."""
  axes = tuple(range(1, values.ndim))
  weights = jnp.broadcast_to(weights, values.shape)
  total = jnp.sum(weights, axis=axes)
  return jnp.sum(values * weights, axis=axes) / jnp.where(total > 0, total, 1)


def _keys(tokens: Array | None, segments: Array | None) -> Array | None:
  """Which keys count for a query: bool [B, 1, 1 or L, L]; None for all."""
  if tokens is None:
    return None
  keys = (tokens > 0)[:, None, None, :]
  if segments is None:
    return keys
  return keys & (segments[:, :, None] == segments[:, None, :])[:, None]


def _over_queries(values: Array, tokens: Array | None, by_query: bool) -> Array:
  """[B] of values [B, heads, L] of queries, or their mean over heads [B, L]."""
  if by_query:
    return jnp.mean(values, axis=1)
  return _mean(values, _queries(tokens, values))


def _queries(tokens: Array | None, like: Array) -> Array:
  """Weights of the query positions as [B, 1, L]."""
  if tokens is None:
    return jnp.ones_like(like, shape=(like.shape[0], 1, like.shape[2]))
  return tokens.astype(like.dtype)[:, None, :]


def attention_mse(
  student: Array,
  teacher: Array,
  *,
  tokens: Array | None = None,
  segments: Array | None = None,
  by_query: bool = False,
) -> Array:
  """Mean squared difference of attention scores before the softmax.

  L = mean over heads, queries and keys of (A_s - A_t)^2. Scores of -100 and
  less, which only mask, count as 0 on both sides.

  Args:
    student: scores A_s = Q K^T / sqrt(d) [B, heads, L, L].
    teacher: scores A_t, of the same shape.
    tokens: f32 [B, L], or None; pairs of real tokens count.
    segments, by_query: as above.

  Returns:
    f32 [B], in squared scores; 0 at equal scores. By query [B, L] its mean
    over heads and keys.

  Raises:
    ValueError: shapes that differ.

  Source: Jiao et al. 2020 (TinyBERT), equation 7,
    https://arxiv.org/abs/1909.10351; the -100 is its code's.
  """
  _need_same(student, teacher)
  sides = [numerics.f32(x) for x in (student, teacher)]
  s, t = (jnp.where(x <= -100, 0, x) for x in sides)
  keys = _keys(tokens, segments)
  weights = jnp.ones_like(s[:, :1]) if keys is None else keys.astype(s.dtype)
  if by_query:
    weights = jnp.broadcast_to(weights, s.shape)
    total = jnp.sum((s - t) ** 2 * weights, axis=(1, 3))
    return total / jnp.maximum(jnp.sum(weights, axis=(1, 3)), 1)
  return _mean((s - t) ** 2, _queries(tokens, s)[..., None] * weights)


def attention_kl(
  student: Array,
  teacher: Array,
  *,
  tokens: Array | None = None,
  segments: Array | None = None,
  by_query: bool = False,
) -> Array:
  """KL of attention distributions, teacher to student.

  L = mean over heads and queries of KL(softmax(A_t) || softmax(A_s)), over
  the keys; temperature 1.

  Args:
    student: scores A_s = Q K^T / sqrt(d) [B, heads, L, L]; keys that are
      masked hold -inf or a large negative number on both sides.
    teacher: scores A_t, of the same shape.
    tokens: f32 [B, L], or None; queries and keys of real tokens count.
    segments, by_query: as above.

  Returns:
    f32 [B], in nats; 0 at equal scores. By query [B, L] its mean over heads.

  Raises:
    ValueError: shapes that differ.

  Source: Wang et al. 2020 (MiniLM), L_AT,
    https://arxiv.org/abs/2002.10957.
  """
  _need_same(student, teacher)
  keys = _keys(tokens, segments)
  log_s, log_t = (
    jax.nn.log_softmax(_only(numerics.f32(x), keys), axis=-1)
    for x in (student, teacher)
  )
  return _over_queries(numerics.kl(log_t, log_s), tokens, by_query)


def _only(scores: Array, keys: Array | None) -> Array:
  """The scores without those of keys that do not count."""
  return scores if keys is None else numerics.without(scores, ~keys)


def _relation(values: Array, heads: int | None, keys: Array | None) -> Array:
  """log softmax(V V^T / sqrt(d)) [B, heads, L, L] of values [B, h, L, d]."""
  values = numerics.f32(values)
  if heads is not None:
    batch, count, length, width = values.shape
    if count * width % heads:
      raise ValueError(
        f'relation_heads={heads} does not divide a width of {count * width}'
      )
    joined = values.transpose(0, 2, 1, 3).reshape(batch, length, heads, -1)
    values = joined.transpose(0, 2, 1, 3)
  scores = jnp.einsum('bhid,bhjd->bhij', values, values, precision='highest')
  scores = scores / math.sqrt(values.shape[-1])
  return jax.nn.log_softmax(_only(scores, keys), axis=-1)


def value_relation(
  student: Array,
  teacher: Array,
  *,
  relation_heads: int | None = None,
  tokens: Array | None = None,
  segments: Array | None = None,
  by_query: bool = False,
) -> Array:
  """KL of how tokens' values resemble each other, teacher to student.

  L = mean over heads and positions of KL(R_t || R_s), R = softmax(V V^T /
  sqrt(d)) over the positions. The width d may differ between the two. Queries
  or keys in place of the values give the other relations of MiniLMv2.

  Args:
    student: values V_s [B, heads, L, d_s].
    teacher: values V_t [B, heads, L, d_t].
    relation_heads: None compares head by head, which needs as many on both
      sides; a number joins the heads and cuts them anew, so that they need
      not match. Static.
    tokens: f32 [B, L], or None; only real tokens relate and count.
    segments, by_query: as above.

  Returns:
    f32 [B], in nats; 0 at equal values; by query [B, L] its mean over heads.
    Materialized: [B, heads, L, L] twice.

  Raises:
    ValueError: relations whose shapes differ, or a width that
      `relation_heads` does not divide.

  Source: Wang et al. 2020 (MiniLM), L_VR, https://arxiv.org/abs/2002.10957;
    relation heads: Wang et al. 2021 (MiniLMv2),
    https://arxiv.org/abs/2012.15828.
  """
  keys = _keys(tokens, segments)
  log_s = _relation(student, relation_heads, keys)
  log_t = _relation(teacher, relation_heads, keys)
  _need_same(log_s, log_t)
  return _over_queries(numerics.kl(log_t, log_s), tokens, by_query)
