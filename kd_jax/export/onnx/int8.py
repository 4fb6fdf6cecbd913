"""Quantizes a float ONNX file to 8 bits with onnxruntime's quantizer.

All 8-bit numbers of the file are unsigned. x86 processors without VNNI add two
products of an unsigned and a signed byte in 16 bits and saturate there;
products of two unsigned bytes onnxruntime adds in 32 bits, so that its default
session gives the same logits on x86 processors with and without VNNI.
"""

import errno
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from kd_jax.export import formats, need

_LAYERS = ('Conv', 'MatMul', 'Gemm')
# Operations whose output has the range of their input.
_PASSING = ('MaxPool', 'Transpose', 'Reshape', 'Relu')
_BATCH = 64
_SHIFT = 128  # from int8 to uint8
_ROOM = 64_000  # bytes that quantized nodes add to a small file


def quantize(
  source: pathlib.Path,
  target: pathlib.Path,
  images: np.ndarray,
  ranges: Sequence[tuple[float, float]] = (),
) -> None:
  """Writes a static 8-bit file: a scale for each output channel of weights.

  Weights are symmetric, 127 steps a side. Activations have 255 steps from the
  least to the greatest value of the calibration, or of the ranges that the
  network was trained with. Biases are int32; logits, and what onnxruntime does
  not quantize, stay float.

  Args:
    source: the float file.
    target: the 8-bit file.
    images: to calibrate on, f32 [N, H, W, C], of the training set.
    ranges: (low, high) of the input of each layer, in the order they run.

  Raises:
    OSError: there is no room for the file and those on the way to it.
  """
  check_room(source, target)
  onnx = need.package('onnx')
  need.package('onnxruntime')
  from onnxruntime import quantization

  fused = fuse(source, target)
  quantization.quantize_static(
    os.fspath(fused),
    os.fspath(target),
    make_reader(images),
    per_channel=True,
    quant_format=quantization.QuantFormat.QDQ,
    activation_type=quantization.QuantType.QUInt8,
    # Signed, then shifted: the quantizer's own unsigned weights have half a
    # step more on each side, which training for int8 does not know.
    weight_type=quantization.QuantType.QInt8,
    extra_options={
      # Logits of 8 bits would tie.
      'OpTypesToExcludeOutputQuantization': ['Gemm', 'MatMul'],
      'TensorQuantOverrides': overrides(source, fused, ranges),
    },
  )
  fused.unlink()
  model = onnx.load(os.fspath(target))
  shift(model)
  release(model)
  onnx.save(model, os.fspath(target))


def fuse(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
  """Writes a file beside `target`, `source` with its operations fused.

  The quantizer would round between them.
  """
  from onnxruntime.quantization import shape_inference

  fused = target.with_name(f'{target.name}.fused')
  shape_inference.quant_pre_process(
    os.fspath(source), os.fspath(fused), skip_symbolic_shape=True
  )
  return fused


def quantize_dynamic(source: pathlib.Path, target: pathlib.Path) -> None:
  """Writes an 8-bit file of a network for text.

  Weights of linear layers have a scale and a zero point for each output
  channel, tables of words one; activations before linear layers are rounded to
  255 steps between the least and the greatest of their batch, as they come. The
  rest stays float: products of activations and what is between layers.

  Raises:
    OSError: there is no room for the file and those on the way to it.
  """
  check_room(source, target)
  need.package('onnxruntime')
  from onnxruntime import quantization

  fused = fuse(source, target)
  quantization.quantize_dynamic(
    os.fspath(fused),
    os.fspath(target),
    op_types_to_quantize=['MatMul', 'Gather'],
    per_channel=True,
    weight_type=quantization.QuantType.QUInt8,
    extra_options={'MatMulConstBOnly': True},
  )
  fused.unlink()


def check_room(source: pathlib.Path, target: pathlib.Path) -> None:
  """Refuses to begin where the 8-bit file, or those on the way, do not fit.

  onnxruntime cuts a file short on a full disk, and says nothing.

  Raises:
    OSError: as a full disk raises it.
  """
  if shutil.disk_usage(target.parent).free < 2 * source.stat().st_size + _ROOM:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(target))


def make_reader(images: np.ndarray):
  """The images as onnxruntime asks for them, one batch after the other."""
  from onnxruntime import quantization

  batches = iter(
    {formats.IMAGES: images[k : k + _BATCH]}
    for k in range(0, len(images), _BATCH)
  )

  class Reader(quantization.CalibrationDataReader):
    """An iterator in onnxruntime's words."""

    def get_next(self):
      return next(batches, None)

  return Reader()


def shift(model) -> None:
  """Makes signed weights unsigned: w and its zero point, both plus 128."""
  from onnx import numpy_helper

  read = {
    name
    for node in model.graph.node
    if node.op_type == 'DequantizeLinear'
    for name in node.input
  }
  for tensor in model.graph.initializer:
    array = numpy_helper.to_array(tensor)
    if tensor.name in read and array.dtype == np.int8:
      array = (array.astype(np.int16) + _SHIFT).astype(np.uint8)
      tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def release(model) -> None:
  """Leaves the output float where the quantizer rounds it: it would tie."""
  makers = {name: node for node in model.graph.node for name in node.output}
  node = makers[model.graph.output[0].name]
  while node.op_type in (*_PASSING, 'Identity') and node.input[0] in makers:
    node = makers[node.input[0]]
  if node.op_type == 'DequantizeLinear' and node.input[0] in makers:
    whole = makers[node.input[0]].input[0]
    node.op_type = 'Identity'
    del node.input[:], node.attribute[:]
    node.input.append(whole)


def overrides(
  source: pathlib.Path, fused: pathlib.Path, ranges: Sequence
) -> Mapping[str, list]:
  """{tensor of the fused graph: its range}, from the ranges of the layers.

  The layers of the float file stand in the order they run, and a fused node's
  name begins with that of its layer.
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
  range_of = dict(zip(layers, ranges, strict=True))
  nodes = onnx.load(os.fspath(fused)).graph.node
  makers = {name: node for node in nodes for name in node.output}
  merged = {}
  for node in nodes:
    if node.name.split('/')[0] not in range_of:
      continue
    low, high = range_of[node.name.split('/')[0]]
    tensor = node.input[0]
    while tensor:
      least, greatest = merged.get(tensor, (low, high))
      merged[tensor] = min(low, least), max(high, greatest)
      maker = makers.get(tensor)
      passes = maker is not None and maker.op_type in _PASSING
      tensor = maker.input[0] if passes else ''
  return {
    tensor: [{'rmin': np.float32(low), 'rmax': np.float32(high)}]
    for tensor, (low, high) in merged.items()
  }
