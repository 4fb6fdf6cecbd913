"""What meta.json of an export holds: all that is needed to use its file.

README.md of this folder lists the keys.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import checkpoint, kinds, tasks
from kd_jax.data import maps, sources
from kd_jax.export import formats, source
from kd_jax.models import base, hugging_face, text

FILE = 'meta.json'
OF_IMAGES = ('image', 'pixel')  # what is predicted of images
NEXT = 'next token'
_KINDS = {
  'format': str,
  'file': str,
  'names': str,
  'says': str,
  'inputs': list,
  'prepare': dict,
  'classes': int,
  'labels': list,
  'network': dict,
}
# {head of an encoder: what a prediction is made for}.
_HEADS = {
  'sequence': 'text',
  'token': 'token',
  'masked_lm': 'masked token',
  'none': 'states',
}
_SCALE = 255.0  # of bytes, as in pipeline.make_prepare


def of_images(
  name: str,
  chosen: formats.Format,
  student: source.Student,
  data: sources.Data,
  job: formats.Job,
) -> dict[str, Any]:
  """The content of meta.json of a network for images.

  Args:
    name, chosen: the format.
    student: that was exported.
    data: whose images, class names and colors it has.
    job: that was written.
  """
  image = jax.ShapeDtypeStruct((1, *job.shape), np.float32)
  logits = base.output_shapes(job.network, image)['logits'].shape
  labels = list(data.label_names or map(str, range(data.classes)))
  task = tasks.make_task(data.task)
  return {
    **common(name, chosen, student, job),
    'predicts': task.prediction,
    'says': task.says,
    'inputs': [
      {
        'name': formats.IMAGES,
        'shape': [formats.BATCH, *job.shape],
        'dtype': 'float32',
        'layout': 'NHWC' if len(job.shape) == 3 else 'ND',
      }
    ],
    'prepare': preparation(data, job.shape),
    'output': _output(job, logits),
    'classes': data.classes,
    'labels': labels,
    'palette': [
      list(color) for color in maps.colors(data.palette, data.classes)
    ],
    'data': _tested_on(data),
  }


def _output(job: formats.Job, logits: tuple[int, ...]) -> dict[str, Any]:
  """The output of a network for images; `logits` is their shape."""
  if job.output == formats.CLASSES:
    sides, dtype = job.shape[:2], 'int32'
  else:
    sides, dtype = logits[1:], 'float32'
  return {'name': job.output, 'shape': [formats.BATCH, *sides], 'dtype': dtype}


def of_text(
  name: str,
  chosen: formats.Format,
  student: source.Student,
  job: formats.Job,
  tokenizer: str,
  data: sources.Data | None,
) -> dict[str, Any]:
  """The content of meta.json of a network for text.

  Args:
    name, chosen: the format.
    student: that was exported.
    job: that was written.
    tokenizer: the file's name in the folder; '' where none is known.
    data: that it was tested on, if there are any.
  """
  kind = predicts(job.build)
  length = job.shape.length or formats.LENGTH
  # What users of those files feed.
  dtype = 'int64' if name in ('onnx', 'huggingface') else 'int32'
  inputs = [
    {
      'name': key,
      'shape': [formats.BATCH, length],
      'dtype': dtype,
      'layout': 'NL',
    }
    for key in job.shape.names
  ]
  logits = base.output_shapes(
    job.network, formats.example(job.shape, 1, formats.usual_length(job.shape))
  )['logits'].shape
  rows = [length] if len(logits) == 3 else []
  classes = logits[-1]
  labels = []
  if kind in ('text', 'token'):
    named = data.label_names if data is not None else ()
    labels = list(
      named or _label_names(student.folder) or map(str, range(classes))
    )
  task = data.task if data is not None else tasks.CLASSIFICATION.name
  return {
    **common(name, chosen, student, job),
    'predicts': kind,
    'says': tasks.make_task(task).says,
    'inputs': inputs,
    'prepare': {
      'tokenizer': tokenizer,
      'length': job.shape.length or job.shape.most,
    },
    'output': {
      'name': formats.LOGITS,
      'shape': [formats.BATCH, *rows, classes],
      'dtype': 'float32',
    },
    'classes': classes,
    'labels': labels,
    'data': None if data is None else _tested_on(data),
  }


def predicts(build: Mapping[str, Any]) -> str:
  """What a prediction of a network for text is made for."""
  options = {**kinds.defaults(text.NETWORKS[build['name']]), **build}
  return _HEADS[options['head']] if 'head' in options else NEXT


def _label_names(folder: pathlib.Path) -> list[str]:
  """Names of classes in a folder of Hugging Face; [] where it has none."""
  path = folder / hugging_face.CONFIG
  with source.intact(path):
    named = source.read_json(path).get('id2label') or {}
    return [str(named[str(k)]) for k in range(len(named))]


def _tested_on(data: sources.Data) -> dict[str, str]:
  return {'name': data.name, 'fingerprint': data.fingerprint}


def common(name, chosen, student, job) -> dict[str, Any]:
  """What every export says of its file and its network."""
  return {
    'format': name,
    'file': chosen.file,
    'runtime': chosen.runtime,
    'weights': job.quantize or 'f32',
    'names': job.names,
    'network': {'build': dict(job.build), 'hash': student.spec['hash']},
  }


def preparation(data: sources.Data, shape: tuple[int, ...]) -> dict[str, Any]:
  """How a picture becomes an input [H, W, C], or a vector one [D]."""
  of_bytes = data.train.inputs.dtype == np.uint8
  return {
    'size': list(shape[:-1]),
    'fit': 'cover, center',
    'channels': shape[-1],
    'pixels': 'uint8' if of_bytes else 'float32',
    'scale': _SCALE if of_bytes else 1.0,
    'mean': list(data.mean),
    'std': list(data.std),
    'formula': f'({"pixels / 255" if of_bytes else "pixels"} - mean) / std',
  }


def write(folder: pathlib.Path, meta: Mapping[str, Any]) -> None:
  """Writes meta.json into a folder."""
  checkpoint.write_json(folder / FILE, meta)


def read(folder: pathlib.Path) -> dict[str, Any]:
  """The content of a folder's meta.json.

  Raises:
    ValueError: one line, for a folder that is no export.
  """
  if not folder.is_dir():
    raise ValueError(f'no folder {folder}')
  if not (folder / FILE).exists():
    raise ValueError(
      f'{folder} is not an export (it has no {FILE}); make one: python -m '
      'kd_jax.export RUN_OR_NETWORK --out DIR'
    )
  meta = source.read_json(folder / FILE)
  with source.intact(folder / FILE):
    _check(meta)
    if not (folder / meta['file']).is_file():
      raise ValueError(f'it names {meta["file"]}, which is not there')
  return meta


def _check(meta: Mapping[str, Any]) -> None:
  """Refuses a meta.json that was edited by hand and is not valid."""
  for key, kind in _KINDS.items():
    if not isinstance(meta[key], kind):
      raise TypeError(f"'{key}' is no {kind.__name__}")
  if meta['predicts'] not in (*OF_IMAGES, *_HEADS.values(), NEXT):
    raise ValueError(f"'predicts' is '{meta['predicts']}'")
  shapes = [(x['name'], [*x['shape']]) for x in meta['inputs']]
  if not all(len(shape) > 1 for _, shape in shapes):
    raise ValueError("'inputs' have no shape")
  prepare, classes = meta['prepare'], meta['classes']
  if meta['predicts'] in OF_IMAGES:
    sides = [*prepare['size'], prepare['channels']]
    if not sides == shapes[0][1][1:] or not all(type(x) is int for x in sides):
      raise ValueError(f"'size' and 'channels' are {sides}")
    np.dtype(prepare['pixels'])
    for key in ('mean', 'std'):
      if np.array(prepare[key], float).shape != (prepare['channels'],):
        raise ValueError(f"'{key}' is not a number for each channel")
    if np.array(meta['palette'], int).shape != (classes, 3):
      raise ValueError(f"'palette' is not {classes} colors")
  elif not isinstance(prepare['tokenizer'], str) or prepare['length'] < 0:
    raise ValueError("'prepare' has no tokenizer and length")
  if len(meta['labels']) not in (0, classes):
    raise ValueError(f"'labels' are {len(meta['labels'])} of {classes} classes")
