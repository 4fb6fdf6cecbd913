"""Times a step with cached teachers and with live ones; counts stored bytes.

  python -m experiments.benchmarks.cache [--quick] [--write]

cnn_teacher teaches cnn_student on 28x28 images, as a run does it: the batch is
gathered, the stored signals are read, the step is taken. One process does it
all, and the ways take turns repeat by repeat. --quick is over in a minute and
says little; --write puts the tables into README.md.
"""

import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments import pages
from experiments.benchmarks import settings, sides, timing

MODULE, SECTION = 'experiments.benchmarks.cache', 'cache'
PACKAGES = ('jax', 'jaxlib', 'numpy', 'array-record')
FORMATS = {
  'float32': {'dtype': 'float32'},
  'bfloat16': {'dtype': 'bfloat16'},
  'int8': {'dtype': 'int8'},
  'float32, top 5': {'dtype': 'float32', 'top_k': 5},
  'int8, top 5': {'dtype': 'int8', 'top_k': 5},
}
LIVE = 'live'
# What is stored of an example: logits of so many classes, or a map.
STORED = {
  '10 logits': {'logits': (10,)},
  '100 logits': {'logits': (100,)},
  '1000 logits': {'logits': (1000,)},
  '8x8x64 map': {'stage2': (8, 8, 64)},
}
# One full shard, so that what a file is filled up with does not count.
EXAMPLES = 8192


class Effort(NamedTuple):
  """How much is done.

  Attributes:
    batches: batch sizes.
    images: in the data set.
    repeats: of a timing.
    seconds: of one timing.
  """

  batches: Sequence[int]
  images: int
  repeats: int
  seconds: float


FULL, QUICK = Effort((32, 128), 2048, 9, 2.0), Effort((32,), 256, 2, 0.3)


def tasks(batch_size: int, images: int) -> dict[str, Callable]:
  """{'live' or a format: () -> Task}: steps of a run."""
  from experiments.benchmarks import ours
  from kd_jax import build, config

  c = config.default()
  c.parallel, c.baseline = 'one', False
  c.networks.teacher = {'name': settings.CNNS.teacher}
  c.networks.student = {'name': settings.CNNS.student}
  c.terms.hard = {'method': 'cross_entropy', 'weight': 1 - settings.ALPHA}
  c.terms.soft = {
    'method': 'kd',
    'weight': settings.ALPHA,
    'temperature': settings.TEMPERATURE,
  }
  c.train.batch_size = c.teacher.batch_size = batch_size
  data = _images(images)
  network = build.make_experiment(c, data).networks['teacher']
  frozen = {'teacher': ours.initialize(network, data.train.inputs[:1], 0)}

  def live():
    return _steps(build.make_experiment(c, data), frozen)

  def stored(options):
    c.teacher_outputs = 'cache'
    c.cache.update({'top_k': 0, **options})
    return _steps(build.make_experiment(c, data), frozen)

  return {LIVE: live, **{n: lambda o=o: stored(o) for n, o in FORMATS.items()}}


def _images(count: int):
  """A data set like MNIST, drawn."""
  from kd_jax.data import sources

  rng = np.random.default_rng(0)
  shape = count, *settings.CNNS.shape
  images = rng.integers(0, 256, shape).astype(np.uint8)
  labels = np.arange(count) % settings.CNNS.classes
  few = images[:32], labels[:32]
  return sources.make_data(
    'arrays', train=(images, labels), test=few, validation=few
  )


def _steps(experiment, frozen) -> sides.Task:
  """So many steps of the experiment's last stage."""
  import jax

  from kd_jax import metrics
  from kd_jax.training import cached_teachers, finished, runtime

  stage = experiment.stages[-1]
  with tempfile.TemporaryDirectory() as folder:
    teachers = cached_teachers.open_stage(
      experiment,
      stage,
      frozen,
      runtime.make_prepare(experiment, stage.recipe),
      finished.Session(pathlib.Path(folder), metrics.silent()),
    )
  stage_runtime = runtime.make_runtime(experiment, stage, teachers)
  now = {'state': stage_runtime.init(stage, {}), 'step': 0}

  def run(count):
    for _ in range(count):
      step, batch = np.int32(now['step']), stage_runtime.feed(now['step'])
      signals, batch = stage_runtime.signals(step, frozen, batch)
      now['state'], values = stage_runtime.update(now['state'], signals, batch)
      now['step'] += 1
    jax.block_until_ready((now['state'], values))

  return sides.Task(run)


def step_table(effort: Effort) -> str:
  """Milliseconds of a step, live and from every format."""
  rows = []
  for size in effort.batches:
    names = [LIVE, *FORMATS]
    maker = f'{MODULE}:tasks'
    with sides.start('kd_jax', maker, size, effort.images) as side:
      times, _ = sides.race(
        [(side, name) for name in names], effort.repeats, effort.seconds
      )
    live = times[0]
    for name, seconds in zip(names, times, strict=True):
      rows.append(
        [
          str(size),
          name,
          timing.shown(timing.spread(seconds), 2, 1e3),
          timing.shown(timing.ratio(live, seconds)),
        ]
      )
  header = ['batch', 'teacher', 'step, ms', 'times as fast as live']
  return pages.table(header, rows)


def sizes(shapes: Mapping, options: Mapping) -> tuple[int, float]:
  """Bytes of a record, and of files for each example (normal numbers)."""
  from kd_jax.cache import encoding, store

  layout = encoding.Layout(shapes, **options)
  rng = np.random.default_rng(0)

  def compute(index, view):
    return {
      name: rng.normal(0, 4, (len(index), *shape)).astype(np.float32)
      for name, shape in shapes.items()
    }

  with tempfile.TemporaryDirectory() as folder:
    store.build(folder, {'views': 1}, layout, EXAMPLES, compute, 256)
    manifest = store.open_cache(folder, {'views': 1}).manifest
  files = sum(shard['bytes'] for shard in manifest['shards'])
  return manifest['record_bytes'], files / EXAMPLES


def size_table() -> str:
  """Bytes an example of every format, in files."""
  rows = []
  for name, options in FORMATS.items():
    row = [name]
    for shapes in STORED.values():
      if options.get('top_k') and 'logits' not in shapes:
        row.append('-')
        continue
      record, files = sizes(shapes, options)
      row.append(f'{record} ({files:.0f})')
    rows.append(row)
  return pages.table(['format', *STORED], rows)


def report(effort: Effort, argv: Sequence[str] | None) -> str:
  """The section of README.md."""
  return '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)} on {timing.machine(PACKAGES)}',
      f'Whole steps of {settings.CNNS.teacher} to {settings.CNNS.student} on '
      '28x28 images, as in a run: median and quartiles of the repeats; ratios '
      'are taken repeat by repeat.',
      step_table(effort),
      'Bytes of a record, and in files of 8192 normal numbers each (in '
      'brackets), which ArrayRecord compresses. Errors are those of '
      '`kd_jax/cache/encoding.py`.',
      size_table(),
    ]
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Measures, prints, and writes when asked."""

  def text(quick, argv):
    return report(QUICK if quick else FULL, argv)

  return timing.run_on_cpu(MODULE, __doc__, SECTION, text, argv)


if __name__ == '__main__':
  sys.exit(main())
