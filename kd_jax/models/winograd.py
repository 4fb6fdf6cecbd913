"""Convolves 3x3 on CPU by Winograd's F(2x2, 3x3).

It takes 16 products for each 2x2 of the result, not 36:
Y = A' [(G g G') * (B' d B)] A. d is a 4x4 tile of the input, g the kernel, and
* the elementwise product, which over channels is a matrix product. Here a tile
is a column: M d M' is (M x M) d with the Kronecker product. The rounding error
is that of the plain sum, about 1e-6 of the largest number in f32.
Source: Lavin and Gray 2016, https://arxiv.org/abs/1509.09308, section 4.1.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def _twice(*rows) -> np.ndarray:
  return np.kron(rows, rows).astype(np.float32)


# B' x B', G x G and A' x A'.
INPUT = _twice((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
KERNEL = _twice((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OUTPUT = _twice((1, 1, 1, 0), (0, 1, -1, -1))

# Below these sizes the transforms cost more than the products that they save.
CHANNELS, SIDE, POSITIONS = 64, 8, 4096
# Above this many bytes of tiles, memory access costs more than the products.
ROOM = 2**25


def suits(x, kernel, stride: int, padding) -> bool:
  """Whether Winograd is faster: many channels, maps not too large."""
  (*size, c, out), (count, *side) = kernel.shape, x.shape[:3]
  positions = math.prod((count, *side))
  return (
    (*size, stride) == (3, 3, 1)
    and min(c, out) >= CHANNELS
    and min(side) >= SIDE
    and max(map(max, padding)) <= 2
    and isinstance(count, int)  # an exported batch size is symbolic
    and positions >= POSITIONS
    # A 4x4 tile for each 2x2 of the result.
    and 4 * positions * (c + out) * x.dtype.itemsize <= ROOM
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
  high, wide, (c, out) = -(-h // 2), -(-w // 2), kernel.shape[2:]
  weights = (KERNEL @ kernel.reshape(9, -1)).reshape(16, c, out)
  products = _tiles(x, high, wide, padding) @ weights
  y = OUTPUT @ products.reshape(16, -1)
  y = y.reshape(2, 2, -1, high, wide, out).transpose(2, 3, 0, 4, 1, 5)
  return y.reshape(-1, 2 * high, 2 * wide, out)[:, :h, :w]


def _forward(padding, x, kernel):
  return convolve(padding, x, kernel), (x, kernel)


def _backward(padding, saved, gradient):
  x, kernel = saved
  back = tuple((2 - low, 2 - high) for low, high in padding)
  to_x = convolve(back, gradient, kernel[::-1, ::-1].swapaxes(2, 3))
  h, w, out = gradient.shape[1:]
  high, wide = -(-h // 2), -(-w // 2)
  pad = (0, 0), (0, 2 * high - h), (0, 2 * wide - w), (0, 0)
  pairs = jnp.pad(gradient, pad).reshape(-1, high, 2, wide, 2, out)
  pairs = pairs.transpose(2, 4, 0, 1, 3, 5).reshape(4, -1)
  pull = (OUTPUT.T @ pairs).reshape(16, -1, out)
  tiles = _tiles(x, high, wide, padding)
  to_weights = (tiles.swapaxes(1, 2) @ pull).reshape(16, -1)
  return to_x, (KERNEL.T @ to_weights).reshape(kernel.shape)


convolve.defvjp(_forward, _backward)


def _tiles(x, high, wide, padding) -> jax.Array:
  """B' d B of all high x wide tiles: [16, B * high * wide, C]."""
  # Without it XLA computes x again for each of its 16 readers.
  x = lax.optimization_barrier(x)
  (top, _), (left, _) = padding
  x = jnp.pad(
    x,
    (
      (0, 0),
      (top, 2 * high + 2 - top - x.shape[1]),
      (left, 2 * wide + 2 - left - x.shape[2]),
      (0, 0),
    ),
  )
  slices = [
    x[:, i : i + 2 * high : 2, j : j + 2 * wide : 2].reshape(-1)
    for i in range(4)
    for j in range(4)
  ]
  return (INPUT @ jnp.stack(slices)).reshape(16, -1, x.shape[-1])
