"""Writes a network for text as a folder that `transformers` loads."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import checkpoint
from kd_jax.export import card, origin, parity, source, stablehlo
from kd_jax.models import base, hugging_face, text, torch_weights

NAME = 'huggingface'
ROWS, LENGTH = 8, 32  # of the random sequences that are compared


def load(folder, network: str, quantize: str, names: str) -> source.Student:
  """Reads the student, and refuses what such a folder cannot hold.

  Args:
    folder: a run, or the folder of a network.
    network: its name in the run; '' is the student.
    quantize, names: of `export`.

  Raises:
    ValueError: one line.
  """
  if quantize not in ('', 'bf16'):
    raise ValueError(f"'{NAME}' cannot hold {quantize}; it can hold bf16")
  if names != 'jax':
    raise ValueError(f"--names is for safetensors, not for '{NAME}'")
  student = source.load(folder, network)
  build = student.spec['build']
  if build['name'] not in text.NETWORKS:
    raise ValueError(
      f"'{NAME}' is for text, and '{build['name']}' is not; formats for it: "
      'onnx, stablehlo, safetensors'
    )
  torch_weights.check_plain(build)
  origin.check_spec(student)
  return student


def write(
  folder: pathlib.Path, student: source.Student, quantize: str, license: str
) -> dict[str, Any]:
  """Writes config.json, model.safetensors, parity.json and README.md.

  The weights are read again, and logits of random sequences, some of them
  padded, are compared.

  Returns:
    The content of parity.json.

  Raises:
    errors.DifferentError: they differ by more than the tolerance.
  """
  build, variables = student.spec['build'], student.variables
  if quantize:
    variables = jax.device_get(stablehlo.halved(variables))
  hugging_face.write(folder, variables, build)
  again, _ = hugging_face.read(folder, 'float32')
  inputs = sequences(student)
  forward = jax.jit(base.make_forward(student.network))
  report = difference(*(forward(v, inputs) for v in (again, student.variables)))
  report['tolerance'] = parity.judge(report, exact=not quantize)
  report |= parity.machine('jax', folder / hugging_face.WEIGHTS)
  report['summary'] = (
    f'{hugging_face.WEIGHTS}: {report["bytes"]:,} bytes; read again, logits of '
    f'{ROWS} random sequences differ by at most '
    f'{report["logits"]["largest"]:.1e} relative to the largest'
  )
  checkpoint.write_json(folder / 'parity.json', report)
  (folder / 'README.md').write_text(_card(student, report, license))
  return report


def sequences(student: source.Student) -> dict[str, np.ndarray]:
  """Random inputs of a network; every second sequence ends in padding."""
  build = student.spec['build']
  table = student.variables['params']['embed']['tokens']['embedding']
  shapes = text.example_inputs(build['name'])
  length = min(LENGTH, build.get('context', LENGTH))
  rng = np.random.default_rng(0)
  ids = rng.integers(0, len(table), (ROWS, length)).astype(np.int32)
  mask = np.ones_like(ids)
  mask[::2, length // 2 :] = 0
  return {name: mask if 'mask' in name else ids for name in shapes}


def difference(ours: jax.Array, theirs: jax.Array) -> dict[str, Any]:
  """What `parity.judge` reads, of two sets of logits [B, ..., K]."""
  gap, scale = jnp.abs(ours - theirs), jnp.abs(theirs).max()
  return {
    'examples': len(ours),
    'logits': {
      'largest': float(gap.max() / scale),
      'mean': float(gap.mean() / scale),
    },
    'agreement': float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
  }


def _card(student, report, license) -> str:
  """The model card, Markdown."""
  spec = student.spec
  lines = [
    ('', ''),
    ('network', f'`{spec["build"]}`'),
    ('parameters', f'{base.num_params(student.variables):,}'),
    ('hash', f'`{spec["hash"]}`'),
    ('file', report['summary']),
  ]
  parts = [
    f'---\nlicense: {license or card.UNSTATED}\n'
    'library_name: transformers\ntags: [knowledge-distillation]\n---',
    f'# {spec["build"]["name"]}',
    card.rows(lines),
    card.training(student),
  ]
  return '\n\n'.join(filter(None, parts)) + '\n'
