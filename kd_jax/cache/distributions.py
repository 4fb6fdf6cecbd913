"""Encodes a teacher's distributions over a vocabulary: some classes of a token.

Three forms, all read without an array of the whole vocabulary:

| form    | a token holds                     | read by                        |
|---------|-----------------------------------|--------------------------------|
| top     | k largest log p, the log of the   | `sparse.topk_kl`: 'tail',      |
|         | others' mass, k classes           | 'renormalize(_teacher)'        |
| sampled | counts of n draws, their classes  | `sparse.sampled_cross_entropy` |
| hidden  | the state that the head reads     | `heads.in_chunks`, frozen head |

The temperature is 1; what is to be read at another one is tempered before it
is stored. Classes have the smallest type that holds V - 1. Log probabilities x
are stored as

  float16   |error| <= |x| / 2048, at most 2^-25 below 2^-14
  uint8     255 equal steps between the token's least and largest x: at most
            (largest - least) / 510 and the rounding of these two in float16

and renormalized when they are decoded, with the tail among them. With e the
largest such error of a token, each decoded log probability is within 2e of the
true one, so that KL(bins || decoded bins) <= 2e nats, and a KL to any student

  KL(decoded || student) <= (KL(bins || student) + 2e) e^(2e) + (e^(2e) - 1) H

with H the teacher's entropy over the bins: rounding moves the loss by some e.
Leaving the others in one bin loses what the two sides differ within it, at most
m (KL between the tails), m their mass; at k = V nothing.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import checkpoint, types
from kd_jax.losses import numerics

DTYPES = ('float16', 'uint8')


class Top(NamedTuple):
  """The k largest classes of each token, as the losses read them.

  Attributes:
    log_top: f32 [..., k], from the largest on.
    classes: integers [..., k].
    log_rest: f32 [...], the log of the others' mass; -inf where there are none.
  """

  log_top: jax.Array
  classes: jax.Array
  log_rest: jax.Array


class Sampled(NamedTuple):
  """Draws of each token.

  Attributes:
    classes: integers [..., n], each at most once, then 0.
    weights: f32 [..., n], count / n; 0 in places without a class.
  """

  classes: jax.Array
  weights: jax.Array


def class_type(classes: int) -> np.dtype:
  """The smallest unsigned type of an index of so many classes."""
  return np.min_scalar_type(classes - 1).newbyteorder('<')


def top(logits: jax.Array, k: int, temperature=1.0) -> Top:
  """The k largest classes of softmax(z / T), and the mass of the others.

  Args:
    logits: z [..., V].
    k: at most V; static.
    temperature: T.
  """
  log_p = numerics.log_probs(logits, temperature)
  log_top, classes = jax.lax.top_k(log_p, k)
  floor = jnp.finfo(log_p.dtype).min
  rest = jnp.put_along_axis(log_p, classes, floor, axis=-1, inplace=False)
  log_rest = jax.nn.logsumexp(rest, axis=-1)
  empty = k == logits.shape[-1]
  return Top(log_top, classes, jnp.where(empty, -jnp.inf, log_rest))


def sample(key: jax.Array, logits: jax.Array, n: int) -> Sampled:
  """n draws with replacement from softmax(z), counted: unbiased for it.

  Args:
    key: of the draws.
    logits: z [..., V].
    n: static.
  """
  # By the sums of p up to each class: no array is larger than the logits.
  cdf = jnp.cumsum(jnp.exp(numerics.log_probs(logits)), axis=-1)
  u = jax.random.uniform(key, (*logits.shape[:-1], n)) * cdf[..., -1:]
  search = jnp.vectorize(
    lambda cdf, u: jnp.searchsorted(cdf, u, side='right'),
    signature='(v),(n)->(n)',
  )
  drawn = jnp.minimum(search(cdf, jnp.sort(u, axis=-1)), cdf.shape[-1] - 1)
  first = jnp.concatenate(
    [jnp.ones_like(drawn[..., :1], bool), drawn[..., 1:] != drawn[..., :-1]], -1
  )
  # The count of a class stands at its first place; the others come last.
  same = drawn[..., :, None] == drawn[..., None, :]
  counts = jnp.where(first, same.sum(-1), 0)
  order = jnp.argsort(~first, axis=-1, stable=True)
  counts, drawn = (
    jnp.take_along_axis(x, order, axis=-1) for x in (counts, drawn)
  )
  classes = jnp.where(counts > 0, drawn, 0)
  return Sampled(classes, counts.astype(jnp.float32) / n)


def top_record(classes: int, k: int, dtype: str = 'float16') -> np.dtype:
  """The structured type of a token; its itemsize is the bytes a token.

  Raises:
    ValueError: an unknown dtype, or k outside [1, classes].
  """
  if dtype not in DTYPES:
    raise types.unknown('dtype of log probabilities', dtype, DTYPES)
  if not 1 <= k <= classes:
    raise ValueError(f'k={k} of {classes} classes; legal: 1 to {classes}')
  fields = [('classes', class_type(classes), k)]
  if dtype == 'uint8':
    fields.append(('range', '<f2', 2))
  stored = {'float16': '<f2', 'uint8': 'u1'}[dtype]
  fields += [('log_top', stored, k), ('log_rest', '<f2')]
  return np.dtype(fields)


def pack_top(record: np.dtype, given: Top) -> np.ndarray:
  """Tokens [...] as records [...] of type `top_record`."""
  log_top, classes, log_rest = (np.asarray(x) for x in given)
  rows = np.empty(log_rest.shape, record)
  rows['classes'] = classes
  rows['log_rest'] = _half(log_rest)
  if 'range' not in record.names:
    rows['log_top'] = _half(log_top)
    return rows
  # The range as it will be read: the steps are of that.
  rows['range'] = np.stack(
    [_half(log_top.min(-1)), _half(log_top.max(-1))], axis=-1
  )
  low, step = _steps(rows['range'])
  safe = np.where(step > 0, step, 1)
  steps = np.rint((np.maximum(log_top, -6e4) - low) / safe)
  rows['log_top'] = np.clip(steps, 0, 255).astype(np.uint8)
  return rows


def unpack_top(rows: np.ndarray) -> Top:
  """Decodes `pack_top`, within its error: f32, together of mass 1."""
  log_top = rows['log_top'].astype(np.float32)
  if 'range' in rows.dtype.names:
    low, step = _steps(rows['range'])
    log_top = low + step * log_top
  log_rest = rows['log_rest'].astype(np.float32)
  mass = np.logaddexp(np.logaddexp.reduce(log_top, axis=-1), log_rest)
  return Top(
    log_top - mass[..., None], rows['classes'].astype(np.int32), log_rest - mass
  )


def sampled_record(classes: int, n: int) -> np.dtype:
  """The structured type of a token of n draws, with n places.

  Raises:
    ValueError: n < 1.
  """
  if n < 1:
    raise ValueError(f'{n} draws; legal: at least 1')
  counts = np.min_scalar_type(n).newbyteorder('<')
  return np.dtype([('classes', class_type(classes), n), ('counts', counts, n)])


def pack_sampled(record: np.dtype, given: Sampled) -> np.ndarray:
  """Tokens [...] as records [...] of type `sampled_record`; exact."""
  weights = np.asarray(given.weights)
  rows = np.empty(weights.shape[:-1], record)
  rows['classes'] = np.asarray(given.classes)
  rows['counts'] = np.rint(weights * weights.shape[-1])
  return rows


def unpack_sampled(rows: np.ndarray) -> Sampled:
  """Decodes `pack_sampled`."""
  counts = rows['counts']
  weights = counts.astype(np.float32) / counts.shape[-1]
  return Sampled(rows['classes'].astype(np.int32), weights)


def identity(
  tokenizer: str, inputs: Mapping[str, np.ndarray]
) -> Mapping[str, str]:
  """What identifies the distributions of some tokens, beside their teacher.

  Args:
    tokenizer: its file (tokenizer.json), or '' where ids came without one.
    inputs: the tokens as the teacher saw them, i32 [N, L] by name: 'input_ids',
      and 'positions' where they restart, as in packed rows.
  """
  ids = np.asarray(inputs['input_ids'], np.int32)
  positions = inputs.get('positions')
  if positions is None:
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
  return {
    'tokenizer': hashlib.sha256(tokenizer.encode()).hexdigest(),
    'tokens': checkpoint.content_hash(
      {'ids': ids, 'positions': np.asarray(positions, np.int32)}
    ),
  }


def _half(x: np.ndarray) -> np.ndarray:
  """f16 of log probabilities; below its range, its least number or -inf."""
  least = np.finfo(np.float16).min
  return np.where(np.isneginf(x), x, np.maximum(x, least)).astype(np.float16)


def _steps(bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The least number and the step of each token [..., 1], of 'range'."""
  low, high = (bounds[..., i : i + 1].astype(np.float32) for i in range(2))
  return low, (high - low) / 255
