"""Contrastive representation distillation, with memories of all examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import kinds
from kd_jax.losses import contrastive, geometry
from kd_jax.methods import base, embeddings, layer_names, relations

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
  side) and memories m_s, m_t [N, dim], a row an example of the training set,
    L = nce(exp(<v_s, m_t> / tau) / Z_s) + nce(exp(<v_t, m_s> / tau) / Z_t)
  over the example's own row and K rows drawn as negatives; nce is
  `losses.contrastive.crd_nce`. Z is N times the mean of exp(..) over the first
  batch and stays. After each step the batch's rows move: m <- unit(momentum m
  + (1 - momentum) v).

  Draws depend on the seed, the step and the example's index alone, so they
  are the same on any number of devices and in any order of the batch. Built
  are [B, N] products, or [B, 1 + K, dim] rows for N > 16 (1 + K), and the
  class order of N numbers; the update is one scatter a memory, in place where
  the state is donated.

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
    ValueError: no examples, not one pair of layers, or another mode.

  Source: Tian, Krishnan and Isola 2020, "Contrastive Representation
    Distillation", equations 17 to 19, https://arxiv.org/abs/1910.10699; the
    numbers, Z and the memories are those of RepDistiller, which draws the
    memories' first rows from a cube; ours are uniform on the sphere.
  """
  numbers = {'temperature': float(temperature), 'momentum': float(momentum)}
  layer_names.need('crd', layers)
  if examples is None:
    raise ValueError("method 'crd' needs examples, the training set's classes")
  classes = np.asarray(examples, np.int32)

  compare = functools.partial(_compare, negatives, mode)

  def init(key, student, teacher):
    keys = jax.random.split(key, 4)
    sides = _pair(layers, student, teacher)
    params = embeddings.init(keys[0], *sides, dim)
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
    base.check('crd', compare, params, state, sides, index, numbers)
    return {'params': params, 'state': state}

  def loss(variables, student, teacher, batch, hparams):
    state, sides = variables['state'], _pair(layers, student, teacher)
    value, log_z, units = compare(
      variables['params'], state, sides, batch['index'], hparams
    )
    # A row beyond the memory is left out: padding must not be remembered.
    rows = jnp.where(batch['mask'] > 0, batch['index'], len(classes))
    memory = {
      side: contrastive.update_memory(
        state[side], rows, jax.lax.stop_gradient(unit), hparams['momentum']
      )
      for side, unit in zip(_SIDES, units)
    }
    count = state['count'] + 1
    return value, {**state, **memory, 'log_z': log_z, 'count': count}

  return base.Method(init, loss, numbers, batchwise=True)


def _pair(layers, student, teacher):
  """The features of either side."""
  found = relations.named('crd', layers, student, teacher)
  if len(found) != 1:
    raise ValueError(f"method 'crd' reads one pair of layers, not {found}")
  return student[found[0][0]], teacher[found[0][1]]


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
  """Unit rows [size, dim] in directions drawn evenly."""
  return geometry.unit(jax.random.normal(key, (size, dim), jnp.float32))


def _draw(state, index, count, mode):
  """i32 [B, 1 + count]: each example's own row, then its negatives."""
  key = jax.random.fold_in(jax.random.key(state['seed']), state['count'])
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)

  def negatives(key, label):
    return contrastive.draw_negatives(
      key, label[None], state['classes'], count, mode
    )[0]

  drawn = jax.vmap(negatives)(keys, jnp.take(state['classes'], index))
  return jnp.concatenate([index[:, None], drawn], axis=1)
