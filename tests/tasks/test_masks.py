"""Masks of any rank: void pixels teach nothing, on any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from kd_jax import methods, optim, parallel, stages, tasks, terms
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.models import base
from kd_jax.schemes import base as schemes_base
from tests.helpers import tiny

BATCH, CLASSES = 16, 3


class Dense(nn.Module):
  """A class for every second pixel: logits [B, h, w, K]."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    x = nn.relu(nn.Conv(4, (3, 3), strides=(2, 2))(x))
    return {'map': x, 'logits': nn.Conv(CLASSES, (1, 1))(x)}


def networks() -> dict:
  return {n: base.from_linen(Dense()) for n in ('teacher', 'student')}


def batch(void: float = 0.5) -> dict:
  """Images [B, 8, 8, 1]; ever more of their pixels are void."""
  rng = np.random.default_rng(0)
  stored = rng.integers(0, CLASSES, (BATCH, 8, 8)).astype(np.int16)
  shares = np.linspace(0, 2 * void, BATCH)[:, None, None]
  stored[rng.random(stored.shape) < shares] = tasks.VOID
  labels, mask = tasks.counted(stored, np)
  return {
    'inputs': jnp.asarray(rng.normal(size=(BATCH, 8, 8, 1)), jnp.float32),
    'labels': jnp.asarray(labels),
    'index': jnp.arange(BATCH, dtype=jnp.int32),
    'mask': jnp.asarray(mask),
  }


def stage(accumulate: int = 1, **kept) -> stages.Stage:
  """Labels, a term a pixel, and a term an image."""
  summands = {
    'hard': schemes_base.hard('student'),
    'soft': tiny.soft(),
    'map': terms.Term(
      'student', 'teacher', methods.make_method('at', layers=[('map', 'map')])
    ),
  }
  tx = optim.make_optimizer('sgd', accumulate=accumulate)
  chosen = {k: v for k, v in summands.items() if kept.get(k, True)}
  recipe = tiny.recipe(tx=tx, weight_decay=0.0)
  return stages.Stage('student', chosen, ('student',), recipe, ('teacher',))


def step_of(stage):
  return steps.make_halves(networks(), stage, task=tasks.SEGMENTATION).step


def start(stage, batch):
  frozen = {
    'teacher': networks()['teacher'].init(jax.random.key(7), batch['inputs'])
  }
  return states.init_state(networks(), stage, batch), frozen


def test_values_count_where_any_of_their_predictions_does():
  values = jnp.array([1.0, 2.0, 4.0])
  mask = jnp.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
  assert terms.masked_mean(values, mask) == 2.5
  assert terms.masked_mean(mask + 1, mask) == 2
  assert terms.masked_mean(values, mask[:, 0]) == 2.5
  assert terms.masked_mean(values, jnp.zeros((3, 2))) == 0


def test_a_mask_of_another_size_is_taken_at_the_nearest_pixel():
  mask = jnp.zeros((1, 4, 4)).at[:, :2].set(1.0)
  values = jnp.arange(4.0).reshape(1, 2, 2)
  assert terms.masked_mean(values, mask) == 0.5


def test_void_pixels_teach_nothing_unless_a_term_says_so():
  logits = jax.random.normal(jax.random.key(0), (2, 4, 4, CLASSES))
  mask = jnp.ones((2, 4, 4)).at[:, :, 2:].set(0.0)
  data = {'labels': jnp.zeros((2, 4, 4), jnp.int32), 'mask': mask}

  def loss(logits, void):
    summands = {
      'hard': schemes_base.hard('student'),
      'soft': tiny.soft(void=void),
    }
    hparams = {k: terms.hparams_of(t) for k, t in summands.items()}
    signals = {'labels': {}, 'student': {'logits': logits}}
    signals['teacher'] = {'logits': jnp.zeros_like(logits)}
    nothing = {name: {} for name in summands}
    return terms.total_loss(
      summands, nothing, signals, data, hparams, jnp.int32(0)
    )[0]

  grad = jax.jit(jax.grad(loss), static_argnums=1)
  masked, open_ = (grad(logits, void) for void in (False, True))
  assert (masked[:, :, 2:] == 0).all() and (masked[:, :, :2] != 0).any()
  assert (open_[:, :, 2:] != 0).any()


def test_a_wholly_void_batch_gives_zero_and_moves_nothing():
  data = batch()
  data['mask'] = jnp.zeros_like(data['mask'])
  state, frozen = start(stage(), data)
  new, metrics = jax.jit(step_of(stage()))(state, frozen, data)
  assert metrics['loss'] == metrics['pixel_accuracy/student'] == 0
  assert tiny.distance(new.params, state.params) == 0


@pytest.mark.parametrize('way', ['mesh', 'pmap'])
def test_the_mean_is_over_all_pixels_of_all_devices(way):
  placement = {'mesh': parallel.on_mesh, 'pmap': parallel.on_pmap}[way]()
  state, frozen = start(stage(), batch())
  single, metrics = jax.jit(step_of(stage()))(state, frozen, batch())
  step = placement.compile(step_of(stage()), 2)
  args = placement.replicate(state), placement.replicate(frozen)
  several, others = step(*args, placement.split(batch()))
  assert tiny.distance(others, metrics) < 1e-5
  assert tiny.distance(several.params, single.params) < 1e-5


def test_micro_batches_are_weighted_by_their_pixels():
  part = stage(accumulate=2, map=False)
  whole = stage(map=False)
  begin, frozen = start(whole, batch())
  expected, _ = jax.jit(step_of(whole))(begin, frozen, batch())
  state, _ = start(part, batch())
  step = jax.jit(step_of(part))
  alone = []
  for half in (slice(0, BATCH // 2), slice(BATCH // 2, BATCH)):
    some = {name: x[half] for name, x in batch().items()}
    alone.append(jax.jit(step_of(whole))(begin, frozen, some)[0].params)
    state, _ = step(state, frozen, some)
  of_means = jax.tree.map(lambda a, b: (a + b) / 2, *alone)
  assert tiny.distance(state.params, expected.params) < 1e-4
  assert tiny.distance(of_means, expected.params) > 1e-2


def test_equal_micro_batches_give_the_mean_of_optax_bit_for_bit():
  ours = optim.make_optimizer('sgd', accumulate=3)
  plain = optax.MultiSteps(optim.make_optimizer('sgd'), 3)
  params = {'w': jnp.ones(5)}
  numbers = {'learning_rate': jnp.float32(0.1), 'weight_decay': jnp.float32(0)}
  mine, theirs = ours.init(params), plain.init(params)
  for i in range(3):
    grads = {'w': jax.random.normal(jax.random.key(i), (5,))}
    a, mine = ours.update(grads, mine, params, hparams=numbers, count=64.0)
    b, theirs = plain.update(grads, theirs, params, hparams=numbers)
    np.testing.assert_array_equal(a['w'], b['w'])
  assert (np.asarray(a['w']) != 0).all()


# The third sequence has no label, the fourth row is no sequence.
COUNTS = jnp.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]], jnp.float32)
VALUES = jnp.array([[1.0, 3, 9], [9, 5, 9], [9, 9, 9], [9, 9, 9]])
PRESENT = jnp.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], jnp.float32)


@pytest.mark.parametrize(
  ('reduction', 'want'),
  [('token_mean', 3), ('sequence_mean', 3.5), ('sequence_sum', 3)],
)
def test_reductions(reduction, want):
  mean = functools.partial(terms.masked_mean, reduction=reduction)
  assert mean(VALUES, COUNTS, present=PRESENT) == want
  assert mean(VALUES, 0 * COUNTS, present=PRESENT) == 0


def test_packed_sequences_are_counted_one_by_one():
  """Both labelled sequences in one row, a part of padding behind them."""
  values = jnp.array([[1.0, 3, 9, 5, 9, 9, 9]])
  counts = jnp.array([[1.0, 1, 0, 1, 0, 0, 0]])
  packed = jnp.array([[1, 1, 1, 2, 2, 3, 0]])
  for reduction, want in [('sequence_mean', 3.5), ('sequence_sum', 3)]:
    got = terms.masked_mean(
      values,
      counts,
      reduction=reduction,
      packed=packed,
      present=jnp.float32(packed > 0),
    )
    assert got == want
