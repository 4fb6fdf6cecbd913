"""The matrix products and convolutions of a traced program."""

from collections.abc import Iterator

import jax
import jax.extend.core as jex
import jax.numpy as jnp

KINDS = ('dot_general', 'conv_general_dilated')


def products(program: jex.ClosedJaxpr) -> Iterator:
  """The equations of products, also of programs inside of it."""
  jaxpr = getattr(program, 'jaxpr', program)
  for equation in jaxpr.eqns:
    if equation.primitive.name in KINDS:
      yield equation
    inner = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program)
    for value in filter(_is_program, inner):
      yield from products(value)


def _is_program(value) -> bool:
  return isinstance(value, (jex.ClosedJaxpr, jex.Jaxpr))


def operands(program) -> set[jnp.dtype]:
  """The dtypes of all that products read."""
  return {v.aval.dtype for e in products(program) for v in e.invars}


def precisions(program) -> set:
  """The precisions of products; None is JAX's default."""
  return {
    p
    for equation in products(program)
    for p in jax.tree.leaves(
      equation.params['precision'], is_leaf=lambda x: x is None
    )
  }
