"""Writes reshapes, slices, pads and reductions of JAX in ONNX."""

import numpy as np

from kd_jax.export.onnx import graph as graphs
from kd_jax.export.onnx import operations

_REDUCTIONS = {
  'reduce_sum': 'ReduceSum',
  'reduce_max': 'ReduceMax',
  'reduce_min': 'ReduceMin',
  'reduce_prod': 'ReduceProd',
}


def broadcast_in_dim(graph, equation, values):
  """Adds axes; axes that only repeat stay at length 1."""
  shape = [1] * len(equation.params['shape'])
  axes = equation.params['broadcast_dimensions']
  for axis, side in zip(axes, values[0].shape):
    shape[axis] = side
  return [graphs.reshape(graph, values[0], shape)]


def reshape(graph, equation, values):
  """The same elements in another shape."""
  (x,) = operations.whole(graph, equation, values)
  return [graphs.reshape(graph, x, operations.out(equation)[0])]


def transpose(graph, equation, values):
  """Axes in another order."""
  permutation = equation.params['permutation']
  return [graphs.transpose(graph, values[0], permutation)]


def concatenate(graph, equation, values):
  """Arrays joined along an axis."""
  values = operations.whole(graph, equation, values)
  shape, dtype = operations.out(equation)
  axis = equation.params['dimension']
  return [graphs.add(graph, 'Concat', values, shape, dtype, axis=axis)]


def split(graph, equation, values):
  """An array cut into parts along an axis."""
  values = operations.whole(graph, equation, values)
  sizes, axis = equation.params['sizes'], equation.params['axis']
  shapes = [v.aval.shape for v in equation.outvars]
  return graphs.split(
    graph,
    'Split',
    [*values, graphs.integers(sizes)],
    shapes,
    values[0].dtype,
    axis=axis,
  )


def cut(graph, value, start, stop, step, shape):
  """A slice along every axis that is not taken whole."""
  axes = [
    k
    for k, (a, b, s) in enumerate(zip(start, stop, step))
    if not (str(a) == '0' and str(b) == str(value.shape[k]) and s == 1)
  ]
  if not axes:
    return value
  ends = [[side[k] for k in axes] for side in (start, stop)]
  if not all(isinstance(x, int) for side in ends for x in side):
    raise ValueError(
      'ONNX export cannot cut an axis at a place that depends on the batch'
    )
  steps = [step[k] for k in axes]
  inputs = [value, *map(graphs.integers, (*ends, axes, steps))]
  return graphs.add(graph, 'Slice', inputs, shape, value.dtype)


def slices(graph, equation, values):
  """Part of an array."""
  (x,), params = operations.whole(graph, equation, values), equation.params
  start, stop = params['start_indices'], params['limit_indices']
  step = params['strides'] or (1,) * len(start)
  return [cut(graph, x, start, stop, step, operations.out(equation)[0])]


def reverse(graph, equation, values):
  """Axes in reverse order."""
  (x,) = operations.whole(graph, equation, values)
  axes = equation.params['dimensions']
  ends = [-1] * len(axes), [-(2**31)] * len(axes), axes, [-1] * len(axes)
  inputs = [x, *map(graphs.integers, ends)]
  return [graphs.add(graph, 'Slice', inputs, *operations.out(equation))]


def pad(graph, equation, values):
  """A margin filled with a constant; a negative margin cuts."""
  x, filling = values
  x = graphs.full(graph, x, equation.invars[0].aval.shape)
  low, high, between = zip(*equation.params['padding_config'])
  if any(between):
    raise ValueError(
      "ONNX cannot express the operation 'pad' here: it pads between elements"
    )
  inputs = [x, graphs.integers((*low, *high)), filling]
  return [graphs.add(graph, 'Pad', inputs, *operations.out(equation))]


def reduce(operation):
  """Makes the writer of a sum, product, maximum or minimum over axes."""

  def write(graph, equation, values):
    (x,) = operations.whole(graph, equation, values)
    inputs = [x, graphs.integers(equation.params['axes'])]
    shape, dtype = operations.out(equation)
    return [graphs.add(graph, operation, inputs, shape, dtype, keepdims=0)]

  return write


def argmax(graph, equation, values):
  """The place of the largest value along an axis, the first of equals."""
  (x,) = operations.whole(graph, equation, values)
  (axis,) = equation.params['axes']
  shape, dtype = operations.out(equation)
  place = graphs.add(
    graph, 'ArgMax', [x], shape, np.int64, axis=axis, keepdims=0
  )
  return [operations.cast(graph, place, dtype)]


WRITERS = {
  **{name: reduce(to) for name, to in _REDUCTIONS.items()},
  'broadcast_in_dim': broadcast_in_dim, 'reshape': reshape,
  'squeeze': reshape, 'expand_dims': reshape, 'transpose': transpose,
  'concatenate': concatenate, 'split': split, 'slice': slices,
  'rev': reverse, 'pad': pad, 'argmax': argmax,
}  # fmt: skip
