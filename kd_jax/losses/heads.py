"""A network's last linear layer, and losses on it in chunks of tokens.

With a large vocabulary the logits of a batch are its largest arrays: 4096
tokens of 151,936 classes are 2.5 GB in f32, and a divergence holds several of
them. `in_chunks` computes them some tokens at a time, again on the way back,
so that only a chunk of them is alive.

A head is {'kernel' [D, K], 'bias' [K]}, and for networks that have them 'scale'
and 'soft_cap', numbers: z = c tanh((scale x W + b) / c).
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics

Array = numerics.Array
Head = Mapping[str, Array]


def logits(head: Head, x: Array) -> Array:
  """The logits f32 [..., K] of a head on hidden states [..., D].

  Multiplied in the type of the hidden states, summed in f32.
  """
  kernel = jnp.asarray(head['kernel']).astype(x.dtype)
  out = jnp.promote_types(x.dtype, jnp.float32)
  # Two matrices: on CPU XLA multiplies three axes and a matrix more slowly.
  z = jnp.matmul(
    x.reshape(-1, x.shape[-1]), kernel, preferred_element_type=out
  ).reshape(*x.shape[:-1], kernel.shape[-1])
  if head.get('scale') is not None:
    z = z * head['scale']
  if head.get('bias') is not None:
    z = z + numerics.f32(head['bias']).reshape((1,) * (x.ndim - 1) + (-1,))
  cap = head.get('soft_cap')
  return z if cap is None else cap * jnp.tanh(z / cap)


def in_chunks(
  compare: Callable[..., Array],
  heads: Mapping[str, Head],
  sides: Mapping[str, Array],
  rest: Mapping[str, Array],
  chunk: int,
) -> Array:
  """The values of predictions, computed a chunk of them at a time.

  The value and the gradients, by hidden states and heads, are those of
  `compare` on all logits at once, up to the order of sums. The gradient of a
  head is summed over the chunks in f32, whatever its own type.

  Args:
    compare: ({side: logits f32 [n, K]}, {name: [n, ...]}) -> f32 [n].
    heads: {side: its head}.
    sides: {side: hidden states [B, ..., D]}.
    rest: {name: [B, ..., ...]}, what else a prediction has (labels).
    chunk: predictions at a time, static.

  Returns:
    f32 [B, ...]. Alive are the logits of `chunk` predictions, and a gradient
    of each head that has one.

  Source: after the chunked losses of linkedin/Liger-Kernel, which differentiate
    within the chunk and thereby spare the second product; here the scan's
    transpose does it, for the values of single predictions.
  """
  shape = next(iter(sides.values())).shape[:-1]
  size = max(1, min(chunk, _count(shape)))
  arrays = {'sides': dict(sides), 'rest': dict(rest)}
  arrays = jax.tree.map(lambda x: _cut(x, len(shape), size), arrays)
  # Wide outside of the scan: there its gradients are added up.
  wide = jax.tree.map(numerics.f32, dict(heads))

  # On the way back the logits are computed again, and with them at hand what
  # `compare` makes of them, which is most of the memory.
  @jax.checkpoint
  def values(heads, arrays):
    z = {side: logits(heads[side], x) for side, x in arrays['sides'].items()}
    return jax.checkpoint(compare)(z, arrays['rest'])

  def body(carry, arrays):
    return carry, values(wide, arrays)

  _, found = jax.lax.scan(body, None, arrays)
  return found.reshape(-1)[: _count(shape)].reshape(shape)


def _count(shape) -> int:
  count = 1
  for size in shape:
    count *= size
  return count


def _cut(x: Array, axes: int, size: int) -> Array:
  """[B, ..., ...] as chunks [n, size, ...] of predictions, zeros at the end."""
  flat = x.reshape(-1, *x.shape[axes:])
  missing = -len(flat) % size
  padding = [(0, missing)] + [(0, 0)] * (flat.ndim - 1)
  return jnp.pad(flat, padding).reshape(-1, size, *flat.shape[1:])
