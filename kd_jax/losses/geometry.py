"""Norms, products and shapes that the feature and relation losses share."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def dot(spec: str, *arrays: jax.Array) -> jax.Array:
  """`einsum` in the arrays' full precision.

  Accelerators multiply f32 matrices in fewer bits by default, which a
  difference of Gram matrices does not survive.
  """
  return jnp.einsum(spec, *arrays, precision=jax.lax.Precision.HIGHEST)


def gram(x: jax.Array) -> jax.Array:
  """[B, D] -> [B, B], the products of all pairs of rows."""
  return dot('id,jd->ij', x, x)


def squared_distances(x: jax.Array) -> jax.Array:
  """[B, D] -> [B, B], squared Euclidean distances of all pairs of rows.

  From the Gram matrix of the centered rows r: the error of an entry is some
  roundings of |r_i|^2 + |r_j|^2, so that pairs much closer than most have
  fewer digits. Below that error they count as equal and pass no gradient.
  """
  products = gram(x - jnp.mean(x, axis=0, keepdims=True))
  norms = jnp.diagonal(products)
  both = norms[:, None] + norms[None, :]
  squares = both - 2 * products
  noise = 4 * jnp.finfo(x.dtype).eps * both
  return jnp.where(squares > noise, squares, 0)


def unit(x: jax.Array, axis: int | Sequence[int] = -1, eps: float = 1e-12):
  """`x` over its L2 norm along `axis`.

  Vectors of norm `eps` or less become 0 and pass no gradient: dividing them
  by `eps` instead, as is common, gives them gradients of size 1 / eps.
  """
  axis = axis if isinstance(axis, int) else tuple(axis)
  squares = jnp.sum(x * x, axis=axis, keepdims=True)
  live = squares > eps * eps
  scale = jnp.where(live, 1 / jnp.sqrt(jnp.where(live, squares, 1)), 0)
  return x * scale


def unit_gap(x: jax.Array, y: jax.Array) -> jax.Array:
  """Difference of unit rows [B, D]; 0 for rows equal but for rounding.

  A norm's slope does not fade toward 0, so rounding must not have one.
  """
  noise = (8 * jnp.finfo(x.dtype).eps) ** 2
  far = jnp.sum((x - y) ** 2, axis=1, keepdims=True) > noise
  return jnp.where(far, x - y, 0)


def power(x: jax.Array, p: float | jax.Array) -> jax.Array:
  """`x ** p`; where `p` is no odd integer, `|x| ** p`. Finite slopes, p > 1."""
  # A Python number is known now, and products are cheaper than a power.
  if isinstance(p, int | float) and p == int(p):
    return x ** int(p)
  size = jnp.abs(x)
  live = size > 0
  size = jnp.where(live, jnp.where(live, size, 1) ** p, 0)
  return jnp.where(jnp.mod(p, 2) == 1, jnp.sign(x), 1) * size


def smooth_l1(x: jax.Array) -> jax.Array:
  """Huber's function with threshold 1: x^2 / 2 near 0, |x| - 1/2 beyond."""
  size = jnp.abs(x)
  return jnp.where(size < 1, x * x / 2, size - 0.5)


def mean(x: jax.Array) -> jax.Array:
  """[B, ...] -> [B], the mean over everything but the batch."""
  return jnp.mean(x.reshape(x.shape[0], -1), axis=1)


def total(x: jax.Array) -> jax.Array:
  """[B, ...] -> [B], the sum over everything but the batch."""
  return jnp.sum(x.reshape(x.shape[0], -1), axis=1)


def positions(x: jax.Array) -> jax.Array:
  """[B, ..., C] -> [B, P, C]: all places of a map in one axis."""
  return x.reshape(x.shape[0], -1, x.shape[-1])


def need_places(x: jax.Array) -> jax.Array:
  """[B, P, C] as it is; refuses P = 1, where a norm over places is always 1."""
  if x.shape[1] < 2:
    raise ValueError(
      f'a feature of one place, {x.shape[-1]} wide, has nothing to compare '
      'between places; read a map [B, H, W, C] or tokens [B, L, C]'
    )
  return x


def same(student: jax.Array, teacher: jax.Array) -> None:
  """Refuses two shapes that differ: broadcasting would hide the mistake."""
  if student.shape != teacher.shape:
    raise ValueError(
      f'student {student.shape} and teacher {teacher.shape} differ in shape'
    )


def pairs(students: Sequence, teachers: Sequence, least: int = 1) -> list:
  """The layers of both sides, paired in order."""
  if len(students) != len(teachers) or len(students) < least:
    raise ValueError(
      f'{len(students)} student and {len(teachers)} teacher layers; '
      f'known: equal numbers, at least {least}'
    )
  return list(zip(students, teachers))
