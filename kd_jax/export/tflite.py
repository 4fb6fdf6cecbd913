"""A network as TFLite, where TensorFlow is installed; run by LiteRT."""

import os
import pathlib
import warnings

import numpy as np

from kd_jax.compare import cost
from kd_jax.export import formats, need


def write(job: formats.Job, path: pathlib.Path) -> None:
  """Writes the forward pass for any batch, as f32 or as int8.

  int8 is static, calibrated on the job's images; inputs and logits are f32.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  tf = need.package('tensorflow')
  from jax.experimental import jax2tf

  forward = cost.make_forward(job.network)
  side = ', '.join(map(str, job.shape))
  call = tf.function(
    jax2tf.convert(
      lambda images: forward(job.variables, images),
      polymorphic_shapes=[f'(batch, {side})'],
    ),
    input_signature=[
      tf.TensorSpec([None, *job.shape], tf.float32, name='images')
    ],
    autograph=False,
  )
  made = tf.lite.TFLiteConverter.from_concrete_functions(
    [call.get_concrete_function()], call
  )
  if job.quantize == 'int8':
    images = job.images()
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: (
      [images[k : k + 1]] for k in range(len(images))
    )
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    path.write_bytes(made.convert())


def make_run(job: formats.Job, path: pathlib.Path):
  """images f32 [B, H, W, C] -> logits f32 [B, K], by ai-edge-litert."""
  litert = need.package('ai_edge_litert.interpreter')
  made = litert.Interpreter(model_path=os.fspath(path))
  place = made.get_input_details()[0]['index']
  made.resize_tensor_input(place, [1, *job.shape])
  made.allocate_tensors()
  size = [1]

  def run(images: np.ndarray) -> np.ndarray:
    if len(images) != size[0]:
      made.resize_tensor_input(place, images.shape)
      made.allocate_tensors()
      size[0] = len(images)
    made.set_tensor(place, images)
    made.invoke()
    return made.get_tensor(made.get_output_details()[0]['index'])

  return run
