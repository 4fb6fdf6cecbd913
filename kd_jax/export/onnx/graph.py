"""An ONNX graph under construction: values, nodes, initializers.

Broadcast axes are stored with length 1 until an operation needs them at full
length (`full`); elementwise operations broadcast by themselves.
"""

from typing import Any, NamedTuple

import numpy as np

from kd_jax.export import formats


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
  """

  nodes: list
  initializers: dict[str, np.ndarray]
  makers: dict[str, tuple[str, tuple[Value, ...]]]
  names: dict[Any, str]


def new() -> Graph:
  """An empty graph."""
  return Graph([], {}, {}, {})


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
    graph.names[key] = f'c{len(graph.names)}'
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
  names = [f'v{len(graph.makers) + k}' for k in range(len(shapes))]
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
    ValueError: more than one dimension is symbolic.
  """
  unknown = [d for d in shape if not isinstance(d, int)]
  if not unknown:
    return integers(shape)
  if len(unknown) == 1:
    return integers([d if isinstance(d, int) else -1 for d in shape])
  raise ValueError(
    f'ONNX cannot express a reshape to {list(map(str, shape))} here: more '
    'than one dimension depends on the batch'
  )


def batch_size(graph: Graph, dimension) -> Value:
  """The size of the batch as a value, i64 [1]."""
  if str(dimension) != formats.BATCH:
    raise ValueError(
      f'ONNX cannot express an array whose side is {dimension} here; only '
      'the size of the batch itself'
    )
  source = Value(formats.IMAGES, (), np.dtype(np.float32))
  return add(graph, 'Shape', [source], (1,), np.int64, start=0, end=1)


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
    parts = [
      integers([d]) if isinstance(d, int) else batch_size(graph, d)
      for d in shape
    ]
    target = add(graph, 'Concat', parts, (len(shape),), np.int64, axis=0)
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
