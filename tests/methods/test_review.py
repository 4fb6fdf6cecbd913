"""ReviewKD: shapes, what flows from deep to shallow, what is compared."""

import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import features as losses
from kd_jax.methods import review
from tests.helpers.methods import feature_runs

LAYERS = [('x1', 'y1'), ('x2', 'y2'), ('v', 'w')]


def _sides():
  return (
    feature_runs.outputs(x1=(4, 4, 2), x2=(2, 2, 3), v=(4,)),
    feature_runs.outputs(1, y1=(4, 4, 3), y2=(3, 3, 5), w=(6,)),
  )


@pytest.fixture(scope='module')
def runner():
  return feature_runs.make('review_kd', *_sides(), layers=LAYERS)


def test_the_value_is_hcl_of_the_fused_maps(runner):
  student, teacher = _sides()
  ours = [student['x1'], student['x2'], student['v'][:, None, None]]
  theirs = [teacher['y1'], teacher['y2'], teacher['w'][:, None, None]]
  module = review.Review(4, tuple(x.shape for x in theirs))
  variables = {
    'params': runner.variables['params'],
    **runner.variables['state'],
  }
  apply = jax.jit(lambda v, x: module.apply(v, *x, mutable=['batch_stats']))
  fused, _ = apply(variables, ours)
  assert [x.shape for x in fused] == [x.shape for x in theirs]
  want = losses.hierarchical_context(fused, theirs)
  np.testing.assert_allclose(runner.run().values, want, rtol=1e-4)


def test_a_deep_layer_moves_the_shallow_one_and_not_the_other_way(runner):
  """The deepest alone: as a review of one layer with the same parameters."""
  student, _ = _sides()
  module = review.Review(4, ((4, 4, 4, 3), (4, 1, 1, 6)))
  maps = student['x1'], student['v'][:, None, None]
  init = jax.jit(module.init)
  variables = init(jax.random.key(0), *maps)

  def total(maps, i):
    fused, _ = module.apply(variables, *maps, mutable=['batch_stats'])
    return (fused[i] ** 3).sum()

  both = jax.jit(lambda m: [jax.grad(total)(m, i) for i in range(2)])
  pulls = both(maps)
  reached = [[float(abs(g).max()) > 1e-6 for g in pull] for pull in pulls]
  assert reached == [[True, True], [False, True]]


def test_two_attention_maps_mix_a_map_and_the_deeper_one():
  made = feature_runs.outputs(x=(4, 4, 2), deeper=(2, 2, 3))
  module = review.Fusion(3, (4, 8, 8, 5))
  init = jax.jit(module.init)
  variables = init(jax.random.key(0), made['x'], made['deeper'])
  apply = jax.jit(
    lambda *x: module.apply(variables, *x, mutable=['batch_stats'])[0]
  )
  _, mixed = apply(made['x'], made['deeper'])
  own = jax.tree.map(np.asarray, variables['params'])
  x = np.asarray(made['x']) @ own['Dense_0']['kernel']
  x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
  deeper = np.asarray(made['deeper']).repeat(2, 1).repeat(2, 2)
  gates = np.concatenate([x, deeper], -1) @ own['Dense_1']['kernel']
  gates = 1 / (1 + np.exp(-gates))
  want = x * gates[..., :1] + deeper * gates[..., 1:]
  want = want.repeat(2, 1).repeat(2, 2)
  np.testing.assert_allclose(mixed, want, atol=1e-5)


def test_the_fused_maps_are_as_wide_as_the_deepest_or_as_asked(runner):
  def widths(params):
    return {fusion['Dense_0']['kernel'].shape[1] for fusion in params.values()}

  assert widths(runner.variables['params']) == {4}
  method = methods.make_method('review_kd', layers=LAYERS, width=7)
  made = jax.eval_shape(method.init, jax.random.key(0), *_sides())
  assert widths(made['params']) == {7}


def test_it_learns(runner):
  means, _ = runner.descend(30, 1.0)
  assert means[-1] < 0.6 * means[0]


def test_tokens_are_refused():
  sides = feature_runs.outputs(x=(4, 2)), feature_runs.outputs(y=(4, 2))
  method = methods.make_method('review_kd', layers=[('x', 'y')])
  with pytest.raises(ValueError, match="maps and vectors; 'x' is 4x2"):
    method.init(jax.random.key(0), *sides)
