"""A network alone is a student whose teacher has no say."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from kd_jax import api, build, config, metrics, training
from kd_jax.data import sources
from kd_jax.models import base
from tests.helpers import tiny

RECIPE = dict(epochs=4, batch_size=16, learning_rate=1e-2)


class Net(nn.Module):
  """Bare: returns logits alone."""

  width: int = 8

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
    return nn.Dense(tiny.CLASSES)(x)


def pair(seed: int, size: int):
  """Images and labels."""
  batch = tiny.batch(seed, size)
  return np.asarray(batch['inputs']), np.asarray(batch['labels'])


def test_it_is_distillation_with_alpha_0_whoever_the_teacher():
  data = pair(0, 80), pair(1, 40)
  ours = api.train_alone(Net(), data, seed=3, **RECIPE)
  teacher = Net(16)
  variables = teacher.init(jax.random.key(5), data[0][0][:1])
  theirs = api.distill(
    Net(), teacher, variables, data, alpha=0.0, seed=3, **RECIPE
  )
  assert tiny.distance(ours.variables, theirs.variables) < 1e-6
  assert ours.accuracy == {'student': theirs.accuracy['student']}
  losses = [row['loss'] for row in ours.history]
  assert losses[-1] < losses[0]


def test_without_a_teacher_nothing_is_distilled():
  with pytest.raises(ValueError, match='without a teacher alpha and beta'):
    api.distill(Net(), None, None, (pair(0, 80), pair(1, 40)), **RECIPE)


class Headed(Net):
  """Has an auxiliary head."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
    early = nn.Dense(tiny.CLASSES)(x)
    x = nn.relu(nn.Dense(self.width)(x))
    return {'logits': nn.Dense(tiny.CLASSES)(x), 'logits_aux': early}


def headed(**changes):
  """An experiment whose student has one, and a teacher without a say."""
  c = config.default()
  c.parallel = 'one'
  for name in ('teacher', 'student'):
    c.networks[name] = dict(given=True)
  c.views.early = dict(name='output', sources=['student'], key='logits_aux')
  c.terms.hard = dict(method='cross_entropy')
  c.terms.early = dict(method='cross_entropy', weight=0.4, student='early')
  c.terms.soft = dict(method='kd', weight=0.0)
  for part in (c.train, c.teacher):
    part.steps, part.batch_size = 4, 16
    part.optimizer.learning_rate = 1e-2
  for key, value in changes.items():
    config.change(c, key, value)
  data = sources.make_data('arrays', train=pair(0, 80), test=pair(1, 40))
  given = {
    'teacher': build.Given(base.from_linen(Net())),
    'student': build.Given(base.from_linen(Headed())),
  }
  return build.make_experiment(c, data, given=given)


def test_the_student_alone_has_the_loss_of_its_auxiliary_head():
  stages = {stage.name: stage for stage in headed().stages}
  assert set(stages['baseline'].terms) == {'hard', 'early'}
  assert stages['baseline'].terms['early'].weight == 0.4
  assert set(stages['teacher'].terms) == {'hard'}
  assert not stages['baseline'].frozen


def test_the_student_alone_depends_on_its_auxiliary_loss_and_on_no_other():
  def identity(**changes):
    of = headed(**changes)
    assert of.shared == ('teacher', 'baseline')
    return of.identities['baseline']

  first = identity()
  assert first == identity(**{'terms.soft.weight': 0.5})
  assert first != identity(**{'terms.early.weight': 0.3})
  assert first != identity(**{'views.early.key': 'logits'})


@pytest.mark.slow
def test_the_student_alone_is_one_whose_soft_loss_counts_nothing():
  session = training.Session(None, metrics.silent())
  networks = training.run(headed(), session)
  assert tiny.distance(networks['student'], networks['baseline']) < 1e-6
  other = training.run(headed(**{'terms.early.weight': 0.1}), session)
  assert tiny.distance(other['baseline'], networks['baseline']) > 1e-4
