"""One export, from what was asked for to a folder of four files."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kd_jax import checkpoint, types
from kd_jax.data import pipeline, sources
from kd_jax.export import (
  card,
  formats,
  need,
  parity,
  source,
  stablehlo,
  weights,
)
from kd_jax.export.onnx import graph, writer

FORMATS = {
  'onnx': formats.Format(
    'model.onnx',
    writer.write,
    writer.make_run,
    ('int8',),
    'onnxruntime',
    ('onnx', 'onnxruntime'),
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
  ),
}
QUANTIZE = ('int8', 'bf16')
CALIBRATION = 1024  # training images that ranges are taken from


def choose(name: str, quantize: str, names: str) -> formats.Format:
  """The format, if it can hold what is asked for and its packages are there.

  Raises:
    ValueError: one line otherwise.
  """
  if name not in FORMATS:
    raise types.unknown('format', name, FORMATS)
  if quantize and quantize not in QUANTIZE:
    raise types.unknown('--quantize', quantize, QUANTIZE)
  chosen = FORMATS[name]
  if quantize and quantize not in chosen.quantize:
    able = [k for k, one in FORMATS.items() if quantize in one.quantize]
    raise ValueError(
      f"'{name}' cannot hold {quantize}; formats that can: {', '.join(able)}"
    )
  if names not in weights.NAMES:
    raise types.unknown('--names', names, weights.NAMES)
  if names != 'jax' and name != 'safetensors':
    raise ValueError(f"--names is for safetensors, not for '{name}'")
  for package in chosen.needs:
    need.package(package)
  return chosen


def load(
  folder, network: str, config: str, data: sources.Data | None
) -> tuple[source.Student, sources.Data]:
  """The student, and the data that it is tested on."""
  student = source.load(folder, network)
  if data is not None:
    return student, source.fitting(student, data)
  return student, source.read_data(student, config)


def write(
  folder: pathlib.Path,
  name: str,
  chosen: formats.Format,
  student: source.Student,
  data: sources.Data,
  *,
  quantize: str,
  names: str,
  license: str,
  examples: int,
  seconds: float,
) -> dict[str, Any]:
  """Writes the file, runs it, and writes down what was found.

  Raises:
    errors.DifferentError: beyond the tolerance.
  """
  job, run = make(folder, chosen, student, data, quantize, names)
  forward = parity.make_forward(student.network, student.variables)
  found = parity.compare(run, forward, data, examples)
  # A network with steps of its own is not equal to any number of digits.
  exact = not (quantize or job.build.get('quantize'))
  found['tolerance'] = parity.judge(found, exact)
  found |= parity.machine(chosen.runtime, folder / chosen.file)
  found['latency'] = parity.times(run, forward, student, job.shape, seconds)
  found['summary'] = summary(chosen, found)
  meta = described(name, chosen, student, data, job)
  checkpoint.write_json(folder / 'meta.json', meta)
  checkpoint.write_json(folder / 'parity.json', found)
  text = card.card(student, meta, found, license)
  (folder / 'card.md').write_text(text)
  return found


def make(
  folder: pathlib.Path,
  chosen: formats.Format,
  student: source.Student,
  data: sources.Data,
  quantize: str = '',
  names: str = 'jax',
) -> tuple[formats.Job, Callable[[np.ndarray], np.ndarray]]:
  """Writes the file alone; what it was made of, and how it is run."""
  shape = source.shape_of(student, data)
  written, ranges = student, ()
  if quantize == 'int8':
    written, ranges = source.plain(student), source.ranges(student, shape)
  job = formats.Job(
    written.network,
    written.variables,
    shape,
    student.spec['build'],
    quantize,
    names,
    functools.partial(calibration, data),
    ranges,
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


def described(name, chosen, student, data, job) -> dict[str, Any]:
  """What meta.json holds: all that is needed to use the file."""
  pixels = data.train.inputs.dtype == np.uint8
  scaled = 'pixels / 255' if pixels else 'pixels'
  return {
    'format': name,
    'file': chosen.file,
    'runtime': chosen.runtime,
    'weights': job.quantize or 'f32',
    'names': job.names,
    'input': {
      'name': graph.INPUT,
      'shape': [graph.BATCH, *job.shape],
      'dtype': 'float32',
      'layout': 'NHWC',
    },
    'prepare': {
      'formula': f'({scaled} - mean) / std',
      'mean': list(data.mean),
      'std': list(data.std),
    },
    'output': {'name': graph.OUTPUT, 'shape': [graph.BATCH, data.classes]},
    'classes': data.classes,
    'labels': list(data.label_names or map(str, range(data.classes))),
    'data': {'name': data.name, 'fingerprint': data.fingerprint},
    'network': {'build': dict(job.build), 'hash': student.spec['hash']},
  }


def summary(chosen: formats.Format, found: Mapping[str, Any]) -> str:
  """One line for the terminal."""
  times = {k: found['latency'][k]['1']['median'] for k in ('exported', 'jax')}
  return (
    f'{chosen.file}: {found["bytes"]:,} bytes; in {found["runtime"]} with '
    f'default options, on {found["examples"]} test images, logits differ by at '
    f'most {found["logits"]["largest"]:.1e} relative to the largest logit, '
    f'same top class {100 * found["agreement"]:.2f} %, accuracy '
    f'{100 * found["accuracy"]["exported"]:.2f} % (in JAX '
    f'{100 * found["accuracy"]["jax"]:.2f} %); 1 image takes '
    f'{times["exported"]:.2g} ms (in JAX {times["jax"]:.2g} ms)'
  )
