"""Hinton's MNIST experiment, all of it, beside the paper's numbers.

  python -m experiments.hinton --workdir runs/hinton [--seeds 3] [--raw_dir DIR]
  python -m experiments.hinton --keep runs/hinton

The first one trains a teacher, the student alone, distilled, distilled without
any 3, and distilled from 7s and 8s alone; then moves the biases of what was not
seen by one number that is best on validation. Test errors are counted once, and
written to WORKDIR/hinton.json. The second one keeps them as RESULT, and their
table in experiments/README.md.

Source: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural
Network, 2015, https://arxiv.org/abs/1503.02531, section 3.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import pages

CONFIG = pages.HERE / 'configs/mnist_hinton.py'
RESULT = pages.HERE / 'results/hinton.json'
SECTION, NAME = 'hinton', 'hinton.json'
# What is raised (or, negative, lowered) by one number: the biases of these.
MOVED = {'no_3': (3,), 'only_7_8': (7, 8)}
OFFSETS = np.arange(-15, 15.01, 0.1)
PAPER = {
  'teacher': '67',
  'alone': '146',
  'distilled': '74',
  'no_3': '206',
  'no_3 moved': '109',
  'only_7_8': '4730',
  'only_7_8 moved': '1320',
}
ROWS = {
  'teacher': 'teacher, 1200-1200, dropout, jittered images',
  'alone': 'student, 800-800, alone',
  'distilled': 'student, distilled at T = 20',
  'no_3': 'distilled without any 3',
  'no_3 moved': 'the same, the bias of 3 moved',
  'only_7_8': 'distilled from 7s and 8s alone',
  'only_7_8 moved': 'the same, the biases of 7 and 8 moved',
}


def best_offset(
  logits: np.ndarray, labels: np.ndarray, classes: Sequence[int]
) -> float:
  """What to add to the logits of some classes, best on these examples.

  Of several that are as good, the one in their middle.

  Args:
    logits: f32 [N, K].
    labels: i32 [N].
    classes: whose bias is moved.
  """
  errors = [wrong(moved(logits, classes, x), labels) for x in OFFSETS]
  good = np.flatnonzero(np.array(errors) == min(errors))
  return float(OFFSETS[good[len(good) // 2]])


def moved(logits, classes, offset) -> np.ndarray:
  """The logits with the biases of some classes moved."""
  logits = logits.copy()
  logits[:, list(classes)] += offset
  return logits


def wrong(logits: np.ndarray, labels: np.ndarray) -> int:
  """How many are not right."""
  return int((logits.argmax(-1) != labels).sum())


def errors_of(folder: pathlib.Path, row: str) -> int:
  """Test errors of a network of a finished run."""
  found = np.load(folder / 'predictions.npz')
  return wrong(found[f'logits/{row}'], found['labels'])


def corrected(folder, experiment, classes) -> tuple[int, float]:
  """Test errors once the biases are moved, and by how much they are."""
  from kd_jax import network_files
  from kd_jax.compare import predict

  student, _ = network_files.load_network(folder / 'networks/student')
  held = experiment.data.validation
  logits = predict.predict(experiment, 'student', student, held)
  offset = best_offset(logits, np.asarray(held.labels), classes)
  found = np.load(folder / 'predictions.npz')
  after = moved(found['logits/student'], classes, offset)
  return wrong(after, found['labels']), offset


def run_part(part: str, root, seeds: int, changes: Mapping[str, str], stop):
  """Trains a part; {seed: folder}, and the experiment of the first seed."""
  from kd_jax import config, runs

  more = {**changes, 'seeds': str(seeds)}
  if part != 'all':
    first = root / 'all' / ('seed_0' if seeds > 1 else '')
    more['networks.teacher.load'] = str(first / 'networks/teacher')
  c = config.read(f'{CONFIG}:{part}', more)
  prepared = runs.claim(runs.build_all({'': c}, root / part))
  runs.train_all(prepared, stop)[''].unwrap()
  return prepared.seeds[''], prepared.groups[0][0][1]


def run(root: pathlib.Path, seeds: int, changes, stop) -> dict[str, list]:
  """{row: a value a seed}; the offsets are rows too, and the epochs."""
  folders, experiment = run_part('all', root, seeds, changes, stop)
  epochs = [experiment.config[part]['epochs'] for part in ('teacher', 'train')]
  found = {'epochs': epochs, 'teacher': [errors_of(folders[0], 'teacher')]}
  for row, name in (('alone', 'baseline'), ('distilled', 'student')):
    found[row] = [errors_of(folder, name) for folder in folders]
  for part, classes in MOVED.items():
    folders, experiment = run_part(part, root, seeds, changes, stop)
    found[part] = [errors_of(folder, 'student') for folder in folders]
    after = [corrected(folder, experiment, classes) for folder in folders]
    found[f'{part} moved'] = [errors for errors, _ in after]
    found[f'{part} offset'] = [offset for _, offset in after]
  return found


def text(found: Mapping[str, Sequence[float]]) -> str:
  """The test errors of 10,000 beside the paper's, and how they came about."""
  lines = []
  for row, title in ROWS.items():
    values = found[row]
    each = ', '.join(map(str, values))
    shown = f'{np.mean(values):.0f}' + (f' ({each})' if len(values) > 1 else '')
    lines.append([title, PAPER[row], shown])
  for part in MOVED:
    shown = ', '.join(f'{x:+.1f}' for x in found[f'{part} offset'])
    lines.append([f'{ROWS[f"{part} moved"]}: by', '', shown])
  table = pages.table(['', 'paper', 'here, mean (seeds)'], lines)
  teacher, student = found['epochs']
  return (
    f'{table}\n\n{teacher} epochs of the teacher, {student} of the students, '
    'which share it.'
  )


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 2 a user's mistake, 130 stopped."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.hinton',
    description=__doc__.split('\n')[0],
    epilog='--config.key=value changes a key of every part',
  )
  todo = parser.add_mutually_exclusive_group(required=True)
  todo.add_argument('--workdir', type=pathlib.Path)
  todo.add_argument(
    '--keep', type=pathlib.Path, metavar='DIR', help='RESULT of this workdir'
  )
  parser.add_argument('--seeds', type=int, default=3)
  parser.add_argument(
    '--raw_dir',
    default=os.environ.get('KD_JAX_RAW_DIR', ''),
    help="with MNIST's four files; else they are downloaded",
  )
  from kd_jax import cli, errors

  options, rest = parser.parse_known_args(argv)
  if options.keep:
    return keep(options.keep)
  changes = cli.changes_of(rest, parser)
  if options.raw_dir:
    changes['data.raw_dir'] = options.raw_dir
  cli.set_up()
  from kd_jax import checkpoint
  from kd_jax.runs import interrupts

  try:
    with interrupts.heard() as caught:
      stop = lambda: bool(caught())  # noqa: E731
      found = run(options.workdir, options.seeds, changes, stop)
  except ValueError as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return errors.USER
  except errors.StoppedError as stopped:
    print(
      f'stopped and saved {stopped}; run the same command to continue',
      file=sys.stderr,
    )
    return errors.STOPPED
  checkpoint.write_json(options.workdir / NAME, found)
  print(text(found))
  return 0


def keep(workdir: pathlib.Path) -> int:
  """Keeps the numbers of a workdir and draws their table; the exit code."""
  try:
    found = json.loads((workdir / NAME).read_text())
  except (OSError, ValueError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  RESULT.write_text(json.dumps(found, indent=2) + '\n')
  pages.keep(pages.README, SECTION, text(found))
  return 0


if __name__ == '__main__':
  sys.exit(main())
