"""What a config says of how networks compute, and what depends on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import build, network_files
from kd_jax.cache import plan
from kd_jax.models import base
from tests.helpers import products, running

BF16, F32 = jnp.dtype('bfloat16'), jnp.dtype('float32')


def computes_in(experiment: build.Experiment, name: str) -> set:
  """The dtypes that the products of a network read."""
  network, inputs = (
    experiment.networks[name],
    build.example_inputs(experiment.data),
  )
  variables = base.variable_shapes(network, inputs)
  return products.operands(jax.make_jaxpr(network.apply)(variables, inputs))


@pytest.mark.parametrize(
  'changes, teacher, student',
  [
    ({}, F32, F32),
    ({'precision': 'bfloat16'}, BF16, BF16),
    ({'networks__teacher__precision': 'bfloat16'}, BF16, F32),
    (
      {'precision': 'bfloat16', 'networks__student__precision': 'float32'},
      BF16,
      F32,
    ),
    (
      {'precision': 'bfloat16', 'networks__student__dtype': 'float32'},
      BF16,
      F32,
    ),
    ({'networks__student__dtype': 'bfloat16'}, F32, BF16),
    ({'precision': 'highest'}, F32, F32),
  ],
)
def test_a_network_goes_before_the_run(changes, teacher, student):
  made = running.experiment(**changes)
  assert computes_in(made, 'teacher') == {teacher}
  assert computes_in(made, 'student') == {student}


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'precision': 'bf16'}, "unknown precision 'bf16'.*bfloat16, float32"),
    (
      {'networks__teacher__precision': 'f16'},
      "unknown networks.teacher.precision 'f16'.*bfloat16, float32, highest",
    ),
    (
      {
        'networks__student__precision': 'bfloat16',
        'networks__student__dtype': 'float32',
      },
      "networks.student.precision is 'bfloat16' and its dtype 'float32'",
    ),
    (
      {'precision': 'bfloat16', 'networks__student__quantize': 'int8'},
      "set networks.student.precision='float32'",
    ),
    (
      {'networks__teacher__microbatches': 3},
      "microbatches 3 does not divide the batch of stage 'student', 32",
    ),
    (
      {'networks__teacher__microbatches': 8, 'parallel': 'mesh'},
      "microbatches 8 does not divide the batch of stage 'student', 4 on a",
    ),
    ({'networks__teacher__microbatches': 0}, 'must be at least 1, not 0'),
    (
      {'networks__student__microbatches': 2},
      "'student' only learns; for its training see train.optimizer.accumulate",
    ),
    (
      {'networks__student__remat': 'yes'},
      'remat must be of type bool; got str',
    ),
  ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, words):
  with pytest.raises(ValueError, match=words) as refused:
    running.experiment(**changes)
  assert '\n' not in str(refused.value)


def test_results_depend_on_it_and_contents_do_not():
  plain, low, student = (
    running.experiment(**changes)
    for changes in (
      {},
      {'precision': 'bfloat16'},
      {'networks__student__precision': 'bfloat16'},
    )
  )
  for stage in ('teacher', 'student'):
    assert plain.identities[stage] != low.identities[stage]
  assert plain.identities['teacher'] == student.identities['teacher']
  assert plain.identities['student'] != student.identities['student']
  assert plain.inputs == low.inputs


def test_a_cache_depends_on_it():
  made = [
    running.experiment(teacher_outputs='cache', train__views=2, precision=name)
    for name in ('float32', 'bfloat16')
  ]
  first, second = (
    plan.identity_of(
      e.cache,
      e.specs['teacher'],
      plan.layout_of(e.cache, {'logits': jax.ShapeDtypeStruct((1, 10), F32)}),
      None,
    )
    for e in made
  )
  assert first != second


@pytest.mark.parametrize(
  'stored', [{}, {'dtype': 'bfloat16'}, {'dtype': 'float32'}]
)
@pytest.mark.parametrize('precision', ['float32', 'bfloat16', 'highest'])
def test_a_loaded_teacher_may_compute_otherwise(stored, precision, tmp_path):
  made = running.experiment()
  inputs = build.example_inputs(made.data)
  variables = made.networks['teacher'].init(jax.random.key(1), inputs)
  spec = {**made.specs['teacher'], **stored, 'precision': 'highest'}
  network_files.save_network(tmp_path / 'net', variables, {'build': spec})
  loading = running.experiment(
    networks__teacher={'load': str(tmp_path / 'net'), 'precision': precision}
  )
  assert computes_in(loading, 'teacher') == {
    BF16 if precision == 'bfloat16' else F32
  }
  kept = running.experiment(networks__teacher={'load': str(tmp_path / 'net')})
  assert loading.inputs == kept.inputs
  dtype = BF16 if stored.get('dtype') == 'bfloat16' else F32
  assert computes_in(kept, 'teacher') == {dtype}


def test_frozen_weights_are_rounded_where_they_are_computed_so():
  made = running.experiment(networks__teacher__precision='bfloat16')
  variables = {
    name: jax.device_get(
      network.init(jax.random.key(0), np.zeros((1, 8, 8, 1), 'f4'))
    )
    for name, network in made.networks.items()
  }
  frozen = build.lowered(variables, made.specs)
  for name, dtype in (('teacher', BF16), ('student', F32)):
    assert {x.dtype for x in jax.tree.leaves(frozen[name])} == {dtype}


def test_remat_of_what_never_learns_is_refused(tmp_path):
  made = running.experiment()
  inputs = build.example_inputs(made.data)
  variables = made.networks['teacher'].init(jax.random.key(1), inputs)
  spec = {'build': made.specs['teacher']}
  network_files.save_network(tmp_path / 'net', variables, spec)
  place = {'load': str(tmp_path / 'net')}
  with pytest.raises(ValueError, match="remat: 'teacher' does not learn here"):
    running.experiment(networks__teacher={**place, 'remat': True})
  kept = running.experiment(networks__teacher={**place, 'microbatches': 2})
  assert kept.specs['teacher']['microbatches'] == 2


def test_what_is_as_usual_is_left_out():
  made = running.experiment(
    networks__student__remat=False, networks__teacher__microbatches=1
  )
  assert made.specs == running.experiment().specs
  assert made.networks == running.experiment().networks
