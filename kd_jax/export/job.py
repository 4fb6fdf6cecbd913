"""Runs one export: chooses the format, reads the student, writes the files."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kd_jax import checkpoint, tasks, types
from kd_jax.data import pipeline, sources
from kd_jax.export import (
  card,
  formats,
  huggingface,
  meta,
  need,
  origin,
  parity,
  source,
  stablehlo,
  weights,
)
from kd_jax.export.onnx import writer

OUTPUTS = formats.LOGITS, formats.CLASSES
FORMATS = {
  'onnx': formats.Format(
    'model.onnx',
    writer.write,
    writer.make_run,
    ('int8',),
    'onnxruntime',
    ('onnx', 'onnxruntime'),
    OUTPUTS,
  ),
  'safetensors': formats.Format(
    'model.safetensors', weights.write, weights.make_run, ('bf16',), 'jax'
  ),
  'stablehlo': formats.Format(
    'model.stablehlo',
    stablehlo.write,
    stablehlo.make_run,
    ('bf16',),
    'jax',
    ('flatbuffers',),
    OUTPUTS,
  ),
  huggingface.NAME: huggingface.FORMAT,
}
QUANTIZE = ('int8', 'bf16')
CALIBRATION = 1024  # training images that give the ranges of activations


def choose(
  name: str, quantize: str, names: str, output: str = formats.LOGITS
) -> formats.Format:
  """The format of this name.

  Raises:
    ValueError: one line, for an unknown name, for what the format cannot hold
      and for packages that are not installed.
  """
  if name not in FORMATS:
    raise types.unknown('format', name, FORMATS)
  if quantize and quantize not in QUANTIZE:
    raise types.unknown('--quantize', quantize, QUANTIZE)
  chosen = FORMATS[name]
  if quantize and quantize not in chosen.quantize:
    able = [key for key, x in FORMATS.items() if quantize in x.quantize]
    raise ValueError(
      f"'{name}' cannot hold {quantize}; formats that can: {', '.join(able)}"
    )
  if names not in weights.NAMES:
    raise types.unknown('--names', names, weights.NAMES)
  if names != 'jax' and name != 'safetensors':
    raise ValueError(f"--names is for safetensors, not for '{name}'")
  if output not in OUTPUTS:
    raise types.unknown('--output', output, OUTPUTS)
  if output not in chosen.outputs:
    able = [key for key, x in FORMATS.items() if output in x.outputs]
    raise ValueError(
      f"--output {output} is not for '{name}', which holds weights; formats "
      f'for it: {", ".join(able)}'
    )
  for package in chosen.needs:
    need.package(package)
  return chosen


def load(
  student: source.Student,
  config: str = '',
  data: sources.Data | None = None,
  output: str = formats.LOGITS,
) -> sources.Data:
  """The data that a network for images is tested on.

  Args:
    student: read.
    config: file that names them, in place of the run's.
    data: themselves, where they exist in Python alone.
    output: that is asked for.

  Raises:
    ValueError: one line, for a damaged file, for a network that is not the
      one of its run, and for data that do not fit.
  """
  origin.check_spec(student)
  # What the card shows is read once before any work.
  source.teachers(student)
  if student.run:
    with source.intact(student.run / source.CONFIG):
      card.training(student)
  if data is not None:
    data = source.fitting(student, data)
  else:
    data = source.read_data(student, config)
  predicted = tasks.make_task(data.task).prediction
  if output == formats.CLASSES and predicted != 'pixel':
    raise ValueError(
      f"--output {output} is of a segmenter; '{data.name}' has a label for "
      f'each {predicted}'
    )
  origin.check_answers(student, data)
  return data


def write(
  folder: pathlib.Path,
  name: str,
  chosen: formats.Format,
  student: source.Student,
  data: sources.Data,
  *,
  quantize: str,
  names: str,
  output: str,
  license: str,
  examples: int,
  seconds: float,
) -> dict[str, Any]:
  """Writes the file, compares it with the network, and writes the report.

  Returns:
    The content of parity.json.

  Raises:
    errors.DifferentError: they differ by more than the tolerance.
  """
  job, run = make(folder, chosen, student, data, quantize, names, output)
  forward = parity.make_forward(student.network, student.variables)
  report = parity.compare(run, forward, data, examples)
  # Where a network rounds, the smallest difference may become a whole step.
  exact = not (quantize or job.build.get('quantize'))
  report['tolerance'] = parity.judge(report, exact)
  report |= parity.machine(chosen.runtime, folder / chosen.file)
  single = tasks.task_of(report).single
  batches = parity.BATCHES if single else parity.BATCHES[:1]
  report['latency'] = parity.times(
    run, forward, student, job.shape, seconds, batches
  )
  report['summary'] = summary(chosen, report)
  described = meta.of_images(name, chosen, student, data, job)
  meta.write(folder, described)
  checkpoint.write_json(folder / 'parity.json', report)
  text = card.card(student, described, report, license)
  (folder / 'card.md').write_text(text)
  return report


def make(
  folder: pathlib.Path,
  chosen: formats.Format,
  student: source.Student,
  data: sources.Data,
  quantize: str = '',
  names: str = 'jax',
  output: str = formats.LOGITS,
) -> tuple[formats.Job, Callable[[np.ndarray], np.ndarray]]:
  """Writes the file alone.

  Returns:
    (what was written, images -> output of the file).
  """
  shape = source.shape_of(student, data)
  whole, ranges = student, ()
  if quantize == 'int8':
    whole, ranges = source.plain(student), source.ranges(student, shape)
  job = formats.Job(
    whole.network,
    whole.variables,
    shape,
    student.spec['build'],
    quantize,
    names,
    functools.partial(calibration, data),
    ranges,
    output,
  )
  chosen.write(job, folder / chosen.file)
  return job, chosen.make_run(job, folder / chosen.file)


def calibration(data: sources.Data) -> np.ndarray:
  """Prepared training images, spread over the whole set."""
  size = len(data.train.labels)
  count = min(CALIBRATION, size)
  index = np.arange(count) * size // count
  inputs = pipeline.take(data.train, index)['inputs']
  return np.asarray(pipeline.make_prepare(data.mean, data.std)(inputs))


def summary(chosen: formats.Format, report: Mapping[str, Any]) -> str:
  """The report in one line, for a terminal."""
  task, latency = tasks.task_of(report), report['latency']
  scores = report[task.score]
  times = {key: latency[key]['1']['median'] for key in ('exported', 'jax')}
  unit = f' {task.unit}' if task.unit else ''
  logits = ''
  if 'logits' in report:
    largest = report['logits']['largest']
    logits = (
      f'logits differ by at most {largest:.1e} relative to the largest logit, '
    )
  return (
    f'{chosen.file}: {report["bytes"]:,} bytes; in {report["runtime"]} with '
    f'default options, on {report["examples"]} test images, {logits}'
    f'{parity.agreed(task)} {100 * report["agreement"]:.2f} %, {task.title} '
    f'{task.factor * scores["exported"]:.2f}{unit} (in JAX '
    f'{task.factor * scores["jax"]:.2f}{unit}); 1 image takes '
    f'{times["exported"]:.2g} ms (in JAX {times["jax"]:.2g} ms)'
  )
