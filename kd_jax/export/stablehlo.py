"""Writes a network as StableHLO, run by `jax.export`; bf16 weights."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from kd_jax import types
from kd_jax.export import formats

PLATFORMS = ('cpu', 'cuda', 'tpu')


def write(job: formats.Job, path: pathlib.Path) -> None:
  """Writes the forward pass for any batch and for each of PLATFORMS.

  Weights are constants of the file; with quantize='bf16' they are stored in
  bf16, and the network computes in f32.
  """
  forward = formats.make_forward(job)
  variables = job.variables
  if job.quantize == 'bf16':
    variables = halved(variables)

  def call(inputs):
    return forward(jax.tree.map(_f32, variables), inputs)

  with formats.any_size(job.shape) as inputs:
    exported = jax_export.export(jax.jit(call), platforms=PLATFORMS)(inputs)
  path.write_bytes(exported.serialize())


def make_run(job: formats.Job, path: pathlib.Path):
  """Inputs -> logits or classes, from the file alone."""
  del job
  exported = jax_export.deserialize(bytearray(path.read_bytes()))
  call = jax.jit(exported.call)
  return lambda inputs: np.asarray(call(inputs))


def halved(variables: types.Variables) -> types.Variables:
  """The variables with floating-point arrays in bf16, others unchanged."""
  return jax.tree.map(
    lambda x: jnp.asarray(x, jnp.bfloat16 if _floating(x) else None), variables
  )


def _f32(x):
  return jnp.asarray(x, jnp.float32) if x.dtype == jnp.bfloat16 else x


def _floating(x) -> bool:
  return jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)
