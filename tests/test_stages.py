"""Terms on a strong view of the examples: 'NETWORK@strong'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import build, config, parallel, stages
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.losses import logits as losses
from kd_jax.schemes import base
from tests.helpers import tiny

TERMS = {
  'hard': base.hard('student'),
  'strong': tiny.soft('student@strong', 'teacher@strong'),
}


def batch() -> dict:
  """A strong view is another batch's images."""
  return {**tiny.batch(), 'strong_inputs': tiny.batch(1)['inputs']}


def stepped(terms, placement=None):
  """The state before, after, and the metrics of a step."""
  networks, stage, frozen = tiny.networks(), tiny.offline(), tiny.frozen()
  stage = stage._replace(terms=terms)
  state = states.init_state(networks, stage, batch())
  placement = placement or parallel.on_one()
  step = placement.compile(steps.make_halves(networks, stage).step, 2)
  after, metrics = step(
    placement.replicate(state),
    placement.replicate(frozen),
    placement.split(batch()),
  )
  return state, jax.device_get(after), jax.device_get(metrics)


def test_both_networks_see_the_strong_view():
  state, _, metrics = stepped(TERMS)
  networks, seen = tiny.networks(), batch()
  student = {
    'params': state.params['networks']['student'],
    **state.carried['networks']['student'],
  }
  outputs = {}
  for name, variables, train in (
    ('student', student, True),
    ('teacher', tiny.frozen()['teacher'], False),
  ):
    told, _ = networks[name].apply(
      variables, seen['strong_inputs'], train=train, rng=jax.random.key(0)
    )
    outputs[name] = told['logits']
  wanted = losses.kd(outputs['student'], outputs['teacher'], temperature=4.0)
  np.testing.assert_allclose(metrics['loss/strong'], wanted.mean(), rtol=1e-5)


def test_norms_average_over_both_views_in_turn():
  """Running statistics move twice, as by two calls of the network."""
  state, after, _ = stepped(TERMS)
  network = tiny.networks()['student']
  variables = {
    'params': state.params['networks']['student'],
    **state.carried['networks']['student'],
  }
  for inputs in (batch()['inputs'], batch()['strong_inputs']):
    _, carried = network.apply(
      variables, inputs, train=True, rng=jax.random.key(0)
    )
    variables = {**variables, **carried}
  found = after.carried['networks']['student']
  wanted = {k: v for k, v in variables.items() if k != 'params'}
  assert tiny.distance(found, wanted) < 1e-5


@pytest.mark.parametrize('place', [parallel.on_mesh, parallel.on_pmap])
def test_eight_devices_agree_with_one(place):
  one, many = (stepped(TERMS, p)[1] for p in (None, place()))
  assert tiny.distance(many.params, one.params) < 1e-4


def test_no_gradient_reaches_the_teacher_by_the_strong_view():
  networks = tiny.networks()
  stage, seen = tiny.offline()._replace(terms=TERMS), batch()
  state = states.init_state(networks, stage, seen)

  def after(frozen):
    step = steps.make_halves(networks, stage).step
    return step(state, frozen, seen)[1]['loss']

  grads = jax.grad(after)(tiny.frozen())
  assert all(not jnp.any(g) for g in jax.tree.leaves(grads))


def test_an_unknown_network_is_named():
  terms = {'soft': tiny.soft('student@strong', 'teachr@strong')}
  with pytest.raises(ValueError, match="'teachr@strong'.*did you mean"):
    stages.check(tiny.offline(terms=terms))


def made(**changes):
  """The experiment of the digits with a term on the strong view."""
  c = config.read('experiments/configs/digits.py')
  c.terms.strong = dict(
    method='kd', student='student@strong', teacher='teacher@strong'
  )
  for key, value in changes.items():
    c[key] = value
  return build.make_experiment(c)


def test_a_strong_view_that_nothing_makes_is_refused():
  with pytest.raises(ValueError, match="no augmentation makes.*'two_view'"):
    made()


def test_a_cache_of_one_view_is_refused():
  with pytest.raises(ValueError, match='stores one view'):
    made(teacher_outputs='cache')


def test_rotations_that_nothing_makes_are_refused():
  c = config.read('experiments/configs/digits_methods.py:sskd')
  made = build.make_experiment(c)
  shapes = build.example_batch(made, made.stages[-1])
  assert shapes['inputs'].shape[0] == 4 * c.train.batch_size
  c.train.augment = ()
  with pytest.raises(ValueError, match="term 'soft'.*'turns'.*'rotations'"):
    build.make_experiment(c)
