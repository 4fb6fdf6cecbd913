"""kd_jax's side of segmentation: the step of a pair of U-Nets, and methods."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks import our_methods, ours, settings, sides
from kd_jax import methods, models, optim, stages, tasks, terms

LAYER = 'decoder2'  # at 1/4 of height and width
_LOGITS, _FEATURE = [('logits', 'logits')], [(LAYER, LAYER)]


class Entry(NamedTuple):
  """A method as it is measured: its name, where it reads, its options."""

  method: str
  where: str = 'logits'
  options: Mapping[str, Any] = {}


def _on_feature(method: str, **options) -> Entry:
  return Entry(method, LAYER, {'layers': _FEATURE, **options})


ENTRIES = (
  Entry('cross_entropy', ''),
  Entry('pixel_kd'),
  Entry('boundary_kd'),
  Entry('dist'),
  Entry('cwd', 'logits', {'layers': _LOGITS}),
  _on_feature('cwd'),
  _on_feature('skd_pairwise'),
  _on_feature('ifvd'),
  _on_feature('cirkd_minibatch'),
  _on_feature('pearson_pkd'),
  _on_feature('at'),
  _on_feature('mgd', variant='places', masked=0.75),
)
PLAIN = ENTRIES[1]  # what all are compared with


def batch_of(pair: settings.Maps, seed: int = 0) -> dict[str, jax.Array]:
  """A batch on the device; void pixels are in its mask."""
  inputs, labels = settings.maps(pair, seed)
  stored = np.where(labels == settings.VOID, tasks.VOID, labels)
  inside, mask = tasks.counted(stored, np)
  index = np.arange(pair.batch_size, dtype=np.int32)
  batch = {'inputs': inputs, 'labels': inside, 'index': index, 'mask': mask}
  return jax.device_put(batch)


def cast_of(pair: settings.Maps) -> ours.Cast:
  """The two U-Nets with random weights."""
  networks = {
    name: models.make_network('unet', pair.classes, widths=getattr(pair, name))
    for name in ('teacher', 'student')
  }
  return ours.cast_of(networks, batch_of(pair)['inputs'])


def distilling(cast: ours.Cast, batch: Mapping) -> ours.Training:
  """CE + KD at every pixel + CWD on logits, by AdamW: `configs/scenes.py`."""
  channels = methods.make_method(
    'cwd', layers=_LOGITS, temperature=settings.CHANNELS_TEMPERATURE
  )
  soft = {
    'pixels': terms.Term(
      'student', 'teacher', methods.make_method('pixel_kd'), settings.PIXELS
    ),
    'channels': terms.Term('student', 'teacher', channels, settings.CHANNELS),
  }
  recipe = stages.Recipe(
    1,
    len(batch['labels']),
    optim.make_optimizer('adamw'),
    settings.SCENES_RATE,
    settings.SCENES_DECAY,
  )
  task = tasks.SEGMENTATION
  training = ours.training_of(cast, batch, soft, recipe, hard=1.0, task=task)
  step = ours.compiled(cast, training.stage, batch, task)
  return training._replace(step=step)


def step_tasks(pair: settings.Maps) -> dict[str, Callable]:
  """{'step', 'student', 'teacher': () -> Task}: see `ours.step_tasks`."""
  batches = [batch_of(pair, i) for i in range(settings.BATCHES)]
  cast = cast_of(pair)
  forward = ours.make_forward(cast, ('logits',))

  def whole():
    training = distilling(cast, batches[0])
    return ours.stepping(training, training.step, batches)

  def student():
    training = distilling(cast, batches[0])
    stored = [
      {**batch, 'signals': {'teacher': forward(batch['inputs'])}}
      for batch in batches
    ]
    return ours.stepping(training, training.step, stored)

  def teacher():
    def run(count):
      for i in range(count):
        out = forward(batches[i % len(batches)]['inputs'])
      jax.block_until_ready(out)

    return sides.Task(run)

  return {'step': whole, 'student': student, 'teacher': teacher}


def method_tasks(pair: settings.Maps) -> dict[str, Callable]:
  """{'METHOD WHERE': () -> Task} of the student's step by each of `ENTRIES`.

  The teacher's outputs are given. Facts: see `our_methods.tasks`.
  """

  @functools.cache
  def shared():
    cast, batch = cast_of(pair), batch_of(pair)
    outputs = ours.make_forward(cast)(batch['inputs'])
    return cast, {**batch, 'signals': {'teacher': outputs}}

  def make(entry):
    return lambda: our_methods.method_task(
      entry.method, entry.options, *shared(), tasks.SEGMENTATION
    )

  found = {label(entry): make(entry) for entry in ENTRIES}
  return {'plain': make(PLAIN), **found}


def label(entry: Entry) -> str:
  """The name of a method and where it reads."""
  return f'{entry.method} {entry.where}'.strip()
