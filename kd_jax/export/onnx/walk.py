"""Traces a network to a jaxpr, and writes its equations as ONNX nodes.

Values that depend on parameters alone are computed by JAX on the way, and
written as constants.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import numpy as jnp

from kd_jax import types
from kd_jax.export import formats
from kd_jax.export.onnx import gathering, linear, operations, sequences, shapes
from kd_jax.export.onnx import graph as graphs

# {primitive of JAX: the function that writes it}.
WRITERS = {
  name: writer
  for table in (operations, shapes, linear, gathering, sequences)
  for name, writer in table.WRITERS.items()
}
_CALLS = (
  'jit', 'pjit', 'closed_call', 'core_call', 'custom_jvp_call',
  'custom_vjp_call', 'remat', 'checkpoint',
)  # fmt: skip
_INNER = ('jaxpr', 'call_jaxpr', 'fun_jaxpr')
_DTYPES = ('float32', 'int32', 'int64', 'bool', 'uint8', 'uint32', 'int8')


def trace(function: Callable[[types.PyTree], jax.Array], shape: formats.Shape):
  """A function as a jaxpr of its inputs alone, of any batch.

  Args:
    function: inputs -> one array.
    shape: of one input.

  Raises:
    ValueError: it computes with the size of the batch.
  """
  with formats.any_size(shape) as inputs:
    return jax.make_jaxpr(function)(inputs)


def write(
  closed, names: Sequence[str], prefix: str = ''
) -> tuple[graphs.Graph, graphs.Value]:
  """The graph of a jaxpr, and the value of its one output.

  Args:
    closed: from `trace`.
    names: of its inputs.
    prefix: of the names of values.

  Raises:
    ValueError: one line, for an operation that ONNX cannot express here.
  """
  graph = graphs.new(prefix)
  inputs = [
    graphs.add_input(graph, name, x.aval.shape, x.aval.dtype)
    for name, x in zip(names, closed.jaxpr.invars, strict=True)
  ]
  constants = [graphs.constant(x) for x in closed.consts]
  (output,) = _run(graph, closed.jaxpr, constants, inputs)
  output = graphs.full(graph, output, closed.jaxpr.outvars[0].aval.shape)
  return graph, output


def _run(graph, jaxpr, constants, inputs) -> list[graphs.Value]:
  """Writes every equation of a jaxpr; returns its outputs."""
  variables = [*jaxpr.constvars, *jaxpr.invars]
  known = dict(zip(variables, [*constants, *inputs]))

  def read(atom):
    if hasattr(atom, 'val'):
      return graphs.constant(np.asarray(atom.val, atom.aval.dtype))
    return known[atom]

  for equation in jaxpr.eqns:
    values = [read(atom) for atom in equation.invars]
    known.update(zip(equation.outvars, _write(graph, equation, values)))
  return [read(atom) for atom in jaxpr.outvars]


def _write(graph, equation, values) -> list[graphs.Value]:
  """Writes one equation, or computes it; returns its outputs."""
  name = equation.primitive.name
  if name == 'platform_index':
    # The last branch is the plain operation, for every platform.
    last = len(equation.params['platforms']) - 1
    return [graphs.constant(np.int32(last))]
  if name == 'cond' and values[0].constant is not None:
    branch = equation.params['branches'][int(values[0].constant)]
    return _inner(graph, branch, values[1:])
  if name in _CALLS:
    inner = next(equation.params[k] for k in _INNER if k in equation.params)
    return _inner(graph, inner, values)
  constants = _computed(equation, values)
  if constants is not None:
    return constants
  if name not in WRITERS:
    raise ValueError(
      f"ONNX export does not know the operation '{name}', which the network "
      'uses; export it as stablehlo, or add a writer to WRITERS of '
      'kd_jax.export.onnx.walk'
    )
  for variable in equation.outvars:
    if str(variable.aval.dtype) not in _DTYPES:
      raise ValueError(
        f'ONNX export does not know {variable.aval.dtype}, in which the '
        "network computes; build it with dtype='float32', or export it as "
        'stablehlo'
      )
  return WRITERS[name](graph, equation, values)


def _inner(graph, jaxpr, values):
  constants = [graphs.constant(x) for x in getattr(jaxpr, 'consts', ())]
  return _run(graph, getattr(jaxpr, 'jaxpr', jaxpr), constants, values)


def _computed(equation, values) -> list[graphs.Value] | None:
  """The outputs of an equation that reads constants alone, or None."""
  # Its axes of length 1 stay so until a node needs them whole.
  if equation.primitive.name == 'broadcast_in_dim':
    return None
  shapes = [a.aval.shape for a in (*equation.invars, *equation.outvars)]
  if any(v.constant is None for v in values) or not all(
    isinstance(d, int) for shape in shapes for d in shape
  ):
    return None
  arrays = [
    jnp.asarray(np.broadcast_to(v.constant, a.aval.shape), a.aval.dtype)
    for v, a in zip(values, equation.invars)
  ]
  outputs = equation.primitive.bind(*arrays, **equation.params)
  if not equation.primitive.multiple_results:
    outputs = [outputs]
  return [graphs.constant(np.asarray(x)) for x in outputs]
