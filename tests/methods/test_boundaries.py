"""AB and OFD: connectors, and margins measured over batches."""

import numpy as np
import pytest

from kd_jax.losses import boundaries as losses
from kd_jax.methods import boundaries
from tests.helpers.methods import feature_runs

LAYERS = [('x1', 'y1'), ('x2', 'y2')]


def _sides():
  return (
    feature_runs.outputs(x1=(4, 4, 2), x2=(4, 4, 3)),
    feature_runs.outputs(1, y1=(4, 4, 2), y2=(2, 2, 4)),
  )


def test_ab_connects_only_what_differs():
  runner = feature_runs.make('ab', *_sides(), layers=LAYERS)
  assert set(runner.variables['params']) == {'pair1'}
  layers = set(runner.variables['params']['pair1'])
  assert layers == {'Conv_0', 'BatchNorm_0'}


def test_ab_is_its_loss_where_nothing_differs():
  student, teacher = _sides()
  runner = feature_runs.make('ab', student, teacher, layers=LAYERS[:1])
  want = losses.ab([student['x1']], [teacher['y1']], margin=0.5)
  np.testing.assert_allclose(runner.run(margin=0.5).values, want, rtol=1e-5)


@pytest.mark.parametrize('name, rate', [('ab', 3.0), ('ofd', 3e-3)])
def test_it_learns(name, rate):
  runner = feature_runs.make(name, *_sides(), layers=LAYERS)
  means, _ = runner.descend(30, rate)
  assert means[-1] < 0.7 * means[0]


def _measured(variant, batches):
  zeros = np.zeros(batches[0].shape[-1], np.float32)
  memory = {'count': zeros, 'mean': zeros, 'variance': zeros}
  for x in batches:
    memory = boundaries.count_moments(memory, x, variant)
  return memory


@pytest.fixture
def batches():
  """Three batches, unlike each other; the last channel is never negative."""
  rng = np.random.default_rng(0)
  made = [
    rng.normal(loc=3 * i, size=(2, 2, 2, 3)).astype(np.float32)
    for i in range(3)
  ]
  return [
    np.stack([*np.moveaxis(x, -1, 0)[:2], abs(x[..., 2])], -1) for x in made
  ]


def test_the_measured_margin_is_the_mean_of_all_negative_values(batches):
  memory = _measured('measured', batches)
  whole = np.concatenate(batches).reshape(-1, 3).astype(np.float64)
  want = [x[x < 0].mean() if (x < 0).any() else 0 for x in whole.T]
  margin = boundaries.margin_of(memory, 'measured')
  np.testing.assert_allclose(margin, want, rtol=1e-5)
  np.testing.assert_array_equal(memory['count'], (whole < 0).sum(0))


def test_the_normal_margin_is_of_the_moments_of_all_values(batches):
  memory = _measured('normal', batches)
  whole = np.concatenate(batches).reshape(-1, 3).astype(np.float64)
  np.testing.assert_allclose(memory['mean'], whole.mean(0), rtol=1e-5)
  np.testing.assert_allclose(memory['variance'], whole.var(0), rtol=1e-5)
  np.testing.assert_allclose(
    boundaries.margin_of(memory, 'normal'),
    losses.ofd_margin(whole.mean(0), whole.std(0)),
    rtol=1e-5,
  )


def test_on_normal_values_the_two_margins_agree():
  x = np.random.default_rng(0).normal(0.3, 1.2, (64, 8, 8, 2))
  margins = [
    boundaries.margin_of(_measured(variant, [x.astype(np.float32)]), variant)
    for variant in ('measured', 'normal')
  ]
  np.testing.assert_allclose(margins[0], margins[1], rtol=0.05)


def test_margins_are_used_and_remembered():
  student, teacher = _sides()
  runner = feature_runs.make('ofd', student, teacher, layers=LAYERS[1:])
  first = runner.run()
  y = np.asarray(teacher['y2']).reshape(-1, 4)
  want = [x[x < 0].mean() for x in y.T]
  margin = first.state['moments']['pair0']['mean']
  np.testing.assert_allclose(margin, want, rtol=1e-5)
  again = runner.run({**runner.variables, 'state': first.state})
  np.testing.assert_allclose(again.values, first.values, rtol=1e-6)
  moments = {
    'pair0': {
      'count': 1e9 * np.ones(4, np.float32),
      'mean': -9 * np.ones(4, np.float32),
      'variance': np.zeros(4, np.float32),
    }
  }
  state = {**first.state, 'moments': moments}
  far = runner.run({**runner.variables, 'state': state})
  assert abs(far.values - first.values).min() > 1e-3


def test_deeper_layers_of_ofd_weigh_twice_as_much():
  student, teacher = _sides()
  both = feature_runs.make('ofd', student, teacher, layers=[LAYERS[0]] * 2)
  one = feature_runs.make('ofd', student, teacher, layers=LAYERS[:1])
  params = one.variables['params']['pair0']
  shared = {'pair0': params, 'pair1': params}
  np.testing.assert_allclose(
    both.run({**both.variables, 'params': shared}).values,
    1.5 * one.run().values,
    rtol=1e-5,
  )
