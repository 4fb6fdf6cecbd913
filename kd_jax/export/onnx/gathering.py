"""Writes JAX's gather in ONNX, along one axis or at constant places.

With a batch of any size, JAX traces even plain indexing to a gather: that of
x[:, ::2, ::2] has places that form a grid.
"""

import numpy as np

from kd_jax.export.onnx import graph as graphs
from kd_jax.export.onnx import operations, shapes


def gather(graph, equation, values):
  """A gather along one axis, or at a grid of places and windows."""
  x, index = operations.whole(graph, equation, values)
  numbers = equation.params['dimension_numbers']
  axes, collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
  line = axes == collapsed and len(axes) == 1
  if numbers.operand_batching_dims or (index.constant is None and not line):
    raise ValueError(
      "ONNX export knows 'gather' at places that are computed along one axis "
      'only, and not in batches'
    )
  if line:
    return [_take(graph, equation, x, index, axes[0])]
  return [_grid(graph, equation, x, index.constant)]


def _take(graph, equation, x, index, axis):
  """x at the places `index` [..., 1] of one axis.

  A place outside is an error of the runtime, where JAX gives NaN or clips.
  """
  shape, dtype = operations.out(equation)
  if index.constant is None:
    index = graphs.reshape(graph, index, index.shape[:-1])
  else:
    index = graphs.constant(index.constant[..., 0].astype(np.int64))
  offsets = equation.params['dimension_numbers'].offset_dims
  taken = [k for k in range(len(shape)) if k not in offsets]
  here = [*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]]
  gathered = _at(graph, x, index, axis, here, dtype)
  before = [*offsets[:axis], *taken, *offsets[axis:]]
  return graphs.transpose(graph, gathered, np.argsort(before))


def _at(graph, x, index, axis, shape, dtype):
  return graphs.add(graph, 'Gather', [x, index], shape, dtype, axis=axis)


def _grid(graph, equation, x, index):
  """x at a grid: places of each axis vary along one index axis of its own."""
  shape, dtype = operations.out(equation)
  numbers = equation.params['dimension_numbers']
  sizes = equation.params['slice_sizes']
  collapsed, owner = numbers.collapsed_slice_dims, {}
  for k, axis in enumerate(numbers.start_index_map):
    places = index[..., k]
    along = [d for d in range(places.ndim) if np.ptp(places, d).any()]
    if not along:
      x = _window(graph, x, axis, int(places.flat[0]), sizes[axis])
      continue
    if len(along) > 1 or along[0] in owner or axis not in collapsed:
      raise ValueError("ONNX export knows 'gather' of a grid of places only")
    owner[along[0]] = axis
    line = np.moveaxis(places, along[0], 0).reshape(places.shape[along[0]], -1)
    here = [*x.shape[:axis], len(line), *x.shape[axis + 1 :]]
    places = graphs.constant(line[:, 0].astype(np.int64))
    x = _at(graph, x, places, axis, here, dtype)
  if any(n > 1 and d not in owner for d, n in enumerate(index.shape[:-1])):
    raise ValueError("ONNX export knows 'gather' of a grid of places only")
  kept = iter(k for k in range(len(x.shape)) if k not in collapsed)
  lines = iter(range(index.ndim - 1))
  order = [
    next(kept) if k in numbers.offset_dims else owner.get(next(lines))
    for k in range(len(shape))
  ]
  order = [axis for axis in order if axis is not None]
  single = [k for k in range(len(x.shape)) if k not in order]
  x = graphs.transpose(graph, x, [*single, *order])
  return graphs.reshape(graph, x, shape)


def _window(graph, x, axis, place, size):
  """`size` elements of x along an axis, from `place` on."""
  start, stop = [0] * len(x.shape), list(x.shape)
  start[axis], stop[axis] = place, place + size
  shape = [*x.shape[:axis], size, *x.shape[axis + 1 :]]
  return shapes.cut(graph, x, start, stop, [1] * len(start), shape)


WRITERS = {'gather': gather}
