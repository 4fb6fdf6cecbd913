"""Attention of text networks: positions, masks, and what is shown of it."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

MASKED = -1e9  # the score of a key that a query does not see


def check_inputs(inputs, name: str = 'input_ids') -> jax.Array:
  """The indices i32 [B, L] of a batch of text.

  Raises:
    ValueError: one line, for inputs that are not a dict with `name`.
  """
  if not isinstance(inputs, Mapping) or name not in inputs:
    got = (
      ', '.join(map(str, inputs)) if isinstance(inputs, Mapping) else 'array'
    )
    raise ValueError(f"text comes as a dict with '{name}' [B, L]; got {got}")
  return inputs[name]


def positions(inputs: Mapping[str, jax.Array]) -> jax.Array:
  """The place of each token in its sequence, i32 [B, L], at least 0.

  It is 'positions' where the inputs have them. Else it counts from 0 within
  each run of equal 'segment_ids', or within the tokens whose 'attention_mask'
  is 1: cumsum(mask) - 1, so that padding on either side changes nothing.
  """
  if 'positions' in inputs:
    return inputs['positions']
  ids = inputs['input_ids']
  places = jnp.broadcast_to(
    jnp.arange(ids.shape[1], dtype=jnp.int32), ids.shape
  )
  if 'segment_ids' in inputs:
    segments = inputs['segment_ids']
    same = segments[:, 1:] == segments[:, :-1]
    starts = jnp.where(jnp.pad(same, ((0, 0), (1, 0))), 0, places)
    return places - jax.lax.cummax(starts, axis=1)
  if 'attention_mask' in inputs:
    mask = (inputs['attention_mask'] > 0).astype(jnp.int32)
    return jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
  return places


def mask(
  inputs: Mapping[str, jax.Array], causal: bool = False, window: int = 0
) -> jax.Array:
  """Which keys each query sees, bool [B, 1, L, L] (queries, then keys).

  Keys of 'attention_mask' 0 and of another segment ('segment_ids') are hidden.

  Args:
    inputs: 'input_ids' [B, L] and, optionally, the two.
    causal: hides keys that come after the query.
    window: of a causal query, the number of places back at which it sees keys,
      its own included; 0 is all. Places are `positions`, so that padding
      between tokens does not count.
  """
  b, l = inputs['input_ids'].shape
  seen = jnp.ones((b, 1, l, l), bool)
  if 'attention_mask' in inputs:
    seen &= (inputs['attention_mask'] > 0)[:, None, None, :]
  if 'segment_ids' in inputs:
    segments = inputs['segment_ids']
    same = segments[:, :, None] == segments[:, None, :]
    seen &= (same & (segments > 0)[:, None, :])[:, None]
  if causal:
    seen &= jnp.tril(jnp.ones((1, 1, l, l), bool))
  if window:
    places = positions(inputs)
    back = places[:, :, None] - places[:, None, :]
    seen &= (back < window)[:, None]
  return seen


class Attend(nn.Module):
  """Weighs values [B, S, h, d] by how queries [B, L, H, d] fit the keys.

  h divides H: query heads share keys and values in groups. `scores`, the
  products as they enter the softmax (MASKED where hidden), and `attention`, as
  they leave it, are computed only where they are read: under `jit` what
  nobody reads is dropped, and values come from `jax.nn.dot_product_attention`.

  Attributes:
    scale: factor of the products.
    soft_cap: c of c tanh(score / c) before the mask; 0 is none. Source: Gemma 2
      2024, https://arxiv.org/abs/2408.00118, section 2.
    dropout: of the weights, in training.
  """

  scale: float
  soft_cap: float = 0.0
  dropout: float = 0.0

  @nn.compact
  def __call__(self, query, key, value, mask, bias=None, train=False):
    """Returns the values [B, L, H, d], and scores and weights by name.

    Args:
      query, key, value: as above.
      mask: bool [B, 1, L, S].
      bias: added to the scores, f32 [1, H, L, S].
      train: whether weights are dropped.
    """
    scores = self._scores(query, key, bias)
    scores = jnp.where(mask, scores, MASKED)
    weights = jax.nn.softmax(scores)
    internals = {
      'scores': scores,
      'attention': weights,
      **{
        name: x.transpose(0, 2, 1, 3)
        for name, x in (('query', query), ('key', key), ('value', value))
      },
    }
    if self.soft_cap or (train and self.dropout):
      weights = nn.Dropout(self.dropout, deterministic=not train)(weights)
      value = _each_head(value, query.shape[2])
      weights = weights.astype(value.dtype)
      x = jnp.einsum('bhqk,bkhd->bqhd', weights, value)
    else:
      x = jax.nn.dot_product_attention(
        query, key, value, bias, mask, scale=self.scale
      )
    return x, internals

  def _scores(self, query, key, bias):
    scores = self.scale * jnp.einsum(
      'bqhd,bkhd->bhqk',
      query,
      _each_head(key, query.shape[2]),
      preferred_element_type=jnp.float32,
    )
    if self.soft_cap:
      scores = self.soft_cap * jnp.tanh(scores / self.soft_cap)
    return scores if bias is None else scores + bias


def _each_head(x, heads):
  """Keys or values [B, S, h, d], repeated for each of the query heads."""
  return jnp.repeat(x, heads // x.shape[2], axis=2)


def split_heads(x, heads: int):
  """[B, L, H d] -> [B, L, H, d]."""
  return x.reshape(*x.shape[:-1], heads, -1)


def joined(x):
  """[B, L, H, d] -> [B, L, H d]."""
  return x.reshape(*x.shape[:-2], -1)
