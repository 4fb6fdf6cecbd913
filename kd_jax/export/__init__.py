"""Exports a student to a file that runs without this project.

  python -m kd_jax.export RUN_OR_NETWORK --format onnx --out DIR

DIR then holds the file, meta.json (how inputs are prepared, names of the
classes), parity.json (the file compared with the network in JAX) and card.md.
Only the network is exported: no adapters, no optimizer, no teacher. Its input
is `images`, f32 [batch, H, W, C], or `input_ids` and `attention_mask`, integers
[batch, length], of a network for text; its output is `logits`, f32 [batch, K],
[batch, h, w, K] of a segmenter, [batch, length, K] where each token has its
own.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from kd_jax import errors


def export(
  source: str | os.PathLike,
  out: str | os.PathLike,
  format: str = 'onnx',
  *,
  quantize: str = '',
  names: str = 'jax',
  output: str = 'logits',
  network: str = '',
  config: str = '',
  license: str = '',
  examples: int = 0,
  length: int = 0,
  tokenizer: str = '',
  seconds: float = 0.3,
  data=None,
) -> dict[str, Any]:
  """Writes a student to a file, and compares the file with the network.

  The file is run with default options of its runtime: what is measured is
  what a user of the file gets.

  Args:
    source: a run, or the folder of a network.
    out: a new folder; nothing is left there if the export fails.
    format: a key of `job.FORMATS`; 'huggingface' is a folder that
      `transformers` loads, of a network for text.
    quantize: 'int8' (onnx): per channel; static, calibrated on training
      images, or dynamic for text; 'bf16' (the others): weights stored in bf16.
    names: of the weights in safetensors, 'jax' or 'torch'.
    output: 'logits', or 'classes' of a segmenter (onnx, stablehlo): the class
      of every pixel, the largest of the logits resized to the image.
    network: its name in the run; '' is the student.
    config: file that names the data set to test on, in place of the run's.
    license: of the weights, for the card.
    examples: number of test images to compare on; 0 is all.
    length: of the sequences of a network for text; 0 is any.
    tokenizer: file of a network for text, tokenizer.json; '' is the one beside
      the network or its run, if there is one.
    seconds: spent on each timing.
    data: the data set itself, where it exists in Python alone.

  Returns:
    The content of parity.json.

  Raises:
    ValueError: one line, for a mistake, such as a network that is not the one
      that its run reports, or a folder that cannot be written.
    errors.DifferentError: the file does not compute what the network does.
    errors.FullError: the disk is full.
  """
  from kd_jax.export import job, texts
  from kd_jax.export import source as sources

  out = pathlib.Path(out)
  if out.exists():
    raise ValueError(f'{out} exists; give another --out, or remove it')
  chosen = job.choose(format, quantize, names, output)
  student = sources.load(source, network)
  texts.check(format, names, output, student, length, tokenizer)
  if texts.is_text(student):
    data = texts.load(student, config, data, length)
    with _whole(out) as folder:
      return texts.write(
        folder,
        format,
        chosen,
        student,
        quantize=quantize,
        license=license,
        examples=examples,
        length=length,
        tokenizer=tokenizer,
        seconds=seconds,
        data=data,
      )
  data = job.load(student, config, data, output)
  with _whole(out) as folder:
    return job.write(
      folder,
      format,
      chosen,
      student,
      data,
      quantize=quantize,
      names=names,
      output=output,
      license=license,
      examples=examples,
      seconds=seconds,
    )


@contextlib.contextmanager
def _whole(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder beside `out` that becomes `out` when the block succeeds.

  Raises:
    ValueError, errors.FullError: one line, where it cannot be written.
  """
  part = out.with_name(f'.{out.name}.{os.getpid()}')
  try:
    part.mkdir(parents=True)
    yield part
    part.rename(out)
  except OSError as error:
    raise errors.unwritable(out, error) from error
  finally:
    shutil.rmtree(part, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m kd_jax.export', description=__doc__.split('\n')[0]
  )
  parser.add_argument('source', metavar='RUN_OR_NETWORK')
  parser.add_argument(
    '--format',
    default='onnx',
    help='onnx, stablehlo, safetensors or huggingface',
  )
  parser.add_argument('--out', required=True, metavar='DIR')
  parser.add_argument(
    '--quantize', default='', help='int8 (onnx) or bf16 (the others)'
  )
  parser.add_argument(
    '--names', default='jax', help='of weights in safetensors: jax or torch'
  )
  parser.add_argument(
    '--output',
    default='logits',
    help='logits; or of a segmenter classes, of every pixel of the image',
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
    help='config whose data set the file is tested on',
  )
  parser.add_argument('--license', default='', help='of the weights')
  parser.add_argument(
    '--examples',
    type=int,
    default=0,
    help='number of test images to compare on; 0: all',
  )
  parser.add_argument(
    '--length',
    type=int,
    default=0,
    metavar='L',
    help='of the sequences of a network for text; 0: any',
  )
  parser.add_argument(
    '--tokenizer',
    default='',
    metavar='FILE',
    help='tokenizer.json of a network for text',
  )
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command.

  Returns:
    The exit code: 0; 1 where the file differs from the network or the disk is
    full; 2 for a user's mistake.
  """
  options = vars(_parser().parse_args(argv))
  try:
    report = export(options.pop('source'), options.pop('out'), **options)
  except errors.DifferentError as failure:
    print(f'error: {failure}; nothing is kept', file=sys.stderr)
    return errors.FAILED
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    full = isinstance(error, errors.FullError)
    return errors.FAILED if full else errors.USER
  print(report['summary'])
  return errors.DONE
