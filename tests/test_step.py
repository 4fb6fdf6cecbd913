"""The step: pure, donated, compiled once, the same on any devices."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax import methods, optim, parallel, stages, terms
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.schemes import base
from tests.helpers import tiny


def train(placement, stage, networks=None, count=10, prepare=None):
  """The state after `count` steps and the metrics of the last."""
  networks = networks or tiny.networks()
  prepare = prepare or (lambda step, batch: batch)
  step = steps.make_halves(networks, stage, prepare).step
  state = states.init_state(networks, stage, tiny.batch())
  compiled = placement.compile(step, 2, (0,))
  state = placement.replicate(state)
  frozen = placement.replicate(tiny.frozen())
  for n in range(count):
    batch = jax.device_get(tiny.batch(n))
    state, metrics = compiled(state, frozen, placement.split(batch))
  return jax.device_get(state._replace(rng=None)), jax.device_get(metrics)


@pytest.fixture(scope='module')
def on_one():
  return train(parallel.on_one(), tiny.offline())


@pytest.mark.parametrize('name', ['mesh', 'pmap'])
@pytest.mark.parametrize('count', [1, 8])
def test_any_devices_train_the_same(name, count, on_one):
  placement = parallel.choose(name, jax.devices()[:count])
  state, metrics = train(placement, tiny.offline())
  assert tiny.distance(state, on_one[0]) < 1e-4
  assert tiny.distance(metrics, on_one[1]) < 1e-4


@pytest.mark.parametrize('name', ['mesh', 'pmap'])
def test_a_partial_mask_counts_over_the_whole_batch(name):
  def masked(step, batch):
    del step
    return {**batch, 'mask': (batch['index'] < 5).astype(jnp.float32)}

  want, _ = train(parallel.on_one(), tiny.offline(), count=3, prepare=masked)
  got, _ = train(parallel.choose(name), tiny.offline(), count=3, prepare=masked)
  assert tiny.distance(got, want) < 1e-4


def test_dropout_draws_a_mask_of_its_own_on_each_shard():
  networks = tiny.networks(dropout=0.5)
  one, _ = train(parallel.on_one(), tiny.offline(), networks, 1)
  mapped, _ = train(parallel.on_pmap(), tiny.offline(), networks, 1)
  again, _ = train(parallel.on_pmap(), tiny.offline(), networks, 1)
  assert tiny.distance(mapped, one) > 1e-3
  assert tiny.distance(mapped, again) == 0


def test_the_loss_falls():
  placement = parallel.on_one()
  stage = tiny.offline(terms={'hard': base.hard('student')}, frozen=())
  _, early = train(placement, stage, count=1)
  _, late = train(placement, stage, count=40)
  assert late['loss'] < 0.5 * early['loss']


def test_no_gradient_reaches_a_teacher():
  networks, stage = tiny.networks(), tiny.offline()
  batch, frozen = tiny.batch(), tiny.frozen()
  state = states.init_state(networks, stage, batch)

  def after(frozen):
    step = steps.make_halves(networks, stage).step
    return step(state, frozen, batch)[1]['loss']

  grads = jax.jit(jax.grad(after))(frozen)
  assert all(not np.any(g) for g in jax.tree.leaves(grads))


def test_a_peer_that_teaches_is_a_constant():
  """Where a learner is another's teacher, that term does not move it."""
  networks, batch = tiny.networks(), tiny.batch()
  stage = tiny.offline(
    terms={'soft': tiny.soft('student', 'peer')},
    students=('student', 'peer'),
    frozen=(),
    recipe=tiny.recipe(weight_decay=0.0),
  )
  state = states.init_state(networks, stage, batch)
  new, _ = jax.jit(steps.make_halves(networks, stage).step)(state, {}, batch)
  before, after = state.params['networks'], new.params['networks']
  assert tiny.distance(before['peer'], after['peer']) == 0
  assert tiny.distance(before['student'], after['student']) > 0


def test_donation_has_no_warnings_and_consumes_the_state():
  networks, stage, batch = tiny.networks(), tiny.offline(), tiny.batch()
  step = parallel.on_one().compile(
    steps.make_halves(networks, stage).step, 2, (0,)
  )
  frozen = tiny.frozen()
  state = states.init_state(networks, stage, batch)
  kernel = state.params['networks']['student']['Dense_0']['kernel']
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    step(state, frozen, batch)
  assert kernel.is_deleted()
  assert not any(x.is_deleted() for x in jax.tree.leaves(frozen))


def test_what_no_term_reads_is_named_and_none():
  halves = steps.make_halves(
    tiny.networks(), tiny.offline(), reads={'teacher': {'logits'}}
  )
  signals = halves.frozen_signals(tiny.frozen(), tiny.batch())['teacher']
  assert signals['hidden'] is None and signals['logits'] is not None


def test_the_parts_of_a_step_have_names_in_a_profile():
  networks, stage = tiny.networks(), tiny.offline()
  state = states.init_state(networks, stage, tiny.batch())
  step = jax.jit(steps.make_halves(networks, stage).step)
  lowered = step.lower(state, tiny.frozen(), tiny.batch())
  text = lowered.as_text(debug_info=True)
  for name in ('teacher', 'student', 'loss', 'optimizer'):
    assert re.search(rf'loc\("[^"]*\b{name}\b[^"]*/', text), name


def test_numbers_change_without_recompiling():
  networks, stage, batch = tiny.networks(), tiny.offline(), tiny.batch()
  compiles = []
  pure = steps.make_halves(networks, stage).step

  def counted(state, frozen, batch):
    compiles.append(1)
    return pure(state, frozen, batch)

  step = jax.jit(counted)
  frozen = tiny.frozen()
  state = states.init_state(networks, stage, batch)
  _, first = step(state, frozen, batch)
  changed = {
    'soft': {'weight': jnp.float32(0.1), 'temperature': jnp.float32(9.0)},
    'hard': {'weight': jnp.float32(0.9), 'smoothing': jnp.float32(0.0)},
    'optimizer': {
      'learning_rate': jnp.float32(0.5),
      'weight_decay': jnp.float32(0.0),
    },
  }
  new, second = step(state._replace(hparams=changed), frozen, batch)
  assert len(compiles) == 1
  assert second['learning_rate'] == 0.5
  assert abs(first['loss/soft'] - second['loss/soft']) > 1e-3
  step(new, frozen, batch)
  assert len(compiles) == 1


def test_the_total_is_the_weighted_sum_of_the_terms():
  networks, batch, frozen = tiny.networks(), tiny.batch(), tiny.frozen()
  stage = tiny.offline()
  state = states.init_state(networks, stage, batch)
  step = jax.jit(steps.make_halves(networks, stage).step)
  _, metrics = step(state, frozen, batch)
  want = metrics['loss/hard'] + 0.9 * metrics['loss/soft']
  np.testing.assert_allclose(metrics['loss'], want, rtol=1e-6)


def test_schedules_scale_weights_and_temperatures():
  networks, batch, frozen = tiny.networks(), tiny.batch(), tiny.frozen()
  late = tiny.soft(
    schedules={
      'weight': lambda s: 1.0 * (s >= 1),
      'temperature': lambda s: 1.0 + s,
    }
  )
  stage = tiny.offline(terms={'soft': late})
  state = states.init_state(networks, stage, batch)
  step = jax.jit(steps.make_halves(networks, stage).step)
  state, metrics = step(state, frozen, batch)
  assert metrics['loss'] == 0 < metrics['loss/soft']
  _, metrics = step(state, frozen, batch)
  assert metrics['loss'] > 0


def test_only_what_trains_moves():
  networks, batch, frozen = tiny.networks(), tiny.batch(), tiny.frozen()
  stage = tiny.offline(trains=('networks/student/Dense_1/*',))
  state = states.init_state(networks, stage, batch)
  new, _ = jax.jit(steps.make_halves(networks, stage).step)(
    state, frozen, batch
  )
  old, new = (s.params['networks']['student'] for s in (state, new))
  assert tiny.distance(old['Dense_0'], new['Dense_0']) == 0
  assert tiny.distance(old['Dense_1'], new['Dense_1']) > 0


def test_what_has_no_part_in_the_loss_neither_moves_nor_decays():
  """A hint alone, as in the first phase of AB and FSP: the classifier waits."""
  networks, batch, frozen = tiny.networks(), tiny.batch(), tiny.frozen()
  hint = methods.make_method('fitnet', layers=[('hidden', 'hidden')])
  stage = tiny.offline(
    terms={'hint': tiny.soft()._replace(method=hint)},
    recipe=tiny.recipe(weight_decay=0.5),
  )
  state = states.init_state(networks, stage, batch)
  step = jax.jit(steps.make_halves(networks, stage).step)
  new = state
  for n in range(3):
    new, _ = step(new, frozen, tiny.batch(n))
  old, new = (s.params['networks']['student'] for s in (state, new))
  assert tiny.distance(old['Dense_1'], new['Dense_1']) == 0
  assert tiny.distance(old['Dense_0'], new['Dense_0']) > 0


def test_copies_follow_their_student():
  networks, batch = tiny.networks(), tiny.batch()
  stage = tiny.offline(
    terms={
      'hard': base.hard('student'),
      'mean': tiny.soft('student', 'average'),
      'past': tiny.soft('student', 'before'),
    },
    frozen=(),
    ema={'average': stages.Ema('student', lambda step: 0.5)},
    snapshot={'before': stages.Snapshot('student', 2)},
  )
  state = states.init_state(networks, stage, batch)
  step = jax.jit(steps.make_halves(networks, stage).step)
  start = states.variables_of(state, 'student', stage)
  one, _ = step(state, {}, batch)
  now = states.variables_of(one, 'student', stage)
  half = jax.tree.map(lambda a, b: (a + b) / 2, start, now)
  assert tiny.distance(one.carried['copies']['average'], half) < 1e-6
  assert tiny.distance(one.carried['copies']['before'], start) == 0
  two, _ = step(one, {}, batch)
  now = states.variables_of(two, 'student', stage)
  assert tiny.distance(two.carried['copies']['before'], now) == 0


@pytest.mark.parametrize(
  'change, message',
  [
    ({'terms': {'soft': tiny.soft('studnet')}}, 'studnet'),
    ({'terms': {'soft': tiny.soft('student', 'techer')}}, 'techer'),
    ({'terms': {}}, 'no term'),
    ({'terms': {'soft': tiny.soft('student', 'student')}}, 'teach itself'),
    ({'terms': {'soft': tiny.soft('teacher', 'student')}}, 'does not learn'),
    (
      {
        'terms': {'soft': tiny.soft('copy')},
        'ema': {'copy': stages.Ema('student', lambda s: 0.5)},
      },
      'does not learn',
    ),
    (
      {
        'terms': {'soft': tiny.soft('view')},
        'views': {'view': terms.View(('teacher',), lambda o, b: o[0])},
      },
      'does not learn',
    ),
    ({'recipe': tiny.recipe(steps=0)}, 'no steps'),
    ({'ema': {'a': stages.Ema('nobody', lambda s: 0.5)}}, 'nobody'),
    ({'views': {'v': terms.View(('x',), lambda o, b: o[0])}}, "'x'"),
  ],
)
def test_names_that_do_not_fit_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    stages.check(tiny.offline(**change))


def _dot(**changes):
  tx = optim.make_optimizer('dot', momentum=0.9, delta=0.09)
  return tiny.offline(recipe=tiny.recipe(tx=tx), **changes)


def test_hard_and_soft_gradients_add_up_to_the_whole():
  networks, batch, frozen = tiny.networks(), tiny.batch(), tiny.frozen()
  whole = tiny.offline()
  state = states.init_state(networks, whole, batch)
  want, of_whole = jax.jit(steps.make_halves(networks, whole).step)(
    state, frozen, batch
  )
  stage = _dot()
  state = states.init_state(networks, stage, batch)
  # The first step has nothing to remember.
  got, of_parts = jax.jit(steps.make_halves(networks, stage).step)(
    state, frozen, batch
  )
  assert tiny.distance(got.params, want.params) < 1e-5
  assert tiny.distance(of_parts, of_whole) < 1e-5
  hard = tiny.offline(terms={'hard': base.hard('student')})
  state = states.init_state(networks, hard, batch)
  alone, _ = jax.jit(steps.make_halves(networks, hard).step)(
    state, frozen, batch
  )
  (trace,) = jax.tree.leaves(
    alone.opt_state, is_leaf=lambda x: isinstance(x, optax.TraceState)
  )
  parts = next(
    x
    for x in jax.tree.leaves(
      got.opt_state, is_leaf=lambda x: isinstance(x, optim.Parts)
    )
    if isinstance(x, optim.Parts)
  )
  of_student = parts.task['networks'], trace.trace['networks']
  assert tiny.distance(*of_student) < 1e-5
  assert tiny.distance(parts.distilled, parts.task) > 0.01


@pytest.mark.parametrize('name', ['mesh', 'pmap'])
def test_any_devices_train_the_same_by_dot(name):
  want = train(parallel.on_one(), _dot(), count=4)
  got = train(parallel.choose(name), _dot(), count=4)
  assert tiny.distance(got, want) < 1e-4


def test_dot_of_one_kind_of_terms_is_sgd():
  only = {'terms': {'hard': base.hard('student')}, 'frozen': ()}
  got, _ = train(parallel.on_one(), _dot(**only), count=3)
  want, _ = train(parallel.on_one(), tiny.offline(**only), count=3)
  assert tiny.distance(got.params, want.params) == 0


def test_only_what_trains_moves_by_dot():
  networks, batch, frozen = tiny.networks(), tiny.batch(), tiny.frozen()
  stage = _dot(trains=('networks/student/Dense_1/*',))
  state = states.init_state(networks, stage, batch)
  new, _ = jax.jit(steps.make_halves(networks, stage).step)(
    state, frozen, batch
  )
  old, new = (s.params['networks']['student'] for s in (state, new))
  assert tiny.distance(old['Dense_0'], new['Dense_0']) == 0
  assert tiny.distance(old['Dense_1'], new['Dense_1']) > 0
