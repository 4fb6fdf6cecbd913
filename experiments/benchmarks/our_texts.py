"""kd_jax's side of `text`: the step of a network alone, as a run takes it."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from experiments.benchmarks import ours, settings, sides, text
from kd_jax import optim, parallel, stages
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.models import base
from kd_jax.models.text import NETWORKS
from kd_jax.schemes import base as schemes
from kd_jax.tasks import language
from kd_jax.training import runtime


def network(name: str, size: text.Size) -> base.Network:
  """The network of a size, without dropout, where transformers has it."""
  options = {'dropout': 0.0, 'attention_dropout': 0.0, 'context': size.length}
  if name == 'llama':
    options |= {'hidden': 2 * size.width, 'epsilon': 1e-6}
  return NETWORKS[name](
    classes=size.vocabulary, width=size.width, depth=size.depth,
    heads=size.heads, **options,
  )  # fmt: skip


def batch_of(size: text.Size, seed: int = 0) -> dict[str, jax.Array]:
  """Tokens and their labels, drawn, on the device."""
  rng = np.random.default_rng(seed)
  shape = size.batch_size, size.length
  ids, labels = (
    rng.integers(0, size.vocabulary, shape).astype(np.int32) for _ in 'il'
  )
  batch = {
    'inputs': {'input_ids': ids, 'attention_mask': np.ones(shape, np.int32)},
    'labels': labels,
    'index': np.arange(size.batch_size, dtype=np.int32),
    'mask': np.ones(shape, np.float32),
  }
  return jax.device_put(batch)


def task(name: str, size: text.Size) -> sides.Task:
  """Steps of AdamW on the cross-entropy of all tokens."""
  batches = [batch_of(size, seed) for seed in range(settings.BATCHES)]
  cast = ours.cast_of({'student': network(name, size)}, batches[0]['inputs'])
  recipe = stages.Recipe(
    1, size.batch_size, optim.make_optimizer('adamw'), settings.ADAM_RATE, 0.01
  )
  stage = stages.Stage(
    'student', {'hard': schemes.hard('student', 1.0)}, ('student',), recipe
  )
  state = states.init_state(cast.networks, stage, batches[0])
  halves = steps.make_halves(cast.networks, stage, task=language.LANGUAGE)
  _, update = runtime.compile_halves(parallel.on_one(), halves)
  training = ours.Training(state, {}, update, stage)
  return ours.stepping(
    training, lambda state, frozen, batch: update(state, frozen, batch), batches
  )


def tasks(size: tuple) -> dict[str, Callable]:
  """{network: () -> Task}."""
  size = text.Size(*size)
  return {name: functools.partial(task, name, size) for name in text.NAMES}
