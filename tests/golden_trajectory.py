"""A training run beside PyTorch: `python -m tests.golden_trajectory FILE`.

FILE is an .npz of some steps of basic distillation, alpha T^2 KL + (1 - alpha)
CE, of the small CNN pair by Adam in PyTorch: `temperature`, `alpha`,
`learning_rate`, `batch_size`, `offset` (the first MNIST image), the losses
`total`, `hard` and `soft` before each update, and `final_logits_first8`, the
student's after the last. Images come in file order, pixels / 255, from the idx
files in --raw_dir. Weights are drawn as for `tests.golden_models`, their names
after 'teacher.' or 'student.'. Our side is the project's own training step.
Prints the relative errors; exit code 1 where one is above 1e-4.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models, optim, stages, state, step, terms
from kd_jax.data import pipeline, splits
from kd_jax.data.readers import download, mnist
from kd_jax.models import base, torch_weights
from tests import golden_models

BOUND = 1e-4
LOSSES = {'total': 'loss', 'hard': 'loss/hard', 'soft': 'loss/soft'}
NETWORKS = ('teacher', 'student')
NUMBERS = ('temperature', 'alpha', 'learning_rate', 'batch_size', 'offset')
FILES = ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz')
SHAPE = (28, 28, 1)


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """What the file holds.

  Raises:
    ValueError: where it is no such file.
  """
  try:
    with np.load(path) as file:
      golden = dict(file)
  except (OSError, ValueError) as error:
    raise ValueError(f'{path} is no .npz file: {error}') from None
  wanted = (*LOSSES, *NUMBERS, 'final_logits_first8')
  missing = [key for key in wanted if key not in golden]
  if missing:
    raise ValueError(f'{path} has no {", ".join(missing)}')
  return golden


def weights(who: str) -> dict:
  """Variables of 'teacher' or 'student' by the rule of the golden values."""
  name = f'cnn_{who}'
  network = models.make_network(name, 10)
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *SHAPE), 'f4')
  )
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  entries = torch_weights.state_dict(zeros, name)
  drawn = golden_models.weights(
    {f'{who}.{key}': x.shape for key, x in entries.items()}
  )
  drawn = {key.removeprefix(f'{who}.'): x for key, x in drawn.items()}
  found = torch_weights.load(drawn, name, classes=10, inputs=SHAPE)
  return jax.tree.map(jnp.asarray, found)


def images(raw_dir: str, first: int, count: int) -> splits.Split:
  """Training images and labels from number `first` on, in file order.

  Raises:
    ValueError: where the folder lacks the files, or they the images.
  """
  found = download.find('mnist', [FILES], raw_dir)
  if found is None:
    raise ValueError(f'--raw_dir, or {download.VARIABLE}, must hold MNIST')
  pixels, labels = (mnist.read_idx(found[file]) for file in FILES)
  if first + count > len(labels):
    raise ValueError(f'MNIST has {len(labels)} images, not {first + count}')
  rows = slice(first, first + count)
  return splits.Split(pixels[rows, ..., None], labels[rows].astype(np.int32))


def make_stage(numbers: Mapping[str, float], steps: int) -> stages.Stage:
  """The student learns from the labels and the frozen teacher, by Adam."""
  soft = methods.make_method('kd', temperature=numbers['temperature'])
  hard = methods.make_method('cross_entropy')
  alpha = numbers['alpha']
  recipe = stages.Recipe(
    steps,
    int(numbers['batch_size']),
    optim.make_optimizer('adam'),
    numbers['learning_rate'],
  )
  summands = {
    'hard': terms.Term('student', terms.LABELS, hard, 1 - alpha),
    'soft': terms.Term('student', 'teacher', soft, alpha),
  }
  return stages.Stage('student', summands, ('student',), recipe, ('teacher',))


def train(golden: Mapping[str, np.ndarray], raw_dir: str) -> dict:
  """What our step gives for the keys of `golden`, and sizes of networks."""
  numbers = {key: float(golden[key]) for key in NUMBERS}
  steps, size = len(golden['total']), int(numbers['batch_size'])
  split = images(raw_dir, int(numbers['offset']), steps * size)
  networks = {who: models.make_network(f'cnn_{who}', 10) for who in NETWORKS}
  held = {who: weights(who) for who in NETWORKS}
  stage = make_stage(numbers, steps)
  normal = pipeline.make_prepare((0.0,), (1.0,))

  def prepare(number, batch):
    del number
    return {**batch, 'inputs': normal(batch['inputs'])}

  def batch(number):
    return pipeline.take(split, np.arange(number * size, (number + 1) * size))

  frozen = {'teacher': held['teacher']}
  now = state.init_state(
    networks, stage, prepare(0, batch(0)), {'student': held['student']}
  )
  update = jax.jit(step.make_halves(networks, stage, prepare).step)
  found = {key: [] for key in LOSSES}
  for number in range(steps):
    now, metrics = update(now, frozen, batch(number))
    for key, name in LOSSES.items():
      found[key].append(float(metrics[name]))
  last = state.variables_of(now, 'student', stage)
  outputs, _ = networks['student'].apply(last, normal(split.inputs[:8]))
  sizes = {f'{who}_params': base.num_params(held[who]) for who in NETWORKS}
  return {**found, 'final_logits_first8': outputs['logits'], **sizes}


def check(golden: Mapping, found: Mapping) -> list[tuple[bool, str]]:
  """Whether each part agrees, and a line that says how far."""
  lines = []
  for key in LOSSES:
    ours, theirs = np.asarray(found[key]), np.asarray(golden[key])
    error = np.abs(ours - theirs) / np.abs(theirs)
    worst = int(error.argmax())
    good = bool(error[worst] < BOUND)  # so that NaN does not agree
    lines.append(
      (
        good,
        (
          f'{key}: {len(error)} steps, largest relative error '
          f'{error[worst]:.1e} at step {worst}: {ours[worst]:.7f}, '
          f'PyTorch {theirs[worst]:.7f}'
        ),
      )
    )
  key = 'final_logits_first8'
  error = golden_models.relative(found[key], golden[key])
  lines.append((error < BOUND, f'{key}: relative error {error:.1e}'))
  for key in (f'{who}_params' for who in NETWORKS):
    if key in golden:
      good = found[key] == int(golden[key])
      lines.append((good, f'{key}: {found[key]}, PyTorch {int(golden[key])}'))
  return lines


def main(arguments: list[str]) -> int:
  """Checks one file; the exit code, 2 for a user's mistake."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.golden_trajectory',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('file', type=pathlib.Path)
  parser.add_argument('--raw_dir', default='', help='idx files of MNIST')
  args = parser.parse_args(arguments)
  try:
    golden = read(args.file)
    # GPUs round to TF32 by default, which is coarser than the bound.
    with jax.default_matmul_precision('highest'):
      found = train(golden, args.raw_dir)
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  lines = check(golden, found)
  for good, line in lines:
    print(line + ('' if good else '  <- DIFFERS'))
  return int(not all(good for good, _ in lines))


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
