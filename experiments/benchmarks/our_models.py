"""kd_jax's side of the networks: the step that a run takes, and forwards."""

from collections.abc import Callable

import jax

from experiments.benchmarks import ours, settings, sides
from kd_jax import methods, models, optim, stages, terms


def tasks(pair: settings.Pair) -> dict[str, Callable]:
  """{'step', 'student', 'teacher': () -> Task}.

  'step' is a whole step of distillation, alpha T^2 KL + (1 - alpha) CE by SGD
  with momentum, the teacher's forward included; the others are the forward of
  one network, as in evaluation.
  """
  batch = ours.batch_of(pair)

  def forward(name):
    network = models.make_network(name, pair.classes)
    variables = ours.initialize(network, batch['inputs'], 0)
    logits = jax.jit(lambda v, x: network.apply(v, x)[0]['logits'])

    def run(count):
      for _ in range(count):
        found = logits(variables, batch['inputs'])
      jax.block_until_ready(found)

    return warm(sides.Task(run))

  def step():
    training = make_training(pair, batch)
    return warm(ours.stepping(training, training.step, [batch]))

  return {
    'step': step,
    'student': lambda: forward(pair.student),
    'teacher': lambda: forward(pair.teacher),
  }


def warm(task: sides.Task) -> sides.Task:
  """The task, run once: what it compiles is part of building it."""
  task.run(1)
  return task


def make_training(pair: settings.Pair, batch) -> ours.Training:
  """The training that 'step' takes steps of."""
  cast = ours.cnns(pair)
  method = methods.make_method('kd', temperature=settings.TEMPERATURE)
  soft = terms.Term('student', 'teacher', method, settings.ALPHA)
  tx = optim.make_optimizer('sgd', momentum=settings.MOMENTUM)
  recipe = stages.Recipe(1, pair.batch_size, tx, settings.SGD_RATE)
  training = ours.training_of(cast, batch, {'soft': soft}, recipe)
  made = ours.compiled(cast, training.stage, batch)
  return training._replace(step=made)
