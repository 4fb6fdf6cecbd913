"""Students on made images: who learns by what, and what no stage may see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import build, optim, stages, step
from kd_jax import state as states
from kd_jax.models import generators
from kd_jax.schemes import base as schemes_base
from kd_jax.schemes import synthesis
from kd_jax.training import made
from tests.helpers import quick, tiny

SHAPE = (4, 4, 1)


def _cast(**changes):
  cast = schemes_base.Cast(
    networks=('teacher', 'student'),
    loaded=('teacher',),
    terms={'soft': tiny.soft()},
    train=tiny.recipe(),
    teacher=tiny.recipe(),
    baseline=False,
    classes=tiny.CLASSES,
    outputs={'teacher': ('hidden', 'logits'), 'student': ('logits',)},
    per_epoch=2,
    inputs=SHAPE,
  )
  return cast._replace(**changes)


def _batch(stage):
  """A batch as the stage's feed prepares it: black images."""
  batch = {**tiny.batch(), 'inputs': jnp.zeros((tiny.BATCH, *SHAPE))}
  if stage.recipe.augment:
    return stage.recipe.augment(jax.random.key(3), batch)
  return batch


def _stepped(stage, steps=1, state=None, **changes):
  """The state before and after some steps on one batch, and the metrics."""
  batch = {**_batch(stage), **changes}
  halves = step.make_halves(tiny.networks(), stage)
  first = state or states.init_state(tiny.networks(), stage, batch)
  update, after = jax.jit(halves.step), first
  for _ in range(steps):
    after, metrics = update(after, tiny.frozen(), batch)
  return first, after, metrics


def _generating(**options):
  (stage,) = synthesis.data_free(
    _cast(), layer='hidden', codes=6, width=4, **options
  )
  return stages.check(stage)


@pytest.mark.slow
def test_student_and_generator_learn_at_once_from_the_teacher():
  stage = _generating(learning_rate=0.01, statistics=1.0)
  assert stage.students == ('student',) and stage.frozen == ('teacher',)
  assert stage.learners == ('student', 'generator')
  first, after, metrics = _stepped(stage, 30)
  for name in stage.learners:
    moved = tiny.distance(
      after.params['networks'][name], first.params['networks'][name]
    )
    assert moved > 1e-3, name
  early = _stepped(stage)[2]
  for name in ('soft', 'made_one_hot', 'made_activation', 'made_statistics'):
    assert metrics[f'loss/{name}'] < early[f'loss/{name}'], name
  assert 0 <= metrics['accuracy/student'] <= 1


@pytest.mark.slow
def test_the_generator_does_not_learn_from_the_student():
  """Its path is the same whatever the student is taught."""
  stage = _generating(learning_rate=0.01)
  taught = stage._replace(
    terms={**stage.terms, 'soft': stage.terms['soft']._replace(weight=9.0)}
  )
  runs = [_stepped(s, 3)[1].params['networks'] for s in (stage, taught)]
  assert tiny.distance(runs[0]['generator'], runs[1]['generator']) == 0
  assert tiny.distance(runs[0]['student'], runs[1]['student']) > 1e-3


@pytest.mark.slow
def test_labels_of_generated_images_are_the_likeliest_of_the_teacher():
  hard = {'hard': schemes_base.hard('student'), 'soft': tiny.soft()}
  (stage,) = synthesis.data_free(
    _cast(terms=hard), layer='hidden', codes=6, width=4
  )
  first, _, metrics = _stepped(stage, labels=jnp.full(tiny.BATCH, 4))
  images, _ = stage.maker.generator.apply(
    {
      'params': first.params['networks']['generator'],
      **first.carried['networks']['generator'],
    },
    _batch(stage),
    rng=None,
  )
  networks, frozen = tiny.networks(), tiny.frozen()
  judged, _ = networks['teacher'].apply(frozen['teacher'], images)
  student, _ = networks['student'].apply(
    {
      'params': first.params['networks']['student'],
      **first.carried['networks']['student'],
    },
    images,
    train=True,
  )
  labels = judged['logits'].argmax(-1)
  right = (student['logits'].argmax(-1) == labels).mean()
  np.testing.assert_allclose(metrics['accuracy/student'], right)


def _inverting(**options):
  cast = _cast(train=tiny.recipe(batch_size=8))
  return synthesis.inversion(
    cast, images=tiny.BATCH, rounds=2, steps=40, jitter=0, **options
  )


def test_images_become_what_the_teacher_takes_for_their_classes():
  first, second, last = _inverting(statistics=1.0)
  assert [s.name for s in (first, second)] == ['images_0', 'images_1']
  assert not first.students and last.transfer == (first.maker, second.maker)
  assert first.maker.labels.tolist() == [i % 5 for i in range(tiny.BATCH)]
  labels = jnp.asarray(first.maker.labels)
  before, after, metrics = _stepped(first, 40, labels=labels)
  early = _stepped(first, labels=labels)[2]
  for name in ('made_cross_entropy', 'made_statistics'):
    assert metrics[f'loss/{name}'] < 0.5 * early[f'loss/{name}'], name
  other = states.init_state(tiny.networks(), second, _batch(second))
  images = [
    s.params['networks'][f'images_{n}']['images']
    for n, s in ((0, before), (1, other))
  ]
  assert not np.array_equal(*images)
  assert after.params['networks'].keys() == {'images_0'}


def test_only_the_images_of_the_batch_move():
  first = _inverting(statistics=0.0)[0]
  first = first._replace(recipe=first.recipe._replace(batch_size=2))
  few = {k: v[:2] for k, v in _batch(first).items()}
  before, after, _ = _stepped(
    first,
    index=jnp.asarray([3, 5]),
    **{k: few[k] for k in ('inputs', 'labels', 'mask')},
  )
  moved = (
    after.params['networks']['images_0']['images']
    != (before.params['networks']['images_0']['images'])
  )
  assert np.flatnonzero(np.asarray(moved).any((1, 2, 3))).tolist() == [3, 5]


def test_the_student_has_the_made_images_in_the_units_of_the_data():
  c = quick.get_config()
  c.scheme = dict(name='data_free', codes=4, width=4)
  c.train.augment = ()
  experiment = build.make_experiment(c)
  data = experiment.data
  generating = experiment.stages[-1]
  seen = made.on_images(experiment, generating, {}).data.train
  assert seen.inputs.shape == data.train.inputs.shape and not seen.inputs.any()
  table = generators.table((8, 8, 1), 3)
  labels = np.arange(3, dtype=np.int32)
  maker = stages.Maker('images_0', table, 'teacher', 3, labels)
  images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype('f4')
  student = generating._replace(maker=None, transfer=(maker,))
  networks = {'images_0': {'params': {'images': images}}}
  train = made.on_images(experiment, student, networks).data.train
  np.testing.assert_allclose(
    experiment.prepare(jnp.asarray(train.inputs)), images, atol=1e-5
  )
  np.testing.assert_array_equal(train.labels, labels)
  plain = experiment.stages[0]
  assert made.on_images(experiment, plain, {}) is experiment


def test_a_network_with_an_optimizer_of_its_own():
  params = {
    'networks': {'a': jnp.ones(2), 'b': jnp.ones(2)},
    'terms': {'t': jnp.ones(1)},
  }
  sgd = optim.make_optimizer('sgd')
  tx = optim.apart(sgd, 'b', optim.make_optimizer('adam'), 0.5)
  hparams = {'learning_rate': jnp.float32(0.1), 'weight_decay': jnp.float32(0)}
  grads = jax.tree.map(lambda x: 3 * x, params)
  updates, _ = tx.update(grads, tx.init(params), params, hparams=hparams)
  np.testing.assert_allclose(updates['networks']['a'], -0.3, rtol=1e-6)
  np.testing.assert_allclose(updates['terms']['t'], -0.3, rtol=1e-6)
  np.testing.assert_allclose(updates['networks']['b'], -0.5, rtol=1e-5)
  with pytest.raises(ValueError, match="'dot'.*legal here"):
    optim.apart(optim.make_optimizer('dot'), 'b', sgd, 0.5)


def _config(**scheme):
  c = quick.get_config()
  c.train.augment, c.scheme = (), dict(name='data_free', codes=4, width=4)
  c.scheme.update(scheme)
  return c


REFUSED = {
  'cache': (lambda c: c.update(teacher_outputs='cache'), "outputs='live'"),
  'augment': (lambda c: c.train.update(augment=('flip',)), 'must be ()'),
  'layer': (lambda c: c.scheme.update(layer='hiden1'), "mean 'hidden1'"),
  'no batch norms': (lambda c: c.scheme.update(statistics=1.0), 'must be 0'),
  'no teacher': (lambda c: c.scheme.update(teacher='techer'), "'techer'"),
  'micro-batches': (
    lambda c: c.networks.teacher.update(microbatches=4),
    'teacher.microbatches out',
  ),
  'a term of that name': (
    lambda c: c.terms.update(made_entropy=dict(method='kd')),
    'give it another name',
  ),
  'few images': (
    lambda c: setattr(c, 'scheme', dict(name='inversion', images=8)),
    'fewer than the batch_size=32',
  ),
}


@pytest.mark.parametrize('change, message', REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(change, message):
  c = _config()
  change(c)
  with pytest.raises(ValueError, match=message) as refused:
    build.make_experiment(c)
  assert '\n' not in str(refused.value)


def test_inputs_without_pixels_are_refused():
  for changes in ({'inputs': ()}, {'single': False}):
    with pytest.raises(ValueError, match=r"'data_free' makes images \[H, W, C"):
      synthesis.data_free(_cast(**changes))
