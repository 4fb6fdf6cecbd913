"""Contrastive representation distillation, with memories of all examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import kinds
from kd_jax.losses import contrastive, geometry
from kd_jax.methods import base, embeddings, layer_names

_SIDES = ('student', 'teacher')


def crd(
  *,
  examples=None,
  layers: layer_names.Layers = (),
  temperature: kinds.Temperature = 0.07,
  momentum: kinds.Fraction = 0.5,
  dim: kinds.Count = embeddings.DIM,
  negatives: kinds.Count = 16384,
  mode: str = 'exact',
) -> base.Method:
  """Contrastive representation distillation against memories of the data.

  With unit embeddings v_s, v_t [B, dim] (a learned dense layer for either
  side) and memories m_s, m_t [N, dim], one row per training example,
    L = nce(exp(<v_s, m_t> / tau) / Z_s) + nce(exp(<v_t, m_s> / tau) / Z_t)
  over the row of the example and K random rows as negatives; nce is
  `losses.contrastive.crd_nce`. Z is N times the mean of exp(..) over the first
  batch, a constant afterwards. After each step the batch's rows are updated:
  m <- unit(momentum m + (1 - momentum) v).

  Negatives depend only on the seed, the step and the example's index, so they
  are the same on any number of devices and in any order of the batch. Memory:
  [B, N] products, or [B, 1 + K, dim] rows for N > 16 (1 + K), and an order of
  N numbers by class. The update is one scatter per memory, in place where the
  state is donated.

  Args:
    examples: int [N], the class of each example of the training set in the
      order of the batch's 'index'; given by `build`.
    layers: one pair [(student, teacher)], features [B, ...].
    temperature: tau.
    momentum: of the memories' rows.
    dim: of the embeddings; static.
    negatives: K, drawn with replacement; static.
    mode: 'exact' leaves the example's own class out of its negatives, 'relax'
      does not; static.

  Returns:
    A batchwise method whose loss is f32 [B], in nats, a sum over the
    negatives: not 0 at equality. Its state holds the memories, f32 [N, dim]
    each. Weight 0.8.

  Raises:
    ValueError: no examples, more than one pair of layers, or an unknown mode.

  Source: Tian, Krishnan and Isola 2020, "Contrastive Representation
    Distillation", equations 17 to 19, https://arxiv.org/abs/1910.10699; the
    numbers, Z and the memories are those of RepDistiller, which initializes the
    memories from a cube; ours are uniform on the sphere.
  """
  defaults = {'temperature': float(temperature), 'momentum': float(momentum)}
  layers = layer_names.need('crd', layers)
  if examples is None:
    raise ValueError("method 'crd' needs examples, the training set's classes")
  classes = np.asarray(examples, np.int32)

  compare = functools.partial(_compare, negatives, mode)

  def init(key, student, teacher):
    keys = jax.random.split(key, 4)
    sides = _sides(layers, student, teacher)
    params = embeddings.init(keys[0], *(x.shape for x in sides), dim)
    memory = {
      side: _sphere(key, len(classes), dim)
      for side, key in zip(_SIDES, keys[1:])
    }
    state = {
      **memory,
      'classes': jnp.asarray(classes),
      'log_z': jnp.zeros(2, jnp.float32),
      'seed': jax.random.bits(keys[3], dtype=jnp.uint32),
      'count': jnp.int32(0),
    }
    index = jax.ShapeDtypeStruct(sides[0].shape[:1], jnp.int32)
    base.check('crd', compare, params, state, sides, index, defaults)
    return {'params': params, 'state': state}

  def loss(variables, student, teacher, batch, hparams):
    state, sides = variables['state'], _sides(layers, student, teacher)
    value, log_z, units = compare(
      variables['params'], state, sides, batch['index'], hparams
    )
    # The scatter drops rows beyond the memory, so padding is not stored.
    rows = jnp.where(batch['mask'] > 0, batch['index'], len(classes))
    memory = {
      side: contrastive.update_memory(
        state[side], rows, jax.lax.stop_gradient(unit), hparams['momentum']
      )
      for side, unit in zip(_SIDES, units)
    }
    count = state['count'] + 1
    return value, {**state, **memory, 'log_z': log_z, 'count': count}

  return base.Method(init, loss, defaults, batchwise=True)


def _sides(layers, student, teacher):
  """The features of either side."""
  ours, theirs = layer_names.single('crd', layers, student, teacher)
  return student[ours], teacher[theirs]


def _compare(negatives, mode, params, state, sides, index, hparams):
  """Values [B], log Z of either side, embeddings of either side."""
  size = len(state['classes'])
  rows = _draw(state, index, negatives, mode)
  tau = hparams['temperature']
  units = [
    geometry.unit(embeddings.embed(params[side], x))
    for side, x in zip(_SIDES, sides)
  ]
  value, normalizers = 0.0, []
  for i, (anchors, other) in enumerate(zip(units, _SIDES[::-1])):
    logits = contrastive.memory_logits(
      anchors, state[other], rows, temperature=tau
    )
    fresh = contrastive.log_normalizer(jax.lax.stop_gradient(logits), size)
    log_z = jnp.where(state['count'] == 0, fresh, state['log_z'][i])
    value += contrastive.crd_nce(jnp.exp(logits - log_z), size)
    normalizers.append(log_z)
  return value, jnp.stack(normalizers), units


def _sphere(key, size, dim):
  """Unit rows [size, dim], uniform on the sphere."""
  return geometry.unit(jax.random.normal(key, (size, dim), jnp.float32))


def _draw(state, index, count, mode):
  """Rows i32 [B, 1 + count] of the memory: the example's, then negatives."""
  key = jax.random.fold_in(jax.random.key(state['seed']), state['count'])
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)

  def negatives(key, label):
    return contrastive.draw_negatives(
      key, label[None], state['classes'], count, mode
    )[0]

  rows = jax.vmap(negatives)(keys, jnp.take(state['classes'], index))
  return jnp.concatenate([index[:, None], rows], axis=1)
