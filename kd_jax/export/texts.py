"""Writes a network for text, and compares the file on sequences of its data.

What its tokens are is in a tokenizer's file, which is copied beside it.
"""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import checkpoint, kinds, tasks
from kd_jax.data import splits
from kd_jax.data.text import tokenizing
from kd_jax.export import card, formats, huggingface, meta, origin, parity
from kd_jax.export import source as sources
from kd_jax.models import text, torch_weights

ROWS = 8  # of the random sequences that are compared
TOKENIZER = tokenizing.FILE
_PAIRS, _ARRAYS = 'token_type_ids', 'arrays'
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


def write(
  folder: pathlib.Path,
  name: str,
  chosen: formats.Format,
  student: sources.Student,
  *,
  quantize: str = '',
  license: str = '',
  examples: int = 0,
  length: int = 0,
  tokenizer: str = '',
  seconds: float = 0.3,
  data: splits.Data | None = None,
) -> dict[str, Any]:
  """Writes the file, meta.json, parity.json, the card and the tokenizer.

  Logits of the test set are compared; without data those of random sequences,
  some of them padded.

  Returns:
    The content of parity.json.

  Raises:
    ValueError: one line, for an operation that the format lacks.
    errors.DifferentError: they differ by more than the tolerance.
  """
  shape = shape_of(student, length, data)
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
  if data is None:
    inputs, words = sequences(student, shape), 'random sequences'
    report = difference(run(inputs), forward(inputs))
  else:
    words = 'test texts'
    report = parity.compare(run, forward, data, examples, shape)
  classes = data is not None and tasks.make_task(data.task).single
  report['tolerance'] = parity.judge_text(report, quantize, words, classes)
  report |= parity.machine(chosen.runtime, path)
  report['latency'] = parity.times(
    run, forward, student, shape, seconds, parity.BATCHES[:1]
  )
  report['summary'] = summary(chosen, report, words)
  kept = put_tokenizer(student, tokenizer, data, folder)
  described = meta.of_text(name, chosen, student, job, kept, data)
  meta.write(folder, described)
  checkpoint.write_json(folder / 'parity.json', report)
  page = card.of_text(student, described, report, license)
  hub = name == huggingface.NAME
  (folder / ('README.md' if hub else 'card.md')).write_text(page)
  return report


def _f32(x):
  return np.asarray(x, np.float32)


def shape_of(
  student: sources.Student, length: int = 0, data: splits.Data | None = None
) -> formats.Text:
  """The inputs of a network.

  Args:
    student: read.
    length: of a sequence; 0 is any.
    data: which may have a further input, such as which text of a pair a token
      is of.
  """
  build = student.spec['build']
  options = {**kinds.defaults(text.NETWORKS[build['name']]), **build}
  names = tuple(text.example_inputs(build['name']))
  pairs = data is not None and _PAIRS in data.train.inputs
  if pairs and options.get('token_types'):
    names = (*names, _PAIRS)
  return formats.Text(names, length, options.get('context', 0))


def load(
  student: sources.Student,
  config: str,
  data: splits.Data | None,
  length: int = 0,
) -> splits.Data | None:
  """The data that a network for text is tested on, if they are known.

  Raises:
    ValueError: one line, for data that do not fit.
  """
  origin.check_spec(student)
  named = student.config.get('data') or student.spec.get('data') or {}
  if data is not None:
    data = sources.fitting(student, data)
  elif config or named.get('name', _ARRAYS) != _ARRAYS:
    data = sources.read_data(student, config)
  if data is None:
    return None
  known = data.train.inputs['input_ids'].shape[1]
  if length and length != known:
    raise ValueError(
      f"--length {length}: the sequences of '{data.name}' have {known}; legal: "
      f'0 (any) or {known}'
    )
  origin.check_answers(student, data)
  return data


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


def summary(
  chosen: formats.Format, report: Mapping[str, Any], words: str
) -> str:
  """The report in one line, for a terminal; `words` say what was compared."""
  logits, task = report['logits'], tasks.task_of(report)
  score = ''
  if task.score in report:
    values = (task.factor * report[task.score][k] for k in ('exported', 'jax'))
    unit = f' {task.unit}' if task.unit else ''
    score = '{}{}{} (in JAX {}{})'.format(
      f', {task.title} ', *(part for x in values for part in (f'{x:.4g}', unit))
    )
  return (
    f'{chosen.file}: {report["bytes"]:,} bytes; in {report["runtime"]}, logits '
    f'of {report["examples"]} {words} differ by at most '
    f'{logits["largest"]:.1e} relative to the largest, by {logits["mean"]:.1e} '
    f'in the mean; {parity.agreed(task)} {100 * report["agreement"]:.2f} %'
    f'{score}'
  )


def put_tokenizer(
  student: sources.Student,
  given: str,
  data: splits.Data | None,
  folder: pathlib.Path,
) -> str:
  """Puts the tokenizer of a network into a folder.

  Args:
    student: beside which, or beside whose run, it lies.
    given: file that is taken instead, or ''.
    data: whose tokenizer it is where there is no file.
    folder: that it is written to.

  Returns:
    The file's name there; '' where none is known.
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
  if data is not None and data.tokenizer:
    (folder / TOKENIZER).write_text(data.tokenizer, encoding='utf-8')
    return TOKENIZER
  return ''
