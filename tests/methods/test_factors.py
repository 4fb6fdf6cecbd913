"""FT: two stages, each of which trains its own part and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kd_jax import methods
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.methods import factors
from kd_jax.models import base as models
from kd_jax.schemes import base as schemes
from tests.helpers import tiny
from tests.helpers.methods import feature_runs

LAYERS = [('x', 'y')]
STEPS = 2
INPUTS = tiny.batch()['inputs']


@pytest.fixture(scope='module')
def runner():
  student = feature_runs.outputs(x=(4, 4, 2))
  teacher = feature_runs.outputs(1, y=(2, 2, 4))
  return feature_runs.make(
    'ft', student, teacher, layers=LAYERS, paraphraser_steps=STEPS
  )


def _later(runner):
  """The variables after the first stage, trained with a great step."""
  variables = runner.variables
  for _ in range(STEPS):
    found = runner.run(variables)
    params = jax.tree.map(
      lambda x, g: x - 50 * g, variables['params'], found.grads['params']
    )
    variables = {'params': params, 'state': found.state}
  return variables


def _moved(found):
  """The parts that have a gradient."""
  own = {**found.grads['params']['pair0'], 'student': found.grads['student']}
  return {name for name, g in own.items() if feature_runs.norm(g) > 0}


def test_each_stage_trains_its_own_part(runner):
  assert _moved(runner.run()) == {'encoder', 'decoder'}
  assert _moved(runner.run(_later(runner))) == {'translator', 'student'}


def test_the_first_stage_is_the_scaled_reconstruction(runner):
  values = [runner.run(reconstruction=x).values for x in (0.005, 1.0)]
  np.testing.assert_allclose(200 * values[0], values[1], rtol=1e-5)


def test_the_paraphraser_is_frozen_as_the_first_stage_left_it(runner):
  later = _later(runner)
  first = runner.run(later)
  params = jax.tree.map(lambda x: 2 * x, later['params']['pair0'])
  kept = later['params']['pair0']['translator']
  shifted = {'pair0': {**params, 'translator': kept}}
  again = runner.run({'params': shifted, 'state': later['state']})
  np.testing.assert_array_equal(again.values, first.values)
  frozen = first.state['pair0']['frozen']
  assert feature_runs.apart(frozen, later['state']['pair0']['frozen']) == 0


def test_what_is_frozen_was_trained(runner):
  frozen = _later(runner)['state']['pair0']['frozen']
  start = runner.variables['state']['pair0']['frozen']
  assert feature_runs.apart(frozen, start) > 0


def _maps(width):
  """A network of one convolution that shows its map and its logits."""

  class Maps(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
      x = nn.relu(nn.Conv(width, (3, 3))(x))
      return {'map': x, 'logits': nn.Dense(tiny.CLASSES)(x.mean((1, 2)))}

  return models.from_linen(Maps())


@pytest.fixture(scope='module')
def trained():
  """The parameters of the term: at the start, when the first stage ends, and
  at the end, after steps with a great decay and momentum."""
  networks = {'teacher': _maps(4), 'student': _maps(2)}
  term = tiny.soft()._replace(
    method=methods.make_method(
      'ft', layers=[('map', 'map')], paraphraser_steps=STEPS
    )
  )
  stage = tiny.offline(
    terms={'hard': schemes.hard('student'), 'soft': term},
    recipe=tiny.recipe(weight_decay=0.5),
  )
  frozen = {'teacher': networks['teacher'].init(jax.random.key(1), INPUTS)}
  state = states.init_state(networks, stage, tiny.batch())
  step = jax.jit(steps.make_halves(networks, stage).step)
  seen = [state]
  for n in range(2 * STEPS):
    state, _ = step(state, frozen, tiny.batch(n))
    seen.append(state)
  params = [s.params['terms']['soft']['pair0'] for s in seen]
  return params[0], params[STEPS], params[-1]


def _which_moved(before, after):
  return {n for n in before if feature_runs.apart(before[n], after[n]) > 0}


def test_a_part_neither_moves_nor_decays_outside_of_its_stage(trained):
  start, middle, end = trained
  assert _which_moved(start, middle) == {'encoder', 'decoder'}
  assert _which_moved(middle, end) == {'translator'}


def test_factors_have_their_share_of_the_channels():
  method = methods.make_method(
    'ft', layers=LAYERS, paraphraser_steps=0, rate=0.75
  )
  sides = {'x': jnp.ones((2, 4, 4, 3))}, {'y': jnp.ones((2, 4, 4, 8))}
  made = jax.eval_shape(method.init, jax.random.key(0), *sides)
  own = made['params']['pair0']
  widths = [
    own[n]['Conv_2']['kernel'].shape[-1]
    for n in ('encoder', 'translator', 'decoder')
  ]
  assert widths == [6, 6, 8]


def test_paper_is_the_l1_norm_of_the_difference_of_unit_factors():
  s, t = (np.random.default_rng(i).normal(size=(3, 2, 2, 4)) for i in (0, 1))
  unit = [x.reshape(3, -1) for x in (s, t)]
  unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit]
  found = factors._distance(jnp.float32(s), jnp.float32(t), 'paper')
  want = abs(unit[0] - unit[1]).sum(1)
  np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize(
  'options, message',
  [
    ({}, 'needs paraphraser_steps'),
    ({'paraphraser_steps': -1}, 'got -1'),
    ({'paraphraser_steps': 1, 'variant': 'cod'}, "did you mean 'code'"),
  ],
)
def test_what_cannot_be_meant_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    methods.make_method('ft', layers=LAYERS, **options)


def test_on_an_accelerator_one_stage_is_computed_and_not_both(runner):
  """Lowered for it, which needs none: there is a conditional more there."""

  def value(variables):
    return runner.method.loss(
      variables, runner.student, runner.teacher, {}, runner.method.hparams
    )[0]

  traced = jax.jit(value).trace(runner.variables)
  on_cpu, on_gpu = (
    traced.lower(lowering_platforms=(p,)).as_text().count('stablehlo.case')
    for p in ('cpu', 'cuda')
  )
  assert on_gpu == on_cpu + 1
