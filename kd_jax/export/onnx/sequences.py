"""Writes what networks for text add: counting, running sums."""

import numpy as np

from kd_jax.export.onnx import graph as graphs
from kd_jax.export.onnx import operations


def iota(graph, equation, values):
  """0, 1, 2, ... along an axis; the others are of length 1."""
  del values
  shape, dtype = operations.out(equation)
  axis = equation.params['dimension']
  side = shape[axis]
  if isinstance(side, int):
    places = graphs.constant(np.arange(side).astype(dtype))
  else:
    end = graphs.reshape(graph, graphs.side_of(graph, side), ())
    start, step = (graphs.constant(np.int64(k)) for k in (0, 1))
    numbers = [start, end, step]
    places = graphs.add(graph, 'Range', numbers, (side,), np.int64)
    places = operations.cast(graph, places, dtype)
  sides = [side if k == axis else 1 for k in range(len(shape))]
  return [graphs.reshape(graph, places, sides)]


def cumsum(graph, equation, values):
  """Sums of all elements up to each along an axis."""
  (x,) = operations.whole(graph, equation, values)
  axis = graphs.constant(np.int64(equation.params['axis']))
  reverse = int(equation.params['reverse'])
  return [
    graphs.add(graph, 'CumSum', [x, axis], x.shape, x.dtype, reverse=reverse)
  ]


WRITERS = {'iota': iota, 'cumsum': cumsum}
