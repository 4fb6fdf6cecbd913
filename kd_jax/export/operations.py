"""How the operations of JAX are written in ONNX: elementwise, shapes, sums.

A writer takes (graph, equation of the jaxpr, Values of its inputs) and returns
the Values of its outputs.
"""

import numpy as np

from kd_jax.export import graph as graphs

# What broadcasts and has one and the same meaning in both.
_SAME = {
  'add': 'Add', 'mul': 'Mul', 'div': 'Div', 'min': 'Min',
  'pow': 'Pow', 'neg': 'Neg', 'abs': 'Abs', 'exp': 'Exp', 'log': 'Log',
  'sqrt': 'Sqrt', 'tanh': 'Tanh', 'logistic': 'Sigmoid', 'erf': 'Erf',
  'floor': 'Floor', 'ceil': 'Ceil', 'sign': 'Sign', 'sin': 'Sin',
  'cos': 'Cos', 'eq': 'Equal', 'lt': 'Less', 'le': 'LessOrEqual',
  'gt': 'Greater', 'ge': 'GreaterOrEqual', 'not': 'Not', 'and': 'And',
  'or': 'Or', 'xor': 'Xor',
}  # fmt: skip
_REDUCTIONS = {
  'reduce_sum': 'ReduceSum', 'reduce_max': 'ReduceMax',
  'reduce_min': 'ReduceMin', 'reduce_prod': 'ReduceProd',
}
_ONNX_TYPES = {
  'float32': 1, 'uint8': 2, 'int8': 3, 'int32': 6, 'int64': 7, 'bool': 9,
  'uint32': 12,
}


def broadcast(*shapes):
  """The shape that elementwise operations on these shapes give."""
  rank = max(map(len, shapes))
  shapes = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
  return tuple(
    next((d for d in sides if str(d) != '1'), 1) for sides in zip(*shapes)
  )


def wise(graph, operation, values, dtype=None):
  """An elementwise operation; what it gives may be kept small too."""
  shape = broadcast(*(v.shape for v in values))
  if len(shape) == 2:
    # A bias [K], not [1, K], is what runtimes fuse into a product.
    values = [
      graphs.constant(v.constant[0])
      if v.constant is not None and v.shape[:1] == (1,) != v.shape else v
      for v in values
    ]
  return graphs.add(
    graph, operation, values, shape, dtype or values[-1].dtype
  )


def out(equation):
  """The shape and type of what an equation gives."""
  aval = equation.outvars[0].aval
  return tuple(aval.shape), aval.dtype


def whole(graph, equation, values):
  """The inputs without any axis kept small."""
  return [
    graphs.full(graph, v, atom.aval.shape)
    for v, atom in zip(values, equation.invars)
  ]


def like(value, number):
  """A constant of the type of a value."""
  return graphs.constant(np.asarray(number, value.dtype))


def elementwise(operation):
  """Writer of an operation that ONNX has too."""

  def write(graph, equation, values):
    return [wise(graph, operation, values, out(equation)[1])]

  return write


def same(graph, equation, values):
  """What changes nothing when a network only predicts."""
  del graph, equation
  return values


def greater(graph, equation, values):
  """The greater of both; ReLU where the other one is zero."""
  x, low = values
  if low.constant is not None and low.shape == () and low.constant == 0:
    return [wise(graph, 'Relu', [x])]
  return [wise(graph, 'Max', values)]


def subtract(graph, equation, values):
  """x - y; x + (-y) for a constant y, which runtimes fuse."""
  x, y = values
  if y.constant is not None and y.dtype.kind == 'f':
    return [wise(graph, 'Add', [x, graphs.constant(-y.constant)])]
  return [wise(graph, 'Sub', values)]


def rsqrt(graph, equation, values):
  """1 / sqrt(x)."""
  return [wise(graph, 'Reciprocal', [wise(graph, 'Sqrt', values)])]


def erfc(graph, equation, values):
  """1 - erf(x)."""
  found = wise(graph, 'Erf', values)
  return [wise(graph, 'Sub', [like(found, 1), found])]


def log1p(graph, equation, values):
  """log(1 + x)."""
  moved = wise(graph, 'Add', [*values, like(values[0], 1)])
  return [wise(graph, 'Log', [moved])]


def square(graph, equation, values):
  """x x."""
  return [wise(graph, 'Mul', [values[0], values[0]])]


def integer_pow(graph, equation, values):
  """x to an integer power."""
  power = like(values[0], equation.params['y'])
  return [wise(graph, 'Pow', [values[0], power])]


def not_equal(graph, equation, values):
  """x != y."""
  found = wise(graph, 'Equal', values, np.bool_)
  return [wise(graph, 'Not', [found], np.bool_)]


def half_even(graph, equation, values):
  """The nearest integer; the even one of two."""
  if int(equation.params['rounding_method']) != 1:
    raise ValueError(
      "ONNX cannot express the operation 'round' here: it rounds to even only"
    )
  return [wise(graph, 'Round', values)]


def select(graph, equation, values):
  """The one or the other, by a condition."""
  which, *cases = values
  if len(cases) != 2 or which.dtype != np.bool_:
    raise ValueError(
      f"ONNX export knows 'select_n' of two cases; here are {len(cases)}"
    )
  return [wise(graph, 'Where', [which, cases[1], cases[0]])]


def clamp(graph, equation, values):
  """x within [low, high]."""
  low, x, high = values
  return [wise(graph, 'Min', [wise(graph, 'Max', [x, low]), high])]


def convert(graph, equation, values):
  """x in another type."""
  (x,), dtype = values, np.dtype(equation.params['new_dtype'])
  if x.dtype == dtype:
    return values
  return [graphs.add(
    graph, 'Cast', values, x.shape, dtype, to=_ONNX_TYPES[str(dtype)]
  )]


def broadcast_in_dim(graph, equation, values):
  """Further axes; those that only repeat stay at length 1."""
  shape = [1] * len(equation.params['shape'])
  axes = equation.params['broadcast_dimensions']
  for axis, side in zip(axes, values[0].shape):
    shape[axis] = side
  return [graphs.reshape(graph, values[0], shape)]


def reshape(graph, equation, values):
  """Another shape of as many elements."""
  return [
    graphs.reshape(graph, *whole(graph, equation, values), out(equation)[0])
  ]


def transpose(graph, equation, values):
  """Axes in another order."""
  permutation = equation.params['permutation']
  return [graphs.transpose(graph, values[0], permutation)]


def concatenate(graph, equation, values):
  """Arrays one after the other."""
  values = whole(graph, equation, values)
  axis = equation.params['dimension']
  return [graphs.add(graph, 'Concat', values, *out(equation), axis=axis)]


def split(graph, equation, values):
  """An array in parts."""
  values = whole(graph, equation, values)
  sizes, axis = equation.params['sizes'], equation.params['axis']
  shapes = [v.aval.shape for v in equation.outvars]
  return graphs.split(
    graph, 'Split', [*values, graphs.integers(sizes)], shapes,
    values[0].dtype, axis=axis,
  )


def cut(graph, value, start, stop, step, shape):
  """Slices along every axis that is not taken whole."""
  axes = [
    k for k, (a, b, s) in enumerate(zip(start, stop, step))
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
  (x,), params = whole(graph, equation, values), equation.params
  start, stop = params['start_indices'], params['limit_indices']
  step = params['strides'] or (1,) * len(start)
  return [cut(graph, x, start, stop, step, out(equation)[0])]


def reverse(graph, equation, values):
  """Axes back to front."""
  (x,), axes = whole(graph, equation, values), equation.params['dimensions']
  ends = [-1] * len(axes), [-(2**31)] * len(axes), axes, [-1] * len(axes)
  inputs = [x, *map(graphs.integers, ends)]
  return [graphs.add(graph, 'Slice', inputs, *out(equation))]


def pad(graph, equation, values):
  """A margin of a constant; a negative one cuts."""
  x, filling = values
  x = graphs.full(graph, x, equation.invars[0].aval.shape)
  low, high, between = zip(*equation.params['padding_config'])
  if any(between):
    raise ValueError(
      "ONNX cannot express the operation 'pad' here: it pads between elements"
    )
  return [graphs.add(
    graph, 'Pad', [x, graphs.integers((*low, *high)), filling], *out(equation)
  )]


def gather(graph, equation, values):
  """Places along one axis, or a window at a place that is known."""
  x, index = whole(graph, equation, values)
  numbers = equation.params['dimension_numbers']
  axes, size = numbers.start_index_map, equation.params['slice_sizes']
  collapsed = numbers.collapsed_slice_dims
  if numbers.operand_batching_dims or index.constant is None:
    raise ValueError(
      "ONNX export knows 'gather' at known places only, and not in batches"
    )
  if axes == collapsed and len(axes) == 1:
    return [_take(graph, equation, x, index.constant[..., 0], axes[0])]
  if index.constant.ndim == 1:
    start, stop = [0] * len(x.shape), list(x.shape)
    for axis, place in zip(axes, index.constant.tolist()):
      start[axis], stop[axis] = place, place + size[axis]
    x = cut(graph, x, start, stop, [1] * len(start), size)
    return [graphs.reshape(graph, x, out(equation)[0])]
  raise ValueError("ONNX export knows 'gather' along one axis at a time")


def _take(graph, equation, x, index, axis):
  """x at the places `index` of an axis."""
  shape, dtype = out(equation)
  offsets = equation.params['dimension_numbers'].offset_dims
  taken = [k for k in range(len(shape)) if k not in offsets]
  here = [*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]]
  places = graphs.constant(index.astype(np.int64))
  found = graphs.add(graph, 'Gather', [x, places], here, dtype, axis=axis)
  before = [*offsets[:axis], *taken, *offsets[axis:]]
  return graphs.transpose(graph, found, np.argsort(before))


def reduce(operation):
  """Writer of a sum, product or extreme over axes."""

  def write(graph, equation, values):
    (x,), axes = whole(graph, equation, values), equation.params['axes']
    inputs = [x, graphs.integers(axes)]
    return [graphs.add(graph, operation, inputs, *out(equation), keepdims=0)]

  return write


WRITERS = {
  **{name: elementwise(to) for name, to in _SAME.items()},
  **{name: reduce(to) for name, to in _REDUCTIONS.items()},
  **dict.fromkeys(('stop_gradient', 'copy', 'copy_p', 'name'), same),
  'optimization_barrier': same,
  'max': greater, 'sub': subtract, 'rsqrt': rsqrt, 'erfc': erfc, 'log1p': log1p,
  'square': square, 'integer_pow': integer_pow, 'ne': not_equal,
  'round': half_even, 'select_n': select, 'clamp': clamp,
  'convert_element_type': convert, 'broadcast_in_dim': broadcast_in_dim,
  'reshape': reshape, 'squeeze': reshape, 'expand_dims': reshape,
  'transpose': transpose, 'concatenate': concatenate, 'split': split,
  'slice': slices, 'rev': reverse, 'pad': pad, 'gather': gather,
}  # fmt: skip
