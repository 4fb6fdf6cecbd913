"""Knowledge distillation by singular vectors, with gradients that stay finite.

The gradient of an eigenvector divides by the gaps to all other eigenvalues,
so equal ones (of a map of low rank, or of zeros) give infinities even where
the loss does not depend on them. Here 1 / gap is gap / (gap^2 + 1e-10) for a
Gram matrix of trace 1: exact to one in 10^6 for gaps above a hundredth of the
total energy, at most 5e4, and 0 between equal eigenvalues.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, numerics

_WIDTH = 8.0
_SPARE = 3
_BROADENING = 1e-5
_FLAT = {'repdistiller': 'bhwc->bhwc', 'mdistiller': 'bhwc->bchw'}


def kdsvd(
  students: Sequence[jax.Array],
  teachers: Sequence[jax.Array],
  *,
  components: int = 1,
  variant: str = 'repdistiller',
) -> jax.Array:
  """Distance between how leading singular vectors of neighboring maps relate.

  For each layer i, V_i holds the `components` leading right singular vectors
  of the map as a matrix, times the teacher's singular values (normalized to
  norm 1). With D_i[a, b] = exp(-(V_i[a] - V_{i-1}[b])^2 / 8), elementwise in
  the components, the sum over i >= 1 and all elements of (D_s - D_t)^2.
  A singular vector's sign is arbitrary, and D depends on it: here the sum of
  each of the teacher's is not negative. The student offers three vectors more,
  and for each of the teacher's the one with the largest |cosine| is taken,
  with the sign that makes it positive.

  The matrix of an example is
    'repdistiller'  [H W, C]: vectors over channels, [C]
    'mdistiller'    [C H, W]: vectors over columns, [W]
  which is different mathematics under the same name. The arrays per example are
  the Gram matrix of the matrix's smaller side, and D, [C_i, C_{i-1}] per
  component.

  Args:
    students: two maps or more, [B, H, W, C].
    teachers: as many, with the same C ('mdistiller': W) in each layer.
    components: k, static.
    variant: 'repdistiller' or 'mdistiller'.

  Returns:
    [B], no unit. 0 at equality; invariant to the scale of each map.

  Raises:
    ValueError: an unknown variant, fewer than two layers, vectors of
      different lengths, or a map with fewer than k singular values.

  Source: Lee, Kim and Song 2018, "Self-supervised Knowledge Distillation Using
    Singular Value Decomposition", https://arxiv.org/abs/1807.06819. The width
    8, the three spare vectors and the alignment are those of RepDistiller and
    mdistiller, which leave the sign to the library's SVD (the same as here for
    k = 1 after a ReLU, if it is the same in every layer), and whose gradients
    are NaN where singular values are equal.
  """
  numerics.need_variant(variant, tuple(_FLAT))
  layers = [
    _aligned(_matrix(s, variant), _matrix(t, variant), components)
    for s, t in geometry.pairs(students, teachers, least=2)
  ]
  return sum(
    geometry.total((_relation(s, s0) - _relation(t, t0)) ** 2)
    for (s0, t0), (s, t) in itertools.pairwise(layers)
  )


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def leading(gram: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The largest eigenvalues of symmetric matrices, and their vectors.

  Args:
    gram: [B, N, N], symmetric, trace 1 (or 0).
    count: how many; static. No more than N are returned.

  Returns:
    Values [B, count], falling, and unit vectors [B, N, count]. The derivative
    by `gram` is finite everywhere (see the head of this file).
  """
  values, vectors = _eigen(gram)
  return values[:, :count], vectors[:, :, :count]


@leading.defjvp
def _leading_jvp(count, primals, tangents):
  (gram,), (change,) = primals, tangents
  values, vectors = _eigen(gram)
  some = vectors[:, :, :count]
  # How the change couples each leading vector to every vector.
  coupling = geometry.dot('bni,bnm,bmj->bij', vectors, change, some)
  gap = values[:, None, :count] - values[:, :, None]
  turn = coupling * gap / (gap**2 + _BROADENING**2)
  moved = geometry.dot('bni,bij->bnj', vectors, turn)
  shift = jnp.diagonal(coupling, axis1=1, axis2=2)
  return (values[:, :count], some), (shift, moved)


def _eigen(gram):
  """All eigenvalues [B, N], falling, and vectors of [B, N, N].

  On CPU it takes one matrix after the other: in jaxlib 0.10 the threads that
  compute a batch wait for each other, and forever where as many batches as
  threads are computed at once.
  """
  sequential = jax.custom_batching.sequential_vmap(_eigh)
  values, vectors = jax.lax.platform_dependent(
    gram, cpu=jax.vmap(sequential), default=_eigh
  )
  return values[:, ::-1], vectors[:, :, ::-1]


def _eigh(gram):
  return tuple(jnp.linalg.eigh(gram))


def _matrix(x, variant):
  """[B, M, N], of norm 1: the map as the variant's matrix."""
  x = jnp.einsum(_FLAT[variant], numerics.f32(x))
  return geometry.unit(geometry.positions(x), axis=(1, 2))


def _right_vectors(x, count):
  """Singular values [B, k] and right vectors [B, N, k] of x [B, M, N]."""
  if x.shape[2] <= x.shape[1]:
    values, vectors = leading(geometry.dot('bmn,bmk->bnk', x, x), count)
    return numerics.root(values), vectors
  values, left = leading(geometry.dot('bmn,bkn->bmk', x, x), count)
  # Below 1e-5 of the norm, what a left vector maps to is rounding noise.
  right = geometry.dot('bmn,bmk->bnk', x, left)
  return numerics.root(values), geometry.unit(right, axis=1, eps=1e-5)


def _aligned(student, teacher, count):
  """The vectors [B, N, k] of both sides, weighted, the student's aligned."""
  weights, t = _right_vectors(teacher, count)
  _, s = _right_vectors(student, count + _SPARE)
  geometry.same(s[..., 0], t[..., 0])
  if t.shape[2] < count:
    raise ValueError(
      f'components={count} of a map with {t.shape[2]} singular values'
    )
  t = t * jnp.where(jnp.sum(t, axis=1, keepdims=True) < 0, -1, 1)
  cosine = geometry.dot('bni,bnj->bij', s, t)
  best = jnp.argmax(jnp.abs(cosine), axis=1)
  chosen = jax.nn.one_hot(best, s.shape[2], axis=1, dtype=s.dtype)
  s = geometry.dot('bni,bij->bnj', s, chosen * jnp.sign(cosine))
  weights = geometry.unit(weights)[:, None, :]
  return s * weights, t * weights


def _relation(upper, lower):
  """[B, N, N', k]: a Gaussian of two layers' differences, less 1.

  The 1 cancels where two of these are subtracted, and would cost digits.
  """
  gap = upper[:, :, None, :] - lower[:, None, :, :]
  return jnp.expm1(-(gap**2) / _WIDTH)
