"""Writes the elementwise operations of JAX in ONNX.

A writer takes (graph, equation of the jaxpr, Values of its inputs) and returns
the Values of its outputs.
"""

import numpy as np

from kd_jax.export.onnx import graph as graphs

# Operations that broadcast and mean the same in both.
_SAME = {
  'add': 'Add', 'mul': 'Mul', 'div': 'Div', 'min': 'Min',
  'pow': 'Pow', 'neg': 'Neg', 'abs': 'Abs', 'exp': 'Exp', 'log': 'Log',
  'sqrt': 'Sqrt', 'tanh': 'Tanh', 'logistic': 'Sigmoid', 'erf': 'Erf',
  'floor': 'Floor', 'ceil': 'Ceil', 'sign': 'Sign', 'sin': 'Sin',
  'cos': 'Cos', 'eq': 'Equal', 'lt': 'Less', 'le': 'LessOrEqual',
  'gt': 'Greater', 'ge': 'GreaterOrEqual', 'not': 'Not', 'and': 'And',
  'or': 'Or', 'xor': 'Xor',
}  # fmt: skip
_ONNX_TYPES = {
  'float32': 1,
  'uint8': 2,
  'int8': 3,
  'int32': 6,
  'int64': 7,
  'bool': 9,
  'uint32': 12,
}


def broadcast(*shapes):
  """The output shape of an elementwise operation on these shapes."""
  rank = max(map(len, shapes))
  shapes = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
  return tuple(
    next((d for d in sides if str(d) != '1'), 1) for sides in zip(*shapes)
  )


def wise(graph, operation, values, dtype=None):
  """Adds an elementwise operation; axes of length 1 stay so."""
  shape = broadcast(*(v.shape for v in values))
  if len(shape) == 2:
    # Runtimes fuse a bias [K] into a product, but not [1, K].
    values = [
      graphs.constant(v.constant[0])
      if v.constant is not None and v.shape[:1] == (1,) != v.shape
      else v
      for v in values
    ]
  return graphs.add(graph, operation, values, shape, dtype or values[-1].dtype)


def out(equation):
  """The shape and type of the output of an equation."""
  aval = equation.outvars[0].aval
  return tuple(aval.shape), aval.dtype


def whole(graph, equation, values):
  """The inputs with every axis at its full length."""
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
  """An operation that changes nothing in prediction."""
  del graph, equation
  return values


def greater(graph, equation, values):
  """max(x, y); ReLU where y is zero."""
  x, low = values
  zero = low.constant is not None and low.shape == () and low.constant == 0
  if zero and x.dtype.kind == 'f':
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
  erf = wise(graph, 'Erf', values)
  return [wise(graph, 'Sub', [like(erf, 1), erf])]


def log1p(graph, equation, values):
  """log(1 + x)."""
  shifted = wise(graph, 'Add', [*values, like(values[0], 1)])
  return [wise(graph, 'Log', [shifted])]


def expm1(graph, equation, values):
  """exp(x) - 1."""
  power = wise(graph, 'Exp', values)
  return [wise(graph, 'Add', [power, like(power, -1)])]


def square(graph, equation, values):
  """x x."""
  return [wise(graph, 'Mul', [values[0], values[0]])]


def integer_pow(graph, equation, values):
  """x to an integer power."""
  power = like(values[0], equation.params['y'])
  return [wise(graph, 'Pow', [values[0], power])]


def not_equal(graph, equation, values):
  """x != y."""
  equal = wise(graph, 'Equal', values, np.bool_)
  return [wise(graph, 'Not', [equal], np.bool_)]


def half_even(graph, equation, values):
  """The nearest integer; of two equally near ones the even one."""
  if int(equation.params['rounding_method']) != 1:
    raise ValueError(
      "ONNX cannot express the operation 'round' here: it rounds to even only"
    )
  return [wise(graph, 'Round', values)]


def select(graph, equation, values):
  """One of two values, by a condition."""
  which, *cases = values
  if len(cases) != 2 or which.dtype != np.bool_:
    raise ValueError(
      f"ONNX export knows 'select_n' of two cases; here are {len(cases)}"
    )
  if cases[0].dtype == np.bool_:
    # Runtimes do not choose between truths.
    no = wise(graph, 'Not', [which])
    parts = [
      wise(graph, 'And', pair) for pair in ((which, cases[1]), (no, cases[0]))
    ]
    return [wise(graph, 'Or', parts)]
  return [wise(graph, 'Where', [which, cases[1], cases[0]])]


def clamp(graph, equation, values):
  """x within [low, high]."""
  low, x, high = values
  return [wise(graph, 'Min', [wise(graph, 'Max', [x, low]), high])]


def convert(graph, equation, values):
  """x in another type."""
  return [cast(graph, values[0], np.dtype(equation.params['new_dtype']))]


def cast(graph, value, dtype):
  """A value in another type."""
  if value.dtype == dtype:
    return value
  to = _ONNX_TYPES[str(dtype)]
  return graphs.add(graph, 'Cast', [value], value.shape, dtype, to=to)


WRITERS = {
  **{name: elementwise(to) for name, to in _SAME.items()},
  **dict.fromkeys(('stop_gradient', 'copy', 'copy_p', 'name'), same),
  'optimization_barrier': same,
  'max': greater, 'sub': subtract, 'rsqrt': rsqrt, 'erfc': erfc,
  'log1p': log1p, 'expm1': expm1, 'square': square,
  'integer_pow': integer_pow, 'ne': not_equal, 'round': half_even,
  'select_n': select, 'clamp': clamp, 'convert_element_type': convert,
}  # fmt: skip
