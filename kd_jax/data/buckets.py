"""Batches of texts of similar length, cut to the length of their bucket.

Padding changes no number, so that this is speed alone; which texts meet in a
batch differs from a plain shuffle. The order is a pure function of (seed,
epoch), as in `pipeline`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from kd_jax import types


def check(buckets: Sequence[int], length: int, where: str) -> tuple[int, ...]:
  """Buckets up to `length`, ascending, `length` itself the last.

  Raises:
    ValueError: a bucket that is no length of a row, or named twice.
  """
  for bucket in buckets:
    if not 1 <= bucket <= length:
      raise ValueError(
        f'bucket {bucket} of {where}; legal: 1..{length}, the length of a row'
      )
  if sorted(set(buckets)) != list(buckets):
    raise ValueError(f'buckets {list(buckets)} of {where}; legal: ascending')
  if not buckets:
    return ()
  return tuple(dict.fromkeys([*map(int, buckets), length]))


def lengths(mask: np.ndarray, buckets: Sequence[int]) -> np.ndarray:
  """The bucket of each row i64 [N]: the least that holds its real tokens.

  Args:
    mask: i [N, L], 1 for real tokens.
    buckets: ascending, the last one L.
  """
  last = mask.shape[1] - np.argmax(mask[:, ::-1] > 0, axis=1)
  last = np.where(mask.any(axis=1), last, 1)
  places = np.searchsorted(buckets, last)
  return np.asarray(buckets, np.int64)[places]


def order(
  seed: int, epoch: int, lengths: np.ndarray, batch_size: int
) -> np.ndarray:
  """The batches of an epoch, i64 [N // B, B].

  Each bucket is shuffled and cut into batches; what is left of all of them
  makes the rest, the shortest first; then batches are shuffled. Fewer examples
  than a batch are dropped.
  """
  rng = np.random.default_rng((seed, epoch))
  shuffled = rng.permutation(len(lengths))
  ranked = shuffled[np.argsort(lengths[shuffled], kind='stable')]
  parts, left = [], []
  for bucket in np.unique(lengths):
    members = ranked[lengths[ranked] == bucket]
    whole = len(members) - len(members) % batch_size
    parts.append(members[:whole])
    left.append(members[whole:])
  rest = np.concatenate(left)
  dropped = rng.permutation(len(rest))[: len(rest) % batch_size]
  parts.append(np.delete(rest, dropped))
  batches = np.concatenate(parts).reshape(-1, batch_size)
  return batches[rng.permutation(len(batches))]


def make_indices(
  seed: int, lengths: np.ndarray, batch_size: int
) -> Callable[[int], np.ndarray]:
  """Makes step -> the examples of its batch, i64 [B].

  Args:
    seed: of the order.
    lengths: the bucket of each of N examples.
    batch_size: B.
  """
  per_epoch = len(lengths) // batch_size

  @functools.lru_cache(maxsize=2)
  def batches(epoch: int) -> np.ndarray:
    return order(seed, epoch, lengths, batch_size)

  def indices(step: int) -> np.ndarray:
    epoch, number = divmod(step, per_epoch)
    return batches(epoch)[number]

  return indices


def cut(batch: types.Batch, length: int) -> types.Batch:
  """The first `length` tokens of a batch of text, and of labels of tokens."""
  if isinstance(batch['labels'], np.ndarray):
    return _cut(batch, length)
  return _cut_on_device(batch, length)


def _cut(batch: types.Batch, length: int) -> types.Batch:
  inputs = batch['inputs']
  assert isinstance(inputs, Mapping)
  cut = {'inputs': {name: x[:, :length] for name, x in inputs.items()}}
  if batch['mask'].ndim == 2:  # a label of every token
    cut |= {name: batch[name][:, :length] for name in ('labels', 'mask')}
  return {**batch, **cut}


_cut_on_device = jax.jit(_cut, static_argnames='length')
