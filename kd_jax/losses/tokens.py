"""Batches of tokens: which are real, and which weight each has in a mean."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

Array = jax.Array


def _input(batch: Mapping, name: str) -> Array | None:
  """An input of the networks by name, where inputs have names."""
  inputs = batch.get('inputs')
  return inputs.get(name) if isinstance(inputs, Mapping) else None


def segments(batch: Mapping) -> Array | None:
  """The segment of each token i32 [B, L], 0 = padding; None: not packed."""
  return _input(batch, 'segment_ids')


def real(batch: Mapping) -> Array | None:
  """Which tokens are real, f32 [B, L]; None where inputs are no text.

  They are said by 'attention_mask', or else by 'segment_ids', never by an
  index: padding may be a token that also ends sequences.
  """
  mask, packed = _input(batch, 'attention_mask'), segments(batch)
  if mask is None and packed is not None:
    mask = packed > 0
  return None if mask is None else jnp.asarray(mask, jnp.float32)


def is_of(x: Array, mask: Array) -> bool:
  """Whether an output is one vector for each token: [B, L, D]."""
  return x.ndim == 3 and x.shape[:2] == mask.shape


def clear(outputs: Mapping, mask: Array) -> dict:
  """The outputs with zeros in place of the vectors of padding."""
  return {
    name: jnp.where(mask[..., None] > 0, x, 0)
    if hasattr(x, 'shape') and is_of(x, mask)
    else x
    for name, x in outputs.items()
  }


def by_sequence(mask: Array, packed: Array | None = None) -> Array:
  """Weights of a mean of means: each sequence has 1, shared by its tokens.

  Args:
    mask: f32 [B, ...], 1 where a prediction counts.
    packed: the segment of each token i32 [B, L], where a row holds several
      sequences; then the mask is [B, L].

  Returns:
    f32 [B, ...]; their sum is the number of sequences that count at all.
  """
  if packed is None or mask.shape != packed.shape:
    total = mask.sum(tuple(range(1, mask.ndim)), keepdims=True)
  else:
    total = jax.vmap(_totals)(mask, packed)
  return mask / jnp.where(total > 0, total, 1)


def _totals(mask: Array, packed: Array) -> Array:
  """[L]: the sum of the mask over the segment of each token."""
  # Segments are counted from 1, so none is above the number of tokens.
  return jax.ops.segment_sum(mask, packed, len(mask) + 1)[packed]
