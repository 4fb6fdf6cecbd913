"""Contrastive distillation: noise-contrastive (CRD), in-batch, and memories.

The memories themselves [N, D], of unit rows, are carried by whoever calls.
"""

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, numerics

_MODES = ('exact', 'relax')


def crd_nce(
  scores: jax.Array, num_data: int, *, epsilon: float = 1e-7
) -> jax.Array:
  """Noise-contrastive loss of one positive among K negatives.

  -log[P_0 / (P_0 + K q + eps)] - sum_{k=1..K} log[K q / (P_k + K q + eps)],
  q = 1 / N the noise density, P = `scores`.

  Args:
    scores: [B, 1 + K], positive; column 0 is the positive pair. They are
      exp(v . m / tau) / Z, see `memory_logits` and `log_normalizer`.
    num_data: N, the size of the memory.
    epsilon: eps.

  Returns:
    [B], nats. The loss of CRD is this for both directions, weight 0.8.

  Source: Tian, Krishnan and Isola 2020, "Contrastive Representation
    Distillation", https://arxiv.org/abs/1910.10699; the form with eps, and the
    sum over negatives, are RepDistiller's.
  """
  scores = numerics.f32(scores)
  noise = (scores.shape[1] - 1) / num_data
  positive = jnp.maximum(scores[:, 0], jnp.finfo(scores.dtype).tiny)
  loss = jnp.log(positive + noise + epsilon) - jnp.log(positive)
  return loss + jnp.sum(jnp.log1p((scores[:, 1:] + epsilon) / noise), axis=1)


def info_nce(
  student: jax.Array, teacher: jax.Array, *, temperature: float = 0.07
) -> jax.Array:
  """Cross-entropy of finding an example's teacher embedding in the batch.

  -log softmax_j(<s_i, t_j> / (|s_i| |t_j|) / tau)[i]: the positive of example
  i is its teacher embedding, the negatives are those of the other examples.
  The largest array is [B, B]. One direction, student to teacher.

  Args:
    student: [B, D] embeddings.
    teacher: [B, D].
    temperature: tau.

  Returns:
    [B], nats, without tau^2; about log B where nothing is learned. Invariant
    to the scale of each row. Not 0 at equality.

  Raises:
    ValueError: the shapes differ.

  Source: van den Oord et al. 2018, "Representation Learning with Contrastive
    Predictive Coding", eq. 4, https://arxiv.org/abs/1807.03748; tau as in CRD.
  """
  geometry.same(student, teacher)
  s = geometry.unit(numerics.f32(student))
  t = geometry.unit(numerics.f32(teacher))
  logits = geometry.dot('id,jd->ij', s, t) / temperature
  return -jnp.diagonal(jax.nn.log_softmax(logits, axis=1))


def memory_logits(
  anchors: jax.Array,
  memory: jax.Array,
  index: jax.Array,
  *,
  temperature: float = 0.07,
) -> jax.Array:
  """Similarity of embeddings to chosen rows of a memory: <v, m_i> / tau.

  Built is [B, N] (all products, of which some are taken) where N is at most
  16 times the number chosen, else the chosen rows [B, 1 + K, D].

  Args:
    anchors: v, [B, D], unit rows.
    memory: m, [N, D], unit rows.
    index: i32 [B, 1 + K], rows of the memory; column 0 the positive.
    temperature: tau.

  Returns:
    f32 [B, 1 + K]. exp(logits - log Z) are the scores of `crd_nce`.

  Source: Tian et al. 2020 (as `crd_nce`), with RepDistiller's tau.
  """
  anchors, memory = numerics.f32(anchors), numerics.f32(memory)
  if len(memory) <= 16 * index.shape[1]:
    products = geometry.dot('bd,nd->bn', anchors, memory)
    products = jnp.take_along_axis(products, index, axis=1)
  else:
    products = geometry.dot('bd,bkd->bk', anchors, memory[index])
  return products / temperature


def log_normalizer(logits: jax.Array, num_data: int) -> jax.Array:
  """Log of CRD's constant: Z = N times the mean of exp(logits).

  Z is estimated once, from the first batch. Log space keeps it finite for a
  small tau.

  Args:
    logits: [B, 1 + K], from `memory_logits`.
    num_data: N.

  Returns:
    f32 [], log Z.

  Source: Tian et al. 2020 (as `crd_nce`), after RepDistiller.
  """
  logits = numerics.f32(logits)
  return jax.nn.logsumexp(logits) + jnp.log(num_data / logits.size)


def update_memory(
  memory: jax.Array, index: jax.Array, embeddings: jax.Array, momentum: float
) -> jax.Array:
  """Moves the memory's rows at `index` toward new embeddings.

  m_i <- unit(momentum m_i + (1 - momentum) v_i). It is one scatter, in place
  where the memory is donated.

  Args:
    memory: m, [N, D], unit rows.
    index: i32 [B]. An index of N or more has no effect (for padding). Where
      indices are equal, any of their embeddings may be stored.
    embeddings: v, [B, D], unit rows.
    momentum: 0.5 in CRD.

  Returns:
    [N, D] in the memory's dtype.

  Source: Tian et al. 2020 (as `crd_nce`), after RepDistiller.
  """
  old = numerics.f32(jnp.take(memory, index, axis=0, mode='clip'))
  new = momentum * old + (1 - momentum) * numerics.f32(embeddings)
  new = geometry.unit(new).astype(memory.dtype)
  return jnp.asarray(memory).at[index].set(new, mode='drop')


def draw_negatives(
  key: jax.Array,
  labels: jax.Array,
  all_labels: jax.Array,
  count: int,
  mode: str = 'exact',
) -> jax.Array:
  """Random rows of the memory as negatives, with replacement.

  'exact' draws uniformly among examples of other classes; 'relax' among all,
  so that a negative may share the anchor's class. No array has size [B, N]:
  with the data sorted by class, a random number below N minus the class size
  becomes the position of another class's example by skipping the class.

  Args:
    key: a PRNG key.
    labels: i32 [B], the anchors' classes. A class that is not in `all_labels`
      excludes no row.
    all_labels: i32 [N], the class of each row of the memory.
    count: K, static.
    mode: 'exact' or 'relax'; static.

  Returns:
    i32 [B, K]. Where there is only one class, 'exact' falls back to 'relax'.

  Raises:
    ValueError: an unknown mode.

  Source: Tian et al. 2020 (as `crd_nce`). RepDistiller draws 'exact'
    negatives without replacement where the data suffice. The loss assumes
    independent noise, as from drawing with replacement.
  """
  if mode not in _MODES:
    known = ', '.join(_MODES)
    raise ValueError(f"unknown mode '{mode}' of negatives; known: {known}")
  size, shape = len(all_labels), (len(labels), count)
  if mode == 'relax':
    return jax.random.randint(key, shape, 0, size, jnp.int32)
  order = jnp.argsort(all_labels)
  ranked = jnp.take(all_labels, order)
  start = jnp.searchsorted(ranked, labels, side='left')
  stop = jnp.searchsorted(ranked, labels, side='right')
  within = stop - start
  within = jnp.where(within < size, within, 0)
  others = (size - within)[:, None]
  drawn = jax.random.randint(key, shape, 0, others, jnp.int32)
  beyond = drawn >= start[:, None]
  place = drawn + jnp.where(beyond, within[:, None], 0)
  return jnp.take(order, place).astype(jnp.int32)
