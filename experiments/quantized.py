"""Compares int8 after training with quantization-aware distillation.

  python -m experiments.quantized runs/digits runs/digits_quantized

exports the students of every seed of the two runs as int8 ONNX files, runs
the files in onnxruntime with default options on the test set, and prints a
Markdown table. The first run's student is in full precision, the second one's
is trained for int8 (`quantize='int8'` in its config).
"""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import numpy as np


def folders_of(run: pathlib.Path, network: str) -> list[pathlib.Path]:
  """The folders of a network, one for each seed.

  Raises:
    ValueError: there are none.
  """
  places = [run, *sorted(run.glob('seed_*'))]
  folders = [place / 'networks' / network for place in places]
  folders = [place for place in folders if (place / 'network.json').exists()]
  if not folders:
    raise ValueError(f"no finished network '{network}' in {run}")
  return folders


def measure(folder: pathlib.Path, quantize: str) -> dict:
  """Accuracy, agreement with the network in JAX, and bytes of its ONNX file."""
  from kd_jax.export import job, parity, source

  student = source.load(folder)
  data = job.load(student)
  chosen = job.choose('onnx', quantize, 'jax')
  with tempfile.TemporaryDirectory() as part:
    place = pathlib.Path(part)
    _, run = job.make(place, chosen, student, data, quantize)
    forward = parity.make_forward(student.network, student.variables)
    report = parity.compare(run, forward, data)
    return {
      'accuracy': report['accuracy']['exported'],
      'agreement': report['agreement'],
      'bytes': (place / chosen.file).stat().st_size,
    }


def table(full: pathlib.Path, aware: pathlib.Path, network: str) -> str:
  """The comparison as a Markdown table.

  Args:
    full: run of the student in full precision.
    aware: run of the student that is trained for int8.
    network: the student's name in both.
  """
  from kd_jax.export import card

  cases = {
    'full precision': (full, ''),
    'int8 after training': (full, 'int8'),
    'trained for int8, simulated': (aware, ''),
    'trained for int8, int8': (aware, 'int8'),
  }
  measured = {
    name: [measure(folder, quantize) for folder in folders_of(run, network)]
    for name, (run, quantize) in cases.items()
  }
  reference = [seed['accuracy'] for seed in measured['full precision']]
  rows = [
    (
      'student',
      'test accuracy, %',
      'points against full precision (95 %, seeds)',
      'top class as in JAX, %',
      'kB',
    )
  ]
  for name, seeds in measured.items():
    accuracy = [seed['accuracy'] for seed in seeds]
    rows.append(
      (
        name,
        spread(accuracy),
        change(accuracy, reference),
        spread([seed['agreement'] for seed in seeds]),
        f'{np.mean([seed["bytes"] for seed in seeds]) / 1000:.1f}',
      )
    )
  return card.rows(rows)


def spread(values: Sequence[float]) -> str:
  """The mean and the standard deviation over seeds, in per cent."""
  text = f'{100 * np.mean(values):.1f}'
  if len(values) > 1:
    text += f' ± {100 * np.std(values, ddof=1):.1f}'
  return text


def change(values: Sequence[float], reference: Sequence[float]) -> str:
  """The mean difference over paired seeds and its interval, in points."""
  from kd_jax.compare import statistics

  if values == reference or not len(values) == len(reference) > 1:
    return '-'
  difference = np.subtract(values, reference)
  low, high = (100 * x for x in statistics.over_seeds(difference))
  return f'{100 * difference.mean():+.1f} ({low:+.1f} to {high:+.1f})'


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; returns the exit code: 0, or 2 for a user's mistake."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.quantized', description=__doc__.split('\n')[0]
  )
  parser.add_argument('full', type=pathlib.Path, metavar='RUN')
  parser.add_argument('aware', type=pathlib.Path, metavar='QUANTIZED_RUN')
  parser.add_argument('--network', default='student')
  options = parser.parse_args(argv)
  try:
    print(table(options.full, options.aware, options.network))
  except ValueError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
