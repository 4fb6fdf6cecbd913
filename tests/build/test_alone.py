"""A network alone is a student whose teacher has no say."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from kd_jax import api
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
