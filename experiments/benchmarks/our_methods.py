"""kd_jax's side of the methods' benchmark: the student's step by each."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.benchmarks import ours, settings, sides
from kd_jax import methods, optim, stages, terms
from kd_jax import tasks as table
from kd_jax.models import base, layers, vit


class Stages(nn.Module):
  """A convolution and a ReLU a stage; maps as a ResNet's.

  Outputs: 'stage1', ... after ReLU, 'stage1_pre', ... before; 'final' (the
  last), 'pooled', 'logits'.
  """

  widths: tuple[int, ...]
  classes: int

  @nn.compact
  def __call__(self, x):
    outputs, dtype = {}, jnp.float32
    for i, width in enumerate(self.widths, 1):
      stride = 1 if i == 1 else 2
      x = outputs[f'stage{i}_pre'] = layers.conv(
        width, 3, stride, bias=True, dtype=dtype, name=f'conv{i}'
      )(x)
      x = outputs[f'stage{i}'] = nn.relu(x)
    return layers.classify(outputs, x, self.classes, dtype, 'fc')


def cast_of(pair: settings.Pair) -> ours.Cast:
  """The networks of a pair called 'stages' or 'vit'."""

  def make(widths):
    if pair.teacher == 'vit':
      module = vit.ViT(*settings.VIT, pair.classes, patch=settings.PATCH)
      return base.from_linen(module, head='head')
    return base.from_linen(Stages(widths, pair.classes), head='fc')

  networks = {
    'teacher': make(settings.TEACHER_WIDTHS),
    'student': make(settings.STUDENT_WIDTHS),
  }
  return ours.cast_of(networks, ours.batch_of(pair)['inputs'])


def tasks(
  pairs: Mapping[str, settings.Pair], examples: int
) -> dict[str, Callable]:
  """{method: () -> Task} of the student's step, the teacher's outputs given.

  'kd/PAIR' is plain kd on that pair. Facts of a task: 'temporary', bytes that
  XLA's plan of the step holds between; 'held', bytes that the method learns
  and remembers.

  Args:
    pairs: by the names in `settings.names`.
    examples: of the data set, for what remembers them all.
  """
  shared = {
    which: functools.cache(functools.partial(_shared, pair))
    for which, pair in pairs.items()
  }

  def make(name, which):
    entry = settings.entry(name)
    options = dict(entry.options)
    if name == 'crd':
      options['examples'] = np.arange(examples) % pairs[which].classes
    return lambda: method_task(name, options, *shared[which]())

  found = {
    name: make(name, settings.entry(name).pair) for name in settings.names()
  }
  return found | {f'kd/{which}': make('kd', which) for which in pairs}


def _shared(pair):
  """The networks, and a batch with what the teacher says of it stored."""
  cast, batch = cast_of(pair), ours.batch_of(pair)
  outputs = ours.make_forward(cast)(batch['inputs'])
  return cast, {**batch, 'signals': {'teacher': outputs}}


def method_task(
  name: str,
  options: Mapping,
  cast: ours.Cast,
  batch: Mapping,
  task: table.Task = table.CLASSIFICATION,
) -> sides.Task:
  """The student's step by a method; see `tasks` for its facts.

  Args:
    name, options: of the method; 'cross_entropy' is the labels alone.
    cast: the networks.
    batch: one, with the teacher's outputs in its 'signals'.
    task: of its labels.
  """
  soft = {}
  if name != 'cross_entropy':
    method = methods.make_method(name, **options)
    soft['soft'] = terms.Term('student', 'teacher', method)
  tx = optim.make_optimizer('sgd', momentum=settings.MOMENTUM)
  size = batch['labels'].shape[0]
  recipe = stages.Recipe(1, size, tx, settings.SGD_RATE)
  training = ours.training_of(cast, batch, soft, recipe, task=task)
  state = training.state
  compiled = training.step.lower(state, training.frozen, batch).compile()
  held = [
    tree.get('soft', {})
    for tree in (state.params['terms'], state.carried['terms'])
  ]
  facts = {
    'temporary': compiled.memory_analysis().temp_size_in_bytes,
    'held': sum(int(x.nbytes) for x in jax.tree.leaves(held)),
  }
  made = ours.stepping(training, compiled, [batch])
  return sides.Task(made.run, facts)
