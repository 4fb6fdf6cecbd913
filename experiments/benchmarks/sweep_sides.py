"""The sides of the benchmark of a sweep, each run in a process of its own."""

import itertools
import pathlib
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from experiments.benchmarks import settings

BATCH = 128
LAYERS = [('pool2', 'pool2')]
POINTS = list(
  itertools.product(
    (1.0, 2.0, 4.0, 8.0),
    (0.5, 0.9),
    (0.0, 1.0, 10.0),  # T, alpha, beta
  )
)


def prepare(folder: str, images: int, raw_dir: str) -> str:
  """Leaves data and a teacher in a folder, for all sides.

  Returns:
    The file of the data.
  """
  from experiments.benchmarks import ours
  from kd_jax import network_files
  from kd_jax.data import sources

  path = str(pathlib.Path(folder) / 'data.npz')
  if raw_dir:
    data = sources.make_data('mnist', raw_dir=raw_dir)
    parts = data.train.inputs, data.train.labels, *data.test()[:2]
  else:
    rng = np.random.default_rng(0)
    size = images + 1000
    labels = rng.integers(0, settings.CNNS.classes, size).astype(np.int32)
    pixels = rng.integers(0, 256, (size, *settings.CNNS.shape))
    pixels = pixels.astype(np.uint8)
    parts = pixels, labels, pixels[images:], labels[images:]
  x, y, test_x, test_y = (np.asarray(part) for part in parts)
  np.savez(path, x=x[:images], y=y[:images], test_x=test_x, test_y=test_y)
  cast = ours.cnns(settings.CNNS)
  spec = {
    'build': {'name': 'cnn_teacher', 'classes': settings.CNNS.classes},
    'made_by': '',
  }
  place = pathlib.Path(folder) / 'teacher'
  network_files.save_network(place, cast.variables['teacher'], spec)
  return path


def config_of(point, teacher: str, epochs: int, stored: bool = False):
  """The config of a setting."""
  from kd_jax import config

  temperature, alpha, beta = point
  c = config.default()
  c.temperature, c.alpha, c.beta = temperature, alpha, beta
  c.parallel, c.baseline = 'one', False
  c.networks.teacher = dict(load=str(pathlib.Path(teacher) / 'teacher'))
  c.networks.student = dict(name='cnn_student')
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method='kd', weight=c.get_ref('alpha'), temperature=c.get_ref('temperature')
  )
  c.terms.feature = dict(
    method='feature_mse', weight=c.get_ref('beta'), layers=LAYERS
  )
  c.train.epochs, c.train.batch_size = epochs, BATCH
  if stored:
    c.teacher_outputs = 'cache'
    c.cache.outputs = ('logits', 'pool2')
  return c


def data_of(path: str):
  """The data set that `prepare` left."""
  from kd_jax.data import sources

  found = np.load(path)
  few = found['test_x'][:500], found['test_y'][:500]  # no test is chosen by
  return sources.make_data(
    'arrays',
    train=(found['x'], found['y']),
    validation=few,
    test=(found['test_x'], found['test_y']),
    classes=settings.CNNS.classes,
  )


def grid(
  data: str,
  teacher: str,
  epochs: int,
  points: Sequence[int] | None = None,
  stored: bool = False,
  reports: bool = False,
) -> dict:
  """kd_jax: settings as lanes, kept on disk, and their accuracy on test.

  Args:
    data, teacher: that `prepare` left.
    epochs: of the training.
    points: numbers of the settings; None: all.
    stored: whether the teacher's outputs are.
    reports: whether each is compared and reported after it all.

  Returns:
    'accuracy', the mean; 'parts', {part: seconds} (see `clock`).
  """
  begun = time.perf_counter()
  from experiments.benchmarks import clock
  from kd_jax import compare, metrics, report, runs, training
  from kd_jax.runs import folders
  from kd_jax.training import runtime

  watch = clock.start('start and the rest', begun)
  clock.watch(watch)
  chosen = range(len(POINTS)) if points is None else points
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    places = [
      runs.Place(
        config_of(POINTS[k], teacher, epochs, stored),
        root / str(k),
        root / str(k),
      )
      for k in chosen
    ]
    group = runs.make_group(places, data_of(data))
    sessions = []
    for place, made in group:
      folders.claim(place.folder, made.config, made.inputs)
      writer = metrics.make_writer(place.folder)
      sessions.append(
        training.Session(place.folder, writer, shared=root / 'shelf')
      )
    done = training.run_all([made for _, made in group], sessions)
    first, memo = group[0][1], {}
    with watch.part('evaluation'):
      score = runtime.make_score(first, 'student', first.data.test())
      accuracy = [
        score(outcome.networks['student'])['accuracy'] for outcome in done
      ]
    for (place, made), outcome in zip(group, done) if reports else ():
      with watch.part('report'):
        compare.run(made, outcome.networks, place.folder, memo)
        report.write(place.folder)
  return {'accuracy': float(np.mean(accuracy)), 'parts': watch.read()}


def growth(
  data: str,
  teacher: str,
  lanes: int,
  steps: int,
  strategy: str = 'loop',
  at_once: int = 1,
) -> dict[str, float]:
  """Seconds of a step of so many lanes, compiling left out.

  Args:
    data, teacher: that `prepare` left.
    lanes: trained at once.
    steps: that are timed.
    strategy: of the lanes, as --strategy.
    at_once: steps in one program; 1: single steps.

  Returns:
    'step'; 'teacher' and 'student': of the frozen networks' part alone, and of
    the update of a single lane.
  """
  import jax

  from kd_jax import build, runs
  from kd_jax.training import runtime, strategies

  points = list(itertools.islice(itertools.cycle(POINTS), lanes))
  nowhere = pathlib.Path()
  group = runs.make_group(
    [
      runs.Place(config_of(point, teacher, 1), nowhere, nowhere)
      for point in points
    ],
    data_of(data),
  )
  first: build.Experiment = group[0][1]
  stage = first.stages[-1]
  frozen = {'teacher': first.loaded['teacher']}
  made = runtime.make_runtime(first, stage)
  strategy = strategies.STRATEGIES[strategy](made)
  states = [made.init(e.stages[-1], {}) for _, e in group]
  packed = strategy.pack(states)
  if at_once > 1:
    programs = made.make_chunks(states[0], frozen, at_once)
    chunk = strategy.make_chunk(programs)

  def update(n, count, packed):
    if at_once == 1:
      signals, batch = made.signals(np.int32(n), frozen, made.feed(n))
      return strategy.update(packed, signals, batch)
    looked = programs.look(frozen, programs.read(n, count))
    return chunk(packed, *looked, jax.device_put(np.int32(count)))

  def step(n, packed):
    count = min(at_once, steps - n)
    return (n + count, *update(n, count, packed))

  _, packed, values = step(0, packed)
  jax.block_until_ready(jax.tree.leaves((packed, values)))
  begun, n = time.perf_counter(), 0
  while n < steps:
    n, packed, values = step(n, packed)
  jax.block_until_ready(jax.tree.leaves((packed, values)))
  whole = (time.perf_counter() - begun) / steps
  alone = made.init(stage, {})

  def teach(n):
    return made.signals(np.int32(n), frozen, made.feed(n))

  looked = teach(0)
  teacher_seconds = _seconds(teach, steps)
  now = [made.update(alone, *looked)]

  def learn(_):
    now[0] = made.update(now[0][0], *looked)
    return now[0]

  student_seconds = _seconds(learn, steps)
  return {'step': whole, 'teacher': teacher_seconds, 'student': student_seconds}


def _seconds(function, steps: int) -> float:
  """Seconds of a call, of so many, the last waited for."""
  import jax

  jax.block_until_ready(function(0))
  begun = time.perf_counter()
  for n in range(steps):
    last = function(n)
  jax.block_until_ready(last)
  return (time.perf_counter() - begun) / steps


def torch(
  data: str,
  teacher: str,
  epochs: int,
  points: Sequence[int],
  device: str = 'cpu',
) -> dict[str, float]:
  """PyTorch: the settings one after the other; each asks the teacher anew."""
  begun = time.perf_counter()
  from experiments.benchmarks.pytorch import sweep as torch_sweep

  del teacher  # of the same shape: time does not depend on its weights
  found = np.load(data)
  start = time.perf_counter() - begun
  accuracy = [
    torch_sweep.train(POINTS[k], found, epochs, BATCH, device) for k in points
  ]
  return {'accuracy': float(np.mean(accuracy)), 'start': start}


SIDES = {'grid': grid, 'growth': growth, 'torch': torch}
