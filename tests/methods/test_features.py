"""Layers by name, adapters only where they are needed, sums over pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import features as losses
from kd_jax.methods import features, layer_names

B = 4


def _outputs(seed, **shapes):
  rng = np.random.default_rng(seed)
  return {
    name: jnp.asarray(rng.normal(size=(B, *shape)), jnp.float32)
    for name, shape in shapes.items()
  }


STUDENT = _outputs(
  0,
  stage10=(2, 2, 4),
  stage2=(4, 4, 3),
  stage1=(4, 4, 3),
  pooled=(4,),
  logits=(5,),
)
TEACHER = _outputs(
  1,
  layer1=(4, 4, 3),
  layer2=(4, 4, 5),
  layer3=(2, 2, 6),
  pooled=(6,),
  logits=(5,),
)


def _run(name, student=STUDENT, teacher=TEACHER, **options):
  """The values [B] of a new method, its variables and the new state."""
  method = methods.make_method(name, **options)
  variables = method.init(jax.random.key(0), student, teacher)
  values, state = method.loss(variables, student, teacher, {}, method.hparams)
  return np.asarray(values), variables, state


def test_a_glob_pairs_layers_by_the_numbers_in_their_names():
  found = layer_names.pairs([('stage*', 'layer?')], STUDENT, TEACHER)
  assert found == [
    ('stage1', 'layer1'),
    ('stage2', 'layer2'),
    ('stage10', 'layer3'),
  ]


def test_a_name_is_itself_before_it_is_a_glob():
  odd = {'a[0]': STUDENT['pooled'], 'a0': STUDENT['pooled']}
  assert layer_names.pairs([('a[0]', 'a?')], odd, {'ab': 0, **odd}) == [
    ('a[0]', 'a0')
  ]


@pytest.mark.parametrize(
  'layers, message',
  [
    (
      [('stge1', 'layer1')],
      "unknown layer of the student 'stge1'; did you mean 'stage1'? known: "
      'logits 5, pooled 4, stage1 4x4x3, stage2 4x4x3, stage10 2x2x4',
    ),
    (
      [('stage1', 'x*')],
      "unknown layer of the teacher 'x*'; known: layer1 4x4x3, layer2 4x4x5, "
      'layer3 2x2x6, logits 5, pooled 6',
    ),
    (
      [('stage*', 'layer1')],
      "layers ('stage*', 'layer1') match 3 of the student and 1 of the "
      "teacher: ['stage1', 'stage2', 'stage10'] and ['layer1']",
    ),
    (
      [('pooled', 'layer1')],
      "layers ('pooled', 'layer1'): adapter 'auto' cannot bring 4 of the "
      'student to 4x4x3 of the teacher',
    ),
  ],
)
def test_layers_that_do_not_fit_are_refused(layers, message):
  method = methods.make_method('feature_mse', layers=layers)
  with pytest.raises(ValueError) as error:
    method.init(jax.random.key(0), STUDENT, TEACHER)
  assert str(error.value) == message


@pytest.mark.parametrize(
  'layers', [(), 'stage1', ['stage1'], [('a', 'b', 'c')]]
)
@pytest.mark.parametrize('name', ['at', 'fitnet', 'mgd'])
def test_layers_must_be_pairs(name, layers):
  with pytest.raises(ValueError, match=f"method '{name}' needs layers="):
    methods.make_method(name, layers=layers)


@pytest.mark.parametrize(
  'name, option', [('at', 'powr'), ('feature_mse', 'adaptor'), ('mgd', 'maskd')]
)
def test_unknown_options_are_refused(name, option):
  with pytest.raises(
    ValueError, match=f"'{name}' has no option '{option}'; did"
  ):
    methods.make_method(name, layers=[('a', 'b')], **{option: 1.0})


def test_a_mistake_is_seen_before_any_work():
  method = methods.make_method(
    'at', layers=[('stage1', 'layer1')], variant='papr'
  )
  with pytest.raises(ValueError, match="'at'.*'stage1'.*variant 'papr'"):
    method.init(jax.random.key(0), STUDENT, TEACHER)


@pytest.mark.parametrize(
  'name, layers, adapted',
  [
    ('feature_mse', [('stage1', 'layer1'), ('stage2', 'layer2')], {'pair1'}),
    ('at', [('stage1', 'layer1'), ('stage10', 'layer2')], set()),
    ('nst', [('stage10', 'layer2')], set()),
    ('fsp', [('stage1', 'layer1'), ('stage2', 'layer1')], set()),
    ('fsp', [('stage1', 'layer1'), ('stage2', 'layer2')], {'pair1'}),
    ('kdsvd', [('stage1', 'layer1'), ('stage10', 'layer3')], {'pair1'}),
  ],
)
def test_auto_adapts_what_the_loss_does_not_take(name, layers, adapted):
  method = methods.make_method(name, layers=layers)
  made = jax.eval_shape(method.init, jax.random.key(0), STUDENT, TEACHER)
  assert set(made['params']) == adapted


@pytest.mark.parametrize('name', ['feature_mse', 'at'])
def test_a_named_adapter_stands_at_every_pair(name):
  layers = [('stage1', 'layer1'), ('stage2', 'layer2')]
  method = methods.make_method(name, layers=layers, adapter='3x3')
  made = jax.eval_shape(method.init, jax.random.key(0), STUDENT, TEACHER)
  assert set(made['params']) == set(made['state']) == {'pair0', 'pair1'}
  assert method.batchwise


def test_pairs_are_summed():
  both = [('stage1', 'layer1'), ('stage2', 'layer1')]
  whole, *_ = _run('feature_mse', layers=both)
  parts = [_run('feature_mse', layers=[pair])[0] for pair in both]
  np.testing.assert_allclose(whole, sum(parts), rtol=1e-6)


def test_what_is_compared_is_the_adapted_feature():
  pair = ('stage2', 'layer2')
  values, variables, _ = _run('feature_mse', layers=[pair])
  dense = variables['params']['pair0']['Dense_0']
  want = losses.feature_mse(
    STUDENT['stage2'] @ dense['kernel'], TEACHER['layer2']
  )
  np.testing.assert_allclose(values, want, rtol=1e-5)


def test_statistics_of_an_adapter_are_carried_in_the_state():
  _, variables, state = _run(
    'feature_mse', layers=[('stage2', 'layer2')], adapter='3x3'
  )
  old, new = (
    x['pair0']['batch_stats']['BatchNorm_0']['mean']
    for x in (variables['state'], state)
  )
  assert abs(new - old).max() > 1e-3


@pytest.mark.parametrize(
  'name, options', [('ofd', {}), ('ft', {'paraphraser_steps': 1}), ('mgd', {})]
)
def test_what_is_remembered_can_be_donated(name, options):
  method = methods.make_method(name, layers=[('stage1', 'layer1')], **options)
  made = method.init(jax.random.key(0), STUDENT, TEACHER)
  where = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(made)]
  assert len(set(where)) == len(where)


def test_static_numbers_are_no_hyperparameters():
  made = features.on_features(losses.at, static=('power',))
  method = made(layers=[('stage1', 'layer1')], power=1.0)
  assert method.hparams == {}
  assert features.on_features(losses.at)(
    layers=[('stage1', 'layer1')]
  ).hparams == {'power': 2.0}
