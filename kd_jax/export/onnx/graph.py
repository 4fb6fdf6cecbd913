"""An ONNX graph under construction: values, nodes, initializers.

Broadcast axes are stored with length 1 until an operation needs them at full
length (`full`); elementwise operations broadcast by themselves.
"""

from typing import Any, NamedTuple

import numpy as np

_ONNX_INT32 = 6


class Value(NamedTuple):
  """A variable of the jaxpr in the graph.

  Attributes:
    name: in the graph; '' of a constant that no node has read yet.
    shape: of the value in the graph: integers, or JAX's symbolic dimensions.
    dtype: NumPy's.
    constant: the array of a constant; else None.
  """

  name: str
  shape: tuple
  dtype: np.dtype
  constant: np.ndarray | None = None


class Graph(NamedTuple):
  """The nodes and constants written so far.

  Attributes:
    nodes: NodeProtos, in order.
    initializers: {name: array}.
    makers: {name of a value: (operation, its inputs)}.
    names: {key of a constant: its name}.
    sides: {symbol of a side of any length: (an input that has it, its axis)}.
    prefix: of the names of values and constants.
  """

  nodes: list
  initializers: dict[str, np.ndarray]
  makers: dict[str, tuple[str, tuple[Value, ...]]]
  names: dict[Any, str]
  sides: dict[str, tuple[Value, int]]
  prefix: str = ''


def new(prefix: str = '') -> Graph:
  """An empty graph."""
  return Graph([], {}, {}, {}, {}, prefix)


def add_input(graph: Graph, name: str, shape, dtype) -> Value:
  """An input; of integers as users have them, i64."""
  shape, dtype = tuple(shape), np.dtype(dtype)
  whole = dtype.kind == 'i'
  value = Value(name, shape, np.dtype(np.int64) if whole else dtype)
  for axis, side in enumerate(shape):
    if not isinstance(side, int):
      graph.sides.setdefault(str(side), (value, axis))
  if not whole:
    return value
  return add(graph, 'Cast', [value], shape, dtype, to=_ONNX_INT32)


def constant(array: Any) -> Value:
  """A constant; the file holds it only if a node reads it."""
  array = np.asarray(array)
  return Value('', array.shape, array.dtype, array)


def integers(numbers) -> Value:
  """A constant vector of i64, the form of shapes and axes in ONNX."""
  return constant(np.array(list(numbers), np.int64))


def name_of(graph: Graph, value: Value) -> str:
  """The name by which nodes read a value; equal constants share one."""
  if value.constant is None:
    return value.name
  array = np.asarray(value.constant)
  key = (array.dtype.str, array.shape, array.tobytes())
  if key not in graph.names:
    graph.names[key] = f'{graph.prefix}c{len(graph.names)}'
    graph.initializers[graph.names[key]] = array
  return graph.names[key]


def add(
  graph: Graph, operation: str, inputs, shape, dtype, **attributes
) -> Value:
  """Appends a node with one output.

  Args:
    graph: that the node is appended to.
    operation: of ONNX.
    inputs: Values; None for an optional input that is left out.
    shape, dtype: of the output.
    **attributes: of the operation.
  """
  return split(graph, operation, inputs, [shape], dtype, **attributes)[0]


def split(
  graph: Graph, operation: str, inputs, shapes, dtype, **attributes
) -> list[Value]:
  """Appends a node with an output for each of `shapes`."""
  from onnx import helper

  read = [name_of(graph, v) if v is not None else '' for v in inputs]
  first = len(graph.makers)
  names = [f'{graph.prefix}v{first + k}' for k in range(len(shapes))]
  graph.nodes.append(
    helper.make_node(
      operation, read, names, name=f'{operation}_{names[0]}', **attributes
    )
  )
  graph.makers.update({name: (operation, tuple(inputs)) for name in names})
  return [
    Value(name, tuple(shape), np.dtype(dtype))
    for name, shape in zip(names, shapes)
  ]


def dimensions(graph: Graph, shape) -> Value:
  """A shape as the input of a node.

  Raises:
    ValueError: more than one dimension is an expression of symbols.
  """
  unknown = [d for d in shape if not isinstance(d, int)]
  if not unknown:
    return integers(shape)
  if len(unknown) == 1:
    return integers([d if isinstance(d, int) else -1 for d in shape])
  rest = [d for d in unknown if str(d) not in graph.sides]
  if len(rest) > 1:
    raise ValueError(
      f'ONNX cannot express a reshape to {list(map(str, shape))} here: more '
      'than one dimension is computed'
    )
  return _concatenated(graph, shape, rest)


def _concatenated(graph: Graph, shape, open_sides=()) -> Value:
  """A shape as one value; an open side is what is left, -1."""
  parts = [
    integers([-1 if d in open_sides else d])
    if isinstance(d, int) or d in open_sides
    else side_of(graph, d)
    for d in shape
  ]
  return add(graph, 'Concat', parts, (len(shape),), np.int64, axis=0)


def side_of(graph: Graph, dimension) -> Value:
  """The length of a side of any length as a value, i64 [1]."""
  if str(dimension) not in graph.sides:
    raise ValueError(
      f'ONNX cannot express an array whose side is {dimension} here; only '
      f'{" or ".join(graph.sides)} itself'
    )
  source, axis = graph.sides[str(dimension)]
  return add(graph, 'Shape', [source], (1,), np.int64, start=axis, end=axis + 1)


def full(graph: Graph, value: Value, shape) -> Value:
  """The value with every axis at full length, that of `shape`."""
  shape = tuple(shape)
  if same(value.shape, shape):
    return value
  if all(isinstance(d, int) for d in shape):
    if value.constant is not None:
      return constant(np.broadcast_to(value.constant, shape))
    target = integers(shape)
  else:
    target = _concatenated(graph, shape)
  return add(graph, 'Expand', [value, target], shape, value.dtype)


def same(shape, other) -> bool:
  """Whether two shapes are equal; symbols are compared by their text."""
  return [*map(str, shape)] == [*map(str, other)]


def transpose(graph: Graph, value: Value, permutation) -> Value:
  """The value with its axes in another order; constants are transposed here."""
  permutation = [int(p) for p in permutation]
  if permutation == sorted(permutation):
    return value
  if value.constant is not None:
    return constant(np.transpose(value.constant, permutation))
  shape = [value.shape[p] for p in permutation]
  return add(graph, 'Transpose', [value], shape, value.dtype, perm=permutation)


def reshape(graph: Graph, value: Value, shape) -> Value:
  """The value in another shape, of as many elements."""
  if same(value.shape, shape):
    return value
  if value.constant is not None and all(isinstance(d, int) for d in shape):
    return constant(np.reshape(value.constant, shape))
  target = dimensions(graph, shape)
  return add(graph, 'Reshape', [value, target], shape, value.dtype)
