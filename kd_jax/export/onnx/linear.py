"""Writes convolutions, products and pooling of JAX in ONNX.

ONNX has channels before space: each operation is transposed before and after,
and runtimes cancel the transpositions that meet.
"""

import math

import numpy as np

from kd_jax.export.onnx import graph as graphs
from kd_jax.export.onnx import operations, shapes

_LETTERS = 'abcdefghijklmnopqrstuvwxyz'


def convolution(graph, equation, values):
  """A convolution of any layout, with groups, strides and dilated kernel."""
  x, kernel = operations.whole(graph, equation, values)
  params = equation.params
  if any(d != 1 for d in params['lhs_dilation']):
    raise ValueError(
      "ONNX export does not know 'conv_general_dilated' with a dilated input "
      '(a transposed convolution)'
    )
  if params['batch_group_count'] != 1:
    raise ValueError("ONNX cannot express a convolution's batch_group_count")
  numbers, pads = params['dimension_numbers'], params['padding']
  x = graphs.transpose(graph, x, numbers.lhs_spec)
  kernel = graphs.transpose(graph, kernel, numbers.rhs_spec)
  shape, dtype = operations.out(equation)
  output = graphs.add(
    graph,
    'Conv',
    [x, kernel],
    [shape[k] for k in numbers.out_spec],
    dtype,
    strides=list(params['window_strides']),
    dilations=list(params['rhs_dilation']),
    pads=[p[0] for p in pads] + [p[1] for p in pads],
    group=params['feature_group_count'],
    kernel_shape=list(kernel.shape[2:]),
  )
  return [graphs.transpose(graph, output, np.argsort(numbers.out_spec))]


def product(graph, equation, values):
  """dot_general: a MatMul where one suffices, else an Einsum."""
  x, y = operations.whole(graph, equation, values)
  contracted, batches = equation.params['dimension_numbers']
  (xc, yc), (xb, yb) = contracted, batches
  xf, yf = _free(x, xc, xb), _free(y, yc, yb)
  simple = len(xc) == len(yf) == 1 and (len(xf) == 1 or not xb)
  if not simple:
    return [_einsum(graph, equation, x, y)]
  x = graphs.transpose(graph, x, [*xb, *xf, *xc])
  y = graphs.transpose(graph, y, [*yb, *yc, *yf])
  return [graphs.add(graph, 'MatMul', [x, y], *operations.out(equation))]


def _free(value, *taken):
  """The axes that are neither contracted nor batched."""
  used = [axis for axes in taken for axis in axes]
  return [k for k in range(len(value.shape)) if k not in used]


def _einsum(graph, equation, x, y):
  (xc, yc), (xb, yb) = equation.params['dimension_numbers']
  left = list(_LETTERS[: len(x.shape)])
  right = list(_LETTERS[len(x.shape) : len(x.shape) + len(y.shape)])
  for i, j in zip((*xc, *xb), (*yc, *yb)):
    right[j] = left[i]
  kept = [left[k] for k in (*xb, *_free(x, xc, xb))]
  kept += [right[k] for k in _free(y, yc, yb)]
  text = f'{"".join(left)},{"".join(right)}->{"".join(kept)}'
  return graphs.add(
    graph, 'Einsum', [x, y], *operations.out(equation), equation=text
  )


def maximum(graph, equation, values):
  """A maximum over axes; MaxPool where the axes are windows of an image."""
  windows = _windows(graph, equation, values[0])
  if windows is None:
    return shapes.reduce('ReduceMax')(graph, equation, values)
  x, side = windows
  shape, dtype = operations.out(equation)
  x = graphs.transpose(graph, x, (0, 3, 1, 2))
  pooled = graphs.add(
    graph,
    'MaxPool',
    [x],
    [shape[k] for k in (0, 3, 1, 2)],
    dtype,
    kernel_shape=[side, side],
    strides=[side, side],
  )
  return [graphs.transpose(graph, pooled, (0, 2, 3, 1))]


def _windows(graph, equation, value):
  """The image [B, H, W, C] and the side of its square windows, or None.

  The value is then the image reshaped to [B, h, side, w, side, C].
  """
  shape = value.shape
  operation, inputs = graph.makers.get(value.name, ('', ()))
  axes = tuple(equation.params['axes'])
  if operation != 'Reshape' or axes != (2, 4) or len(shape) != 6:
    return None
  x, (b, h, n, w, m, c) = inputs[0], shape
  if n == m and graphs.same(x.shape, (b, h * n, w * n, c)):
    return x, n
  return None


def pool(operation):
  """Makes the writer of a sliding window: 'MaxPool', 'AveragePool' for sums."""

  def write(graph, equation, values):
    (x,), params = (operations.whole(graph, equation, values), equation.params)
    size, strides = params['window_dimensions'], params['window_strides']
    dilated = (*params['base_dilation'], *params['window_dilation'])
    if size[0] != 1 or size[-1] != 1 or any(d != 1 for d in dilated):
      raise ValueError(
        f"ONNX export knows '{equation.primitive.name}' over the space of "
        f'[B, H, W, C] only; the window here is {list(size)}'
      )
    last = len(size) - 1
    forth, back = [0, last, *range(1, last)], [0, *range(2, last + 1), 1]
    shape, dtype = operations.out(equation)
    pads = params['padding'][1:-1]
    more = {} if operation == 'MaxPool' else {'count_include_pad': 1}
    output = graphs.add(
      graph,
      operation,
      [graphs.transpose(graph, x, forth)],
      [shape[k] for k in forth],
      dtype,
      kernel_shape=list(size[1:-1]),
      strides=list(strides[1:-1]),
      pads=[p[0] for p in pads] + [p[1] for p in pads],
      **more,
    )
    if operation == 'AveragePool':
      count = operations.like(output, math.prod(size))
      output = operations.wise(graph, 'Mul', [output, count])
    return [graphs.transpose(graph, output, back)]

  return write


WRITERS = {
  'conv_general_dilated': convolution,
  'dot_general': product,
  'reduce_max': maximum,
  'reduce_window_max': pool('MaxPool'),
  'reduce_window_sum': pool('AveragePool'),
}
