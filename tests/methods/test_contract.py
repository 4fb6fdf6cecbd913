"""The laws that every method of the table keeps, on outputs drawn at random.

The same numbers on any devices: test_devices.py; that it trains:
test_trains.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from tests.helpers import marks
from tests.helpers.methods import cases, harness, signals

CASES = cases.CASES
every = pytest.mark.parametrize('name', CASES)
# Laws that compile a program or more a case: the quick suite has some of each
# kind of method.
some = pytest.mark.parametrize('name', marks.slow_but(CASES, cases.QUICK))
B = signals.B


def test_every_method_has_a_case():
  assert set(methods.METHODS) == {name.split('/')[0] for name in CASES}
  assert all(case.why for case in CASES.values() if case.least == 'none')


@pytest.mark.parametrize('name', methods.METHODS)
def test_is_documented(name):
  text = methods.METHODS[name].__doc__
  assert text
  assert 'Source' in text
  assert 'Returns' in text


@every
def test_init_is_a_pure_function_of_key_and_shapes(name):
  made = harness.make(name)
  shapes = [signals.shapes_of(x) for x in (made.student, made.teacher)]
  traced = jax.eval_shape(made.method.init, jax.random.key(3), *shapes)
  assert traced == signals.shapes_of(made.variables)
  if jax.tree.leaves(traced):
    again = harness.start(name, made.student, made.teacher)
    harness.close(again, made.variables, 0)


@every
def test_gives_f32_values_and_a_state_like_the_old(name):
  made = harness.make(name)
  values, state = jax.eval_shape(
    made.method.loss,
    made.variables,
    made.student,
    made.teacher,
    made.batch,
    made.hparams,
  )
  assert values.shape in {(B,), made.batch['labels'].shape}
  assert values.dtype == jnp.float32
  assert state == signals.shapes_of(made.variables['state'])


# Of logits, with labels, of the whole batch, of features, and who refuses.
ON_MAPS = ('kd', 'dkd', 'dist', 'at', 'rkd', 'mlld', 'crd', 'pixel_kd', 'ifvd')


@pytest.mark.parametrize('name', marks.slow_but(CASES, ON_MAPS))
def test_compares_maps_of_predictions_or_refuses_them(name):
  """Logits of half the labels' size; a refusal is one line, before any work."""
  made = harness.make(name)
  student, teacher = (
    signals.shapes_of(signals.draw(signals.pixels(side), 0))
    for side in (signals.STUDENT, signals.TEACHER)
  )
  batch = signals.maps(signals.batch())
  for key in ('labels', 'mask'):
    batch[key] = batch[key].repeat(2, 1).repeat(2, 2)
  start = functools.partial(jax.eval_shape, made.method.init, jax.random.key(0))
  if made.method.predictions == 'image':
    with pytest.raises(ValueError, match=r'logits \[B, K\]; .*4, 4, 5'):
      start(student, teacher)
    return
  value, _ = jax.eval_shape(
    functools.partial(harness.total, made.method),
    start(student, teacher),
    student,
    teacher,
    batch,
    made.hparams,
  )
  assert value.shape == ()


@pytest.mark.parametrize('name', methods.METHODS)
def test_says_which_predictions_it_compares(name):
  case = CASES[name]
  assert harness.made_by(name).predictions in {
    'pixel' if case.dense else 'image',
    'any',
  }
  if harness.made_by(name).predictions == 'pixel':
    outputs = signals.shapes_of(signals.draw(signals.STUDENT, 0))
    with pytest.raises(ValueError, match=r'logits \[B, H, W, K\]; .*8, 5'):
      harness.made_by(name).init(jax.random.key(0), outputs, outputs)


@every
def test_pulls_the_student_and_not_the_teacher(name):
  value, _, (_, student, teacher) = harness.plain(name)
  assert value != 0
  assert harness.norm(student) > 0
  assert harness.norm(teacher) == 0


@every
def test_is_least_where_it_says(name):
  case = CASES[name]
  if case.least == 'none':
    pytest.skip(f'by design: {case.why}')
  made = harness.make(name, alike='layers' in case.options)
  variables, student = case.at(made.variables, made.teacher, made.batch)
  value, _, (_, pull, _) = harness.ask(made, student, variables=variables)
  away, _, (_, steep, _) = harness.ask(made, variables=variables)
  assert harness.norm(pull) < 1e-4 * harness.norm(steep)
  if case.least == 'zero':
    assert abs(value) < 1e-5 * away


def _extremes(made):
  """Sides at which formulas break."""
  student, teacher = made.student, made.teacher
  big = functools.partial(jax.tree.map, lambda x: 1e4 * np.sign(x - 0.4))
  hot = np.eye(signals.CLASSES, dtype=np.float32)[made.batch['labels']]
  sure = {**teacher, 'logits': 1e4 * hot}
  wrong = {**student, 'logits': 1e4 * np.roll(hot, 1, axis=-1)}
  yield 'huge student', big(student), teacher
  yield 'huge teacher', student, big(teacher)
  yield 'huge both', big(student), big(teacher)
  yield 'one-hot teacher', student, sure
  yield 'one-hot teacher, wrong student', wrong, sure
  for kind, bend in {
    'zeros': np.zeros_like,
    'ones': np.ones_like,
    'equal examples': lambda x: np.broadcast_to(x[:1], x.shape).copy(),
  }.items():
    bent = [_bent(side, bend) for side in (student, teacher)]
    yield kind, *bent
    yield f'{kind} in the student', bent[0], teacher


def _bent(side, bend):
  return {n: x if n == 'head' else bend(x) for n, x in side.items()}


@every
def test_stays_finite(name):
  made = harness.make(name)
  for kind, student, teacher in _extremes(made):
    for variables in (made.variables, harness.warm(name)):
      found = harness.ask(made, student, teacher, variables=variables)
      assert harness.finite(found), kind


@some
def test_order_of_the_batch(name):
  made = harness.make(name)
  order = np.random.default_rng(5).permutation(B)

  def turn(side):
    return _bent(side, lambda x: x[order])

  value, state, (params, pull, _) = harness.ask(
    made, turn(made.student), turn(made.teacher), batch=turn(made.batch)
  )
  want = harness.plain(name)
  if CASES[name].ordered:
    assert abs(value - want[0]) > 1e-3 * abs(want[0])
    return
  harness.close(value, want[0], 1e-4)
  harness.close(state, want[1], 1e-4)
  assert harness.apart(params, want[2][0]) < 1e-3
  assert harness.apart(pull, turn(want[2][1])) < 1e-3


@some
def test_every_hyperparameter_counts_and_none_recompiles(name):
  made, variables = harness.make(name), harness.warm(name)
  reference = harness.ask(made, variables=variables)
  programs = made.evaluate._cache_size()
  for knob, old in made.hparams.items():
    if knob not in CASES[name].idle:
      changed = {**made.hparams, knob: old * 0.5 + 0.4}
      found = harness.ask(made, variables=variables, hparams=changed)
      pairs = zip(jax.tree.leaves(found), jax.tree.leaves(reference))
      assert any((a != b).any() for a, b in pairs), knob
  assert made.evaluate._cache_size() == programs


@some
def test_eager_in_bf16_is_jit_in_f32(name):
  """Op by op on bf16 sides: the compiled values of the same numbers in f32."""
  made = harness.make(name)
  student, teacher = (
    signals.draw(shapes, 8 + i, jnp.bfloat16, made.reads)
    for i, shapes in enumerate(made.shapes)
  )
  value, state = harness.total(
    made.method, made.variables, student, teacher, made.batch, made.hparams
  )
  wide = functools.partial(jax.tree.map, np.float32)
  want, want_state, _ = harness.ask(made, wide(student), wide(teacher))
  assert value.dtype == jnp.float32
  harness.close(value, want, 1e-5)
  harness.close(state, want_state, 1e-4)


def _wide(tree):
  """f32 as f64; the rest as it is."""
  tree = jax.tree.map(np.asarray, tree)
  return jax.tree.map(
    lambda x: np.float64(x) if x.dtype == np.float32 else x, tree
  )


def _moved(here, along, step):
  return jax.tree.map(lambda x, d: x + step * d, here, along)


@functools.cache
def _lanes(name):
  """Four students of a grid at once, in f64, against one teacher.

  One, that one moved a little either way, and another with other numbers.

  Returns:
    The lanes' (params, student, hparams), the direction moved in, and what
    the method makes of each lane.
  """
  made = harness.make(name)
  held = _wide(harness.warm(name))
  drawn = [
    signals.draw(made.shapes[0], 20 + i, np.float64, made.reads)
    for i in range(2)
  ]
  here = held['params'], drawn[0]
  rng = np.random.default_rng(12)
  along = jax.tree.map(lambda x: rng.normal(size=x.shape), here)
  numbers = _wide(made.hparams)
  other = jax.tree.map(lambda x: x * 0.8, (here[0], numbers))
  lanes = [
    (*_moved(here, along, step), numbers) for step in (0.0, 1e-6, -1e-6)
  ] + [(other[0], drawn[1], other[1])]

  def evaluate(params, student, hparams):
    return harness.differentiate(
      made.method,
      {**held, 'params': params},
      student,
      _wide(made.teacher),
      _wide(made.batch),
      hparams,
    )

  with jax.enable_x64(True):
    compiled = jax.jit(jax.vmap(evaluate))
    stacked = jax.tree.map(lambda *x: np.stack(x), *lanes)
    found = jax.tree.map(np.asarray, compiled(*stacked))
  apart = [jax.tree.map(lambda x, i=i: x[i], found) for i in range(4)]
  return lanes, along, apart


@some
def test_lanes_of_a_grid_are_single_runs(name):
  made, held = harness.make(name), harness.warm(name)
  lanes, _, found = _lanes(name)
  for lane, got in [(lanes[0], found[0]), (lanes[3], found[3])]:
    params, student, hparams = jax.tree.map(np.float32, lane)
    value, state, grads = harness.ask(
      made, student, variables={**held, 'params': params}, hparams=hparams
    )
    harness.close(got[0], value, 1e-5)
    harness.close(got[1], state, 1e-4)
    assert harness.apart(got[2][:2], grads[:2]) < 1e-3


@some
def test_gradient_is_the_finite_difference_in_f64(name):
  if CASES[name].detached:
    pytest.skip('by design: its gradient is not its slope; see its own test')
  _, along, (here, up, down, _) = _lanes(name)
  assert here[0].dtype == np.float64
  slope = float(up[0] - down[0]) / 2e-6
  products = jax.tree.map(lambda g, d: np.sum(g * d), here[2][:2], along)
  got = sum(map(float, jax.tree.leaves(products)))
  assert got == pytest.approx(slope, rel=1e-5, abs=1e-8)
