"""Small networks, data and stages for the tests of the upper floors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kd_jax import methods, optim, stages, terms
from kd_jax.models import base
from kd_jax.schemes import base as schemes_base

CLASSES, BATCH = 5, 16


class Net(nn.Module):
  """Dense, BatchNorm, dropout, Dense; shows its hidden layer."""

  width: int = 8
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x, train: bool = False):
    x = x.reshape(x.shape[0], -1)
    x = nn.Dense(self.width)(x)
    x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
    hidden = nn.relu(x)
    x = nn.Dropout(self.dropout, deterministic=not train)(hidden)
    return {'hidden': hidden, 'logits': nn.Dense(CLASSES)(x)}


@functools.cache
def networks(dropout: float = 0.0) -> dict[str, base.Network]:
  """A teacher twice as wide as its student."""
  return {
    'teacher': base.from_linen(Net(16), head='Dense_1'),
    'student': base.from_linen(Net(8, dropout), head='Dense_1'),
    'peer': base.from_linen(Net(8), head='Dense_1'),
  }


def batch(seed: int = 0, size: int = BATCH) -> dict:
  """Images [size, 4, 4, 1] and labels that can be learnt from them."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, CLASSES, size).astype(np.int32)
  inputs = rng.normal(size=(size, 4, 4, 1)).astype(np.float32)
  inputs[:, 0, 0, 0] += 2 * labels
  return {
    'inputs': jnp.asarray(inputs),
    'labels': jnp.asarray(labels),
    'index': jnp.arange(size, dtype=jnp.int32),
    'mask': jnp.ones(size, jnp.float32),
  }


def recipe(**changes) -> stages.Recipe:
  """Ten steps of SGD with momentum."""
  tx = optim.make_optimizer('sgd', momentum=0.9)
  made = stages.Recipe(10, BATCH, tx, 0.1, 1e-3)
  return made._replace(**changes)


def soft(student='student', teacher='teacher', name='kd', **changes):
  """A term on the teacher's outputs."""
  return terms.Term(student, teacher, methods.make_method(name), 0.9)._replace(
    **changes
  )


def offline(**changes) -> stages.Stage:
  """The student learns from labels and a frozen teacher."""
  made = stages.Stage(
    'student',
    {'hard': schemes_base.hard('student'), 'soft': soft()},
    ('student',),
    recipe(),
    ('teacher',),
  )
  return made._replace(**changes)


def frozen(seed: int = 7) -> dict:
  """The teacher's variables."""
  key = jax.random.key(seed)
  return {'teacher': networks()['teacher'].init(key, batch()['inputs'])}


def distance(a, b) -> float:
  """The greatest relative difference between two trees of numbers."""
  flat = [
    (np.asarray(x, np.float64), np.asarray(y, np.float64))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  ]
  return max(
    np.abs(x - y).max(initial=0) / (1e-3 + np.abs(y).max(initial=0))
    for x, y in flat
  )
