"""Post-training int8 beside quantization-aware distillation, as measured.

  python -m experiments.quantized runs/digits runs/digits_quantized

takes the students of every seed of the two runs, writes each as an int8 ONNX
file, runs the files with onnxruntime on the test set, and prints a Markdown
table. The first run's student is in full precision, the second one's trained
for int8 (`quantize='int8'` in its config).
"""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import numpy as np


def folders_of(run: pathlib.Path, network: str) -> list[pathlib.Path]:
  """The folders of a network, one a seed.

  Raises:
    ValueError: where there are none.
  """
  places = [run, *sorted(run.glob('seed_*'))]
  found = [place / 'networks' / network for place in places]
  found = [place for place in found if (place / 'network.json').exists()]
  if not found:
    raise ValueError(f"no finished network '{network}' in {run}")
  return found


def measure(folder: pathlib.Path, quantize: str) -> dict:
  """Accuracy, agreement with the network in JAX, and bytes of its ONNX file."""
  from kd_jax.export import job, parity, source

  student = source.load(folder)
  data = source.read_data(student)
  chosen = job.choose('onnx', quantize, 'jax')
  with tempfile.TemporaryDirectory() as part:
    place = pathlib.Path(part)
    _, run = job.make(place, chosen, student, data, quantize)
    forward = parity.make_forward(student.network, student.variables)
    found = parity.compare(run, forward, data)
    return {
      'accuracy': found['accuracy']['exported'],
      'agreement': found['agreement'],
      'bytes': (place / chosen.file).stat().st_size,
    }


def table(full: pathlib.Path, aware: pathlib.Path, network: str) -> str:
  """The comparison as a Markdown table."""
  from kd_jax.compare import statistics
  from kd_jax.export import card

  cases = {
    'full precision': (full, ''),
    'int8 after training': (full, 'int8'),
    'trained for int8, simulated': (aware, ''),
    'trained for int8, int8': (aware, 'int8'),
  }
  found = {
    name: [measure(folder, quantize) for folder in folders_of(run, network)]
    for name, (run, quantize) in cases.items()
  }
  first = [one['accuracy'] for one in found['full precision']]
  rows = [
    (
      'student',
      'test accuracy, %',
      'points against full precision (95 %, seeds)',
      'top class as in JAX, %',
      'kB',
    )
  ]
  for name, of in found.items():
    own = [one['accuracy'] for one in of]
    change = '-'
    if own != first and len(own) == len(first) > 1:
      difference = np.subtract(own, first)
      low, high = (100 * x for x in statistics.over_seeds(difference))
      mean = 100 * difference.mean()
      change = f'{mean:+.1f} ({low:+.1f} to {high:+.1f})'
    rows.append(
      (
        name,
        spread(own),
        change,
        spread([one['agreement'] for one in of]),
        f'{np.mean([one["bytes"] for one in of]) / 1000:.1f}',
      )
    )
  return card.rows(rows)


def spread(values: Sequence[float]) -> str:
  """The mean and the standard deviation over seeds, in per cent."""
  text = f'{100 * np.mean(values):.1f}'
  if len(values) > 1:
    text += f' ± {100 * np.std(values, ddof=1):.1f}'
  return text


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0, or 2 for a user's mistake."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.quantized', description=__doc__.split('\n')[0]
  )
  parser.add_argument('full', type=pathlib.Path, metavar='RUN')
  parser.add_argument('aware', type=pathlib.Path, metavar='QUANTIZED_RUN')
  parser.add_argument('--network', default='student')
  options = parser.parse_args(argv)
  try:
    print(table(options.full, options.aware, options.network))
  except ValueError as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
