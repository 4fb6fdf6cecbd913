"""A student as a file that runs without this project.

  python -m kd_jax.export RUN_OR_NETWORK --format onnx --out DIR

DIR then holds the file, meta.json (how images are prepared), parity.json (the
file beside the network in JAX) and card.md. Only the network is exported: no
adapters, no optimizer, no teacher. Its input is `images`, f32 [batch, H, W, C],
prepared as meta.json says; its output is `logits`, f32 [batch, K].
"""

import argparse
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from kd_jax import errors


def export(
  source: str | os.PathLike,
  out: str | os.PathLike,
  format: str = 'onnx',
  *,
  quantize: str = '',
  names: str = 'jax',
  network: str = '',
  config: str = '',
  license: str = '',
  examples: int = 0,
  seconds: float = 0.3,
  data=None,
) -> dict[str, Any]:
  """Writes a student, and checks the file in its own runtime.

  Args:
    source: a run, or the folder of a network.
    out: folder that is made; nothing is left there where the file fails.
    format: a key of `job.FORMATS`.
    quantize: 'int8' (onnx): static, per channel, calibrated on training
      images; 'bf16' (stablehlo, safetensors): weights kept in bf16.
    names: of the weights in safetensors, 'jax' or 'torch'.
    network: of the run; '' is its student.
    config: file whose data set is used in place of the run's.
    license: of the weights, for the card.
    examples: test images to check on; 0 is all.
    seconds: spent on each timing.
    data: the data set itself, where it comes from Python.

  Returns:
    What parity.json holds.

  Raises:
    ValueError: one line, for what cannot be meant.
    errors.DifferentError: the file does not do what the network does.
  """
  from kd_jax.export import job

  out = pathlib.Path(out)
  if out.exists():
    raise ValueError(f'{out} exists; give another --out, or remove it')
  chosen = job.choose(format, quantize, names)
  student, data = job.load(source, network, config, data)
  part = out.with_name(f'.{out.name}.{os.getpid()}')
  part.mkdir(parents=True)
  try:
    found = job.write(
      part,
      format,
      chosen,
      student,
      data,
      quantize=quantize,
      names=names,
      license=license,
      examples=examples,
      seconds=seconds,
    )
    part.rename(out)
  finally:
    shutil.rmtree(part, ignore_errors=True)
  return found


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m kd_jax.export', description=__doc__.split('\n')[0]
  )
  parser.add_argument('source', metavar='RUN_OR_NETWORK')
  parser.add_argument(
    '--format', default='onnx', help='onnx, stablehlo or safetensors'
  )
  parser.add_argument('--out', required=True, metavar='DIR')
  parser.add_argument(
    '--quantize', default='', help='int8 (onnx) or bf16 (the others)'
  )
  parser.add_argument(
    '--names', default='jax', help='of weights in safetensors: jax or torch'
  )
  parser.add_argument(
    '--network',
    default='',
    metavar='NAME',
    help='of the run, in place of its student',
  )
  parser.add_argument(
    '--config',
    default='',
    metavar='FILE',
    help='whose data set the network is tested on',
  )
  parser.add_argument('--license', default='', help='for the card')
  parser.add_argument(
    '--examples', type=int, default=0, help='test images to check on; 0: all'
  )
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 1 the file differs, 2 a user's mistake."""
  options = vars(_parser().parse_args(argv))
  try:
    found = export(options.pop('source'), options.pop('out'), **options)
  except errors.DifferentError as failure:
    print(f'error: {failure}; nothing is kept', file=sys.stderr)
    return 1
  except (ValueError, OSError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  print(found['summary'])
  return 0
