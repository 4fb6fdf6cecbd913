"""Writes weights as safetensors, under JAX's or PyTorch's names."""

import json
import pathlib

import jax
import numpy as np
from flax import traverse_util
from safetensors import flax as safetensors

from kd_jax.export import formats, stablehlo
from kd_jax.models import base, torch_weights

NAMES = ('jax', 'torch')


def write(job: formats.Job, path: pathlib.Path) -> None:
  """Writes the arrays; the header says how the network is built.

  JAX's names are paths such as 'params/conv1/kernel', PyTorch's are those of
  `torch_weights`. With quantize='bf16' the arrays are bf16.

  Raises:
    ValueError: names of PyTorch, for a network that PyTorch's code lacks.
  """
  if job.names == 'torch':
    try:
      torch_weights.check_plain(job.build)
    except ValueError as error:
      raise ValueError(f'{error}; use --names jax') from error
    flat = torch_weights.state_dict(job.variables, job.build['name'])
  else:
    flat = traverse_util.flatten_dict(dict(job.variables), sep='/')
  flat = jax.tree.map(jax.numpy.asarray, flat)
  if job.quantize == 'bf16':
    flat = stablehlo.halved(flat)
  header = {'build': json.dumps(job.build), 'names': job.names}
  # The library's own save_file makes files that their owner alone may read.
  path.write_bytes(safetensors.save(flat, metadata=header))


def make_run(job: formats.Job, path: pathlib.Path):
  """images -> logits in JAX, with the weights that the file holds."""
  flat = {k: np.asarray(x) for k, x in safetensors.load_file(path).items()}
  if job.names == 'torch':
    options = {k: v for k, v in job.build.items() if k != 'inputs'}
    variables = torch_weights.load(
      flat, options.pop('name'), inputs=job.shape, **options
    )
  else:
    flat = {k: _f32(x) for k, x in flat.items()}
    variables = traverse_util.unflatten_dict(flat, sep='/')
  forward = jax.jit(base.make_forward(job.network))
  return lambda images: np.asarray(forward(variables, images))


def _f32(x):
  return x.astype(np.float32) if x.dtype == jax.numpy.bfloat16 else x
