"""3x3 convolutions with 16 products for each 2x2 of the result, not 36.

Winograd's F(2x2, 3x3), for CPUs: Y = A' [(G g G') * (B' d B)] A, where d is a
tile of 4x4 of the input, g the kernel, * the product of elements, which over
channels is a product of matrices. Rounding is that of the plain sum, about
1e-6 of the largest number in f32.
Source: Lavin and Gray 2016, https://arxiv.org/abs/1509.09308, section 4.1.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

_INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # B'
_KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))  # G
_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))  # A'
_GIVEN = tuple(zip(*_OUTPUT))  # A

# Below these the transforms cost more than the products that they save.
CHANNELS, SIDE, POSITIONS = 32, 8, 4096


def suits(x, kernel, stride: int, padding) -> bool:
  """Whether it is faster so: many channels, large maps, a large batch."""
  (h, w, *channels), (count, *side) = kernel.shape, x.shape[:3]
  return (
    (h, w, stride) == (3, 3, 1)
    and min(channels) >= CHANNELS
    and min(side) >= SIDE
    and max(map(max, padding)) <= 2
    and isinstance(count, int)  # an export's batch has no number
    and math.prod((count, *side)) >= POSITIONS
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def convolve(padding, x, kernel):
  """A 3x3 convolution of stride 1; reverse-mode derivatives only.

  Args:
    padding: ((top, bottom), (left, right)), at most 2 each.
    x: f32 [B, H, W, C].
    kernel: f32 [3, 3, C, C'].

  Returns:
    f32 [B, H', W', C'].
  """
  h, w = (n + sum(pads) - 2 for n, pads in zip(x.shape[1:3], padding))
  # Else what gives x is computed again for each of its 16 readers.
  x = lax.optimization_barrier(x)
  weights = jnp.einsum('ai,ijco,bj->abco', _g(), kernel, _g())
  products = [
    [tile @ weight for tile, weight in zip(*row)]
    for row in zip(_tiles(x, h, w, padding), weights)
  ]
  rows = [jnp.concatenate(row, -1) for row in _both(_OUTPUT, products)]
  made = jnp.stack(rows, 2)  # [B, H'/2, 2, W'/2, 2 C']
  count, high, _, wide, _ = made.shape
  return made.reshape(count, 2 * high, 2 * wide, -1)[:, :h, :w]


def _forward(padding, x, kernel):
  return convolve(padding, x, kernel), (x, kernel)


def _backward(padding, saved, given):
  (x, kernel), given = lax.optimization_barrier((saved, given))
  back = tuple((2 - low, 2 - high) for low, high in padding)
  to_x = convolve(back, given, kernel[::-1, ::-1].swapaxes(2, 3))
  h, w = given.shape[1:3]
  even = jnp.pad(given, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
  quarters = [[even[:, i::2, j::2] for j in range(2)] for i in range(2)]
  to_weights = jnp.stack([
    jnp.stack([_rows(seen).T @ _rows(pull) for seen, pull in zip(*row)])
    for row in zip(_tiles(x, h, w, padding), _both(_GIVEN, quarters))
  ])
  return to_x, jnp.einsum('ai,abco,bj->ijco', _g(), to_weights, _g())


convolve.defvjp(_forward, _backward)


def _g():
  return jnp.array(_KERNEL, jnp.float32)


def _rows(x) -> jax.Array:
  return x.reshape(-1, x.shape[-1])


def _tiles(x, h, w, padding) -> list[list[jax.Array]]:
  """B' d B of every tile, for a result of h by w: 4x4 of [B, H/2, W/2, C]."""
  high, wide = 2 * -(-h // 2), 2 * -(-w // 2)
  (top, _), (left, _) = padding
  x = jnp.pad(x, (
    (0, 0), (top, high + 2 - top - x.shape[1]),
    (left, wide + 2 - left - x.shape[2]), (0, 0),
  ))
  return _both(_INPUT, [
    [x[:, i : i + high : 2, j : j + wide : 2] for j in range(4)]
    for i in range(4)
  ])


def _both(matrix, parts) -> list[list[jax.Array]]:
  """The matrix, times the square of arrays, times the matrix transposed."""
  rows = [[_sum(line, column) for column in zip(*parts)] for line in matrix]
  return [[_sum(line, row) for line in matrix] for row in rows]


def _sum(factors, arrays):
  """Of arrays times factors that are mostly 0, 1 and -1."""
  return sum(
    array if factor == 1 else factor * array
    for factor, array in zip(factors, arrays) if factor
  )
