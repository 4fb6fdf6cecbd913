"""Runs a network in onnxruntime, to time it beside JAX."""

import pathlib
import tempfile
from collections.abc import Callable

import numpy as np

from kd_jax import metrics, types
from kd_jax.export import formats
from kd_jax.export.onnx import writer
from kd_jax.models import base


def make_run(
  network: base.Network, variables: types.Variables, shape: tuple[int, ...]
) -> Callable[[np.ndarray], np.ndarray] | None:
  """Makes images f32 [B, H, W, C] -> logits, by onnxruntime on the CPU.

  Args:
    network: whose logits are computed.
    variables: of it.
    shape: of one image, [H, W, C].

  Returns:
    The function; None, which is said, where the packages are not installed or
    ONNX does not have an operation of the network.
  """
  job = formats.Job(
    network, variables, shape, {}, '', 'jax', lambda: np.zeros((0, *shape))
  )
  try:
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, 'model.onnx')
      writer.write(job, path)
      return writer.make_run(job, path)
  except ValueError as error:
    metrics.say(f'not timed in onnxruntime: {error}')
    return None
