"""Training in bf16 and at highest: what falls, what stays f32."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd_jax
from kd_jax import build, config, metrics, network_files
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.training import runtime
from tests.helpers import products, running, tiny

CONFIG = pathlib.Path(__file__).resolve().parents[2] / (
  'experiments/configs/digits_bfloat16.py'
)
BF16, F32 = jnp.dtype('bfloat16'), jnp.dtype('float32')


def small(**changes) -> build.Experiment:
  """The config in bf16, with small networks and few steps."""
  c = config.read(str(CONFIG))
  c.parallel, c.seeds, c.data.limit, c.eval_every = 'one', 1, 320, 8
  c.baseline = False
  c.networks.teacher.hidden = 16
  for part in (c.train, c.teacher):
    part.epochs, part.steps, part.batch_size = 0, 24, 32
  for key, value in changes.items():
    config.assign(c, key, value)
  return build.make_experiment(c)


def dtypes(tree) -> set:
  return {
    x.dtype
    for x in jax.tree.leaves(tree)
    if jnp.issubdtype(x.dtype, jnp.floating)
  }


def test_the_config_in_bf16_trains(tmp_path, monkeypatch):
  frozen, original = [], runtime.compile_halves

  def watched(*arguments):
    signals, update = original(*arguments)

    def seen(step, variables, batch):
      frozen.append(dtypes(variables))
      return signals(step, variables, batch)

    return seen, update

  monkeypatch.setattr(runtime, 'compile_halves', watched)
  running.run(small(), tmp_path)
  losses = [
    row['loss']
    for row in metrics.read_rows(tmp_path)
    if row['stage'] == 'student'
  ]
  assert losses[-1] < 0.8 * losses[0]
  assert frozen[0] == set() and frozen[-1] == {BF16}
  for name in ('teacher', 'student'):
    variables, spec = network_files.load_network(tmp_path / 'networks' / name)
    assert dtypes(variables) == {F32}
    assert spec['build']['precision'] == 'bfloat16'


def step_of(made: build.Experiment):
  """The student's step, the shapes of its arguments, and the new state's."""
  stage = made.stages[-1]
  halves = runtime.make_runtime(made, stage).halves
  batch = build.example_batch(made, stage)
  state = jax.eval_shape(lambda: states.init_state(made.networks, stage, batch))
  teacher = jax.eval_shape(
    lambda: build.lowered(
      {
        'teacher': made.networks['teacher'].init(
          jax.random.key(0), batch['inputs']
        )
      },
      made.specs,
    )
  )
  return halves.step, (state, teacher, batch)


def test_what_a_gpu_is_given_is_bf16_and_the_state_f32():
  step, arguments = step_of(small())
  traced = jax.jit(step).trace(*arguments)
  text = traced.lower(lowering_platforms=('cuda',)).as_text()
  lines = [x for x in text.splitlines() if 'stablehlo.convolution' in x]
  assert len(lines) >= 7  # two forward twice; backward to kernels and inputs
  for line in lines:
    operands = line.split(' : (')[1].split(')')[0]
    assert operands.count('bf16>') == 2 and 'f32>' not in operands
  state, values = jax.eval_shape(step, *arguments)
  assert dtypes((state, values)) == {F32}


def test_highest_holds_for_losses_too():
  made = running.experiment(
    precision='highest',
    terms__soft={'method': 'crd', 'layers': [('features', 'features')]},
  )
  step, arguments = step_of(made)
  program = jax.make_jaxpr(step)(*arguments)
  assert products.precisions(program) == {jax.lax.Precision.HIGHEST}
  step, arguments = step_of(running.experiment())
  assert products.precisions(jax.make_jaxpr(step)(*arguments)) == {None}


def test_relations_stay_in_full_precision_beside_networks_in_bf16():
  made = running.experiment(
    precision='bfloat16',
    terms__soft={'method': 'rkd', 'layers': [('features', 'features')]},
  )
  step, arguments = step_of(made)
  wide = [
    e
    for e in products.products(jax.make_jaxpr(step)(*arguments))
    if {v.aval.dtype for v in e.invars} == {F32}
  ]
  assert wide
  assert all(
    e.params['precision'] == (jax.lax.Precision.HIGHEST,) * 2 for e in wide
  )


def data(seed):
  batch = tiny.batch(seed, 64)
  return np.asarray(batch['inputs']), np.asarray(batch['labels'])


def test_from_python_with_modules_of_ones_own():
  sets, recipe = (data(0), data(1)), dict(epochs=2, batch_size=16)
  teacher = kd_jax.train_alone(tiny.Net(16), sets, **recipe)
  done = kd_jax.distill(
    tiny.Net(8), teacher, data=sets, precision='bfloat16', **recipe
  )
  assert done.history[-1]['loss'] < done.history[0]['loss']
  assert dtypes(done.variables) == {F32}
  program = jax.make_jaxpr(done.network.apply)(done.variables, sets[0][0])
  assert products.operands(program) == {F32}
  with pytest.raises(ValueError, match="unknown precision 'half'"):
    kd_jax.train_alone(tiny.Net(4), sets, precision='half', **recipe)


def test_step_by_step_as_a_user_writes_it():
  """make_halves with networks of with_precision, without a config."""
  networks = {
    name: kd_jax.with_precision(network, 'bfloat16')
    for name, network in tiny.networks().items()
  }
  halves = steps.make_halves(networks, tiny.offline())
  state = states.init_state(networks, tiny.offline(), tiny.batch())
  first, last = None, None
  step = jax.jit(halves.step)
  for i in range(10):
    state, values = step(state, tiny.frozen(), tiny.batch(i))
    first, last = first or values['loss'], values['loss']
  assert last < first
  assert dtypes(state) == {F32}
