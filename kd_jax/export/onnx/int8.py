"""int8 from a float ONNX file, by onnxruntime's own quantizer."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from kd_jax.export import need
from kd_jax.export.onnx import graph as graphs

_LAYERS = ('Conv', 'MatMul', 'Gemm')
# What they give has the range of what they read.
_PASSING = ('MaxPool', 'Transpose', 'Reshape', 'Relu')
_BATCH = 64


def quantize(
  source: pathlib.Path,
  target: pathlib.Path,
  images: np.ndarray,
  ranges: Sequence[tuple[float, float]] = (),
) -> None:
  """Static int8 with a scale for each output channel of the weights.

  Weights are symmetric, activations have the least and the greatest value of
  the calibration, or the ranges that the network was trained with; biases are
  int32. What onnxruntime does not quantize, and the logits, stay float.

  Args:
    source: the float file.
    target: the int8 file.
    images: to calibrate on, f32 [N, H, W, C], of the training set.
    ranges: (low, high) of what each layer reads, in the order they run.
  """
  need.package('onnxruntime')
  from onnxruntime import quantization
  from onnxruntime.quantization import shape_inference

  # Fuses what can be fused first: the rest is quantized piece by piece.
  fused = target.with_name(f'{target.name}.fused')
  shape_inference.quant_pre_process(
    os.fspath(source), os.fspath(fused), skip_symbolic_shape=True
  )
  batches = iter(
    {graphs.INPUT: images[k : k + _BATCH]}
    for k in range(0, len(images), _BATCH)
  )

  class Reader(quantization.CalibrationDataReader):
    """The batches, one by one, as onnxruntime asks for them."""

    def get_next(self):
      return next(batches, None)

  quantization.quantize_static(
    os.fspath(fused),
    os.fspath(target),
    Reader(),
    per_channel=True,
    quant_format=quantization.QuantFormat.QDQ,
    activation_type=quantization.QuantType.QInt8,
    weight_type=quantization.QuantType.QInt8,
    extra_options={
      # Logits in 8 bits would tie.
      'OpTypesToExcludeOutputQuantization': ['Gemm', 'MatMul'],
      'TensorQuantOverrides': overrides(source, fused, ranges),
    },
  )
  fused.unlink()


def overrides(
  source: pathlib.Path, fused: pathlib.Path, ranges: Sequence
) -> Mapping[str, list]:
  """{tensor of the fused graph: its range}, from those of the layers.

  The layers of the float file stand in the order they run, and fusing leaves
  the beginning of their names.
  """
  if not ranges:
    return {}
  onnx = need.package('onnx')
  whole = onnx.load(os.fspath(source)).graph
  weights = {x.name for x in whole.initializer}
  layers = [
    node.name
    for node in whole.node
    if node.op_type in _LAYERS and node.input[1] in weights
  ]
  known = dict(zip(layers, ranges, strict=True))
  nodes = onnx.load(os.fspath(fused)).graph.node
  makers = {name: node for node in nodes for name in node.output}
  found = {}
  for node in nodes:
    if node.name.split('/')[0] not in known:
      continue
    low, high = known[node.name.split('/')[0]]
    tensor = node.input[0]
    while tensor:
      least, greatest = found.get(tensor, (low, high))
      found[tensor] = min(low, least), max(high, greatest)
      maker = makers.get(tensor)
      passed = maker is not None and maker.op_type in _PASSING
      tensor = maker.input[0] if passed else ''
  return {
    tensor: [{'rmin': np.float32(low), 'rmax': np.float32(high)}]
    for tensor, (low, high) in found.items()
  }
