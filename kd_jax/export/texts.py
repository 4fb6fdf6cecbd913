"""Writes a network for text, and compares the file on random sequences.

What its tokens are is in a tokenizer's file, which is copied beside it.
"""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import checkpoint, kinds
from kd_jax.export import card, formats, huggingface, meta, origin, parity
from kd_jax.export import source as sources
from kd_jax.models import text, torch_weights

ROWS = 8  # of the random sequences that are compared
TOKENIZER = 'tokenizer.json'
# What `transformers` wants to know of a tokenizer beside its file.
_BESIDE = ('tokenizer_config.json', 'special_tokens_map.json')


def is_text(student: sources.Student) -> bool:
  """Whether a network is for text."""
  return student.spec['build'].get('name') in text.NETWORKS


def check(
  name: str,
  names: str,
  output: str,
  student: sources.Student,
  length: int,
  tokenizer: str,
) -> None:
  """Refuses what a format cannot hold, before any work.

  Args:
    name: of the format.
    names: of the weights.
    output: of the file.
    student: that is exported.
    length: of its sequences; 0 is any.
    tokenizer: file given, or ''.

  Raises:
    ValueError: one line.
  """
  build = student.spec['build']
  if not is_text(student):
    for option, value in (('--length', length), ('--tokenizer', tokenizer)):
      if value:
        raise ValueError(f"{option} is for text, and '{build['name']}' is not")
    if name == huggingface.NAME:
      raise ValueError(
        f"'{name}' is for text, and '{build['name']}' is not; formats for it: "
        'onnx, stablehlo, safetensors'
      )
    return
  if output != formats.LOGITS:
    raise ValueError(
      f"--output {output} is of a segmenter, and '{build['name']}' is none"
    )
  if names != 'jax':
    raise ValueError(
      f"--names {names} is for images; '{huggingface.NAME}' has the names that "
      'PyTorch reads'
    )
  if name == huggingface.NAME:
    torch_weights.check_plain(build)
  most = shape_of(student).most
  if not 0 <= length <= (most or length):
    raise ValueError(f'--length {length}; legal: 0 (any) to {most}')
  if tokenizer:
    content = sources.read_json(pathlib.Path(tokenizer))
    if 'model' not in content:
      raise ValueError(f'{tokenizer} is no tokenizer.json of `tokenizers`')
  origin.check_spec(student)


def write(
  folder: pathlib.Path,
  name: str,
  chosen: formats.Format,
  student: sources.Student,
  *,
  quantize: str = '',
  license: str = '',
  length: int = 0,
  tokenizer: str = '',
  seconds: float = 0.3,
) -> dict[str, Any]:
  """Writes the file, meta.json, parity.json, the card and the tokenizer.

  Logits of random sequences, some of them padded, are compared.

  Returns:
    The content of parity.json.

  Raises:
    ValueError: one line, for an operation that the format lacks.
    errors.DifferentError: they differ by more than the tolerance.
  """
  shape = shape_of(student, length)
  if name != huggingface.NAME:
    # Files of Hugging Face may hold bf16, in which their networks compute.
    student = student._replace(variables=jax.tree.map(_f32, student.variables))
  whole = sources.plain(student) if quantize == 'int8' else student
  job = formats.Job(
    whole.network,
    whole.variables,
    shape,
    student.spec['build'],
    quantize,
    'jax',
    lambda: np.zeros(0),
  )
  path = folder / chosen.file
  chosen.write(job, path)
  run = chosen.make_run(job, path)
  forward = parity.make_forward(student.network, student.variables)
  inputs = sequences(student, shape)
  report = difference(run(inputs), forward(inputs))
  report['tolerance'] = parity.judge_text(report, quantize)
  report |= parity.machine(chosen.runtime, path)
  report['latency'] = parity.times(
    run, forward, student, shape, seconds, parity.BATCHES[:1]
  )
  report['summary'] = summary(chosen, report)
  kept = copy_tokenizer(student, tokenizer, folder)
  described = meta.of_text(name, chosen, student, job, kept)
  meta.write(folder, described)
  checkpoint.write_json(folder / 'parity.json', report)
  page = card.of_text(student, described, report, license)
  hub = name == huggingface.NAME
  (folder / ('README.md' if hub else 'card.md')).write_text(page)
  return report


def _f32(x):
  return np.asarray(x, np.float32)


def shape_of(student: sources.Student, length: int = 0) -> formats.Text:
  """The inputs of a network; `length` 0 is any."""
  build = student.spec['build']
  options = {**kinds.defaults(text.NETWORKS[build['name']]), **build}
  names = tuple(text.example_inputs(build['name']))
  return formats.Text(names, length, options.get('context', 0))


def sequences(
  student: sources.Student, shape: formats.Text
) -> dict[str, np.ndarray]:
  """Random inputs of a network; every second sequence ends in padding."""
  table = student.variables['params']['embed']['tokens']['embedding']
  length = formats.usual_length(shape)
  rng = np.random.default_rng(0)
  ids = rng.integers(0, len(table), (ROWS, length)).astype(np.int32)
  mask = np.ones_like(ids)
  mask[::2, length // 2 + 1 :] = 0
  return {name: mask if 'mask' in name else ids for name in shape.names}


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
  """What `parity.judge_text` reads, of two sets of logits [B, ..., K]."""
  gap, scale = np.abs(ours - theirs), np.abs(theirs).max()
  return {
    'examples': len(ours),
    'logits': {
      'largest': float(gap.max() / scale),
      'mean': float(gap.mean() / scale),
    },
    'agreement': float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
  }


def summary(chosen: formats.Format, report: Mapping[str, Any]) -> str:
  """The report in one line, for a terminal."""
  logits = report['logits']
  return (
    f'{chosen.file}: {report["bytes"]:,} bytes; in {report["runtime"]}, logits '
    f'of {report["examples"]} random sequences differ by at most '
    f'{logits["largest"]:.1e} relative to the largest, by {logits["mean"]:.1e} '
    f'in the mean; same top class {100 * report["agreement"]:.2f} %'
  )


def copy_tokenizer(
  student: sources.Student, given: str, folder: pathlib.Path
) -> str:
  """Puts the tokenizer of a network into a folder.

  Args:
    student: beside which, or beside whose run, it lies.
    given: file that is taken instead, or ''.
    folder: that it is copied to.

  Returns:
    The file's name there; '' where there is none.
  """
  places = [student.folder, *([student.run] if student.run else [])]
  files = [pathlib.Path(given)] if given else [x / TOKENIZER for x in places]
  for file in files:
    if file.is_file():
      shutil.copyfile(file, folder / TOKENIZER)
      for other in _BESIDE:
        if (file.parent / other).is_file():
          shutil.copyfile(file.parent / other, folder / other)
      return TOKENIZER
  return ''
