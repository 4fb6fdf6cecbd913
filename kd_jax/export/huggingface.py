"""Writes a network for text as a folder that `transformers` loads."""

import pathlib

import jax

from kd_jax.export import formats, parity, stablehlo
from kd_jax.models import hugging_face

NAME = 'huggingface'


def write(job: formats.Job, path: pathlib.Path) -> None:
  """Writes config.json beside the weights; with quantize='bf16' those are bf16.

  Args:
    job: of a network for text.
    path: of the weights, which are called as `transformers` calls them.
  """
  variables = job.variables
  if job.quantize:
    variables = jax.device_get(stablehlo.halved(variables))
  hugging_face.write(path.parent, variables, job.build)


def make_run(job: formats.Job, path: pathlib.Path):
  """{input: i32 [B, L]} -> logits in JAX, with the weights of the file."""
  variables, _ = hugging_face.read(path.parent, 'float32')
  return parity.make_forward(job.network, variables)


FORMAT = formats.Format(hugging_face.WEIGHTS, write, make_run, ('bf16',), 'jax')
