"""kd_jax's side of the rows: the ways in which a run takes its steps."""

import jax
import numpy as np

from experiments.benchmarks import loop, ours, row, settings, sides
from experiments.configs import cifar100
from kd_jax import build
from kd_jax.data import sources

AT_ONCE = 100
MODES = {
  'chunks': lambda case, r: loop.looped(case, AT_ONCE, r.lanes, r.strategy),
  'single steps': lambda case, r: loop.looped(case, 1, r.lanes, r.strategy),
  'one program a step': lambda case, r: loop.one_program(case),
  'bare scan': lambda case, r: loop.scanned(case),
}


def make(r: row.Row) -> sides.Task:
  """The row's steps; `facts` are functions, called after them.

  Raises:
    RuntimeError: JAX has not the row's device.
  """
  if jax.default_backend() != r.device:
    raise RuntimeError(f'JAX is on {jax.default_backend()}, not {r.device}')
  case = make_case(r)
  run = MODES[r.mode](case, r)
  return sides.Task(
    run,
    {
      'memory': lambda: peak_memory(r.device),
      'arithmetic': lambda: arithmetic(r),
    },
  )


def make_case(r: row.Row) -> loop.Case:
  """The row's pair by the recipe of CIFAR-100, on images that are drawn."""
  c = cifar100.get_config()
  c.parallel, c.baseline = 'one', False
  for name in ('teacher', 'student'):
    c.networks[name] = dict(name=getattr(r, name), dtype=r.dtype)
  c.train.batch_size = c.teacher.batch_size = r.batch_size
  c.train.optimizer.learning_rate = settings.SGD_RATE
  experiment = build.make_experiment(c, images(r))
  example = experiment.data.train.inputs[:1]

  def drawn(name):
    return ours.initialize(experiment.networks[name], example, 0)

  case = loop.make_case(experiment, {'teacher': drawn('teacher')})
  if r.stored:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (r.examples, row.CLASSES)).astype(np.float32)
    case = loop.with_stored(case, logits)
  return case._replace(starts=lambda: {'student': drawn('student')})


def images(r: row.Row) -> sources.Data:
  """A data set of CIFAR-100's kind, drawn."""
  rng = np.random.default_rng(0)
  shape = r.examples, r.size, r.size, 3
  pixels = rng.integers(0, 256, shape, np.uint8)
  labels = (np.arange(r.examples) % row.CLASSES).astype(np.int32)
  few = pixels[:8], labels[:8]
  return sources.make_data(
    'arrays',
    train=(pixels, labels),
    validation=few,
    test=few,
    classes=row.CLASSES,
    mean=row.MEAN,
    std=row.STD,
  )


def peak_memory(device: str) -> int:
  """The most bytes in use: of the GPU, or of this process."""
  if device == 'cpu':
    return sides.peak_memory()
  return (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use', 0)


def arithmetic(r: row.Row) -> str:
  """In what the networks compute products, as JAX is set."""
  if r.dtype != 'float32':
    return r.dtype
  asked = jax.config.jax_default_matmul_precision
  default = asked in (None, 'default', 'tensorfloat32')
  return 'TF32' if default and r.device == 'gpu' else 'float32'
