"""VkD: an orthogonal projection to the teacher's normalized feature."""

import jax
import jax.numpy as jnp

from kd_jax.losses import features as losses
from kd_jax.losses import geometry, numerics
from kd_jax.methods import adapters, base, features, layer_names


def semi_orthogonal(x: jax.Array, frame: jax.Array | None = None) -> jax.Array:
  """The matrix whose columns (or rows, if there are fewer) are orthonormal.

  The first min(N, M) columns of Q exp(A), A = tril(X) - tril(X)^T of X padded
  by zeros to a square of the longer side, transposed where M > N. At X = 0
  these are the columns of Q.

  Args:
    x: X, free, [N, M].
    frame: Q, orthogonal, of the longer side; None is the identity.

  Returns:
    f32 [N, M].

  Source: Lezcano-Casado 2019, https://arxiv.org/abs/1909.09501, Q the base of
    its trivialization, as `torch.nn.utils.parametrizations.orthogonal` with
    'matrix_exp'.
  """
  if x.shape[0] < x.shape[1]:
    return semi_orthogonal(x.T, frame).T
  rows, columns = x.shape
  lower = jnp.tril(jnp.pad(numerics.f32(x), ((0, 0), (0, rows - columns))))
  matrix = jax.scipy.linalg.expm(lower - lower.T)
  if frame is not None:
    matrix = geometry.dot('ij,jk->ik', frame, matrix)
  return matrix[:, :columns]


def vkd(*, layers: layer_names.Layers = ()) -> base.Method:
  """Orthogonal projections: the student's feature, turned, is the teacher's.

  L = mean_d h(P s - n(t))_d, s and t the means over places, P with orthonormal
  rows or columns, h Huber's function and n layer normalization without scale
  (see `losses.features.vkd`). P keeps distances: it cannot do the student's
  work. It is learned as the exponential of a skew-symmetric matrix behind a
  random rotation, which is in the state.

  Args:
    layers: [(student, teacher)], tokens [B, L, D], maps [B, H, W, C] or
      vectors; several are summed.

  Returns:
    A method whose loss is f32 [B], no unit. Weight 1. Couples no examples. A
    matrix of the wider side's size is exponentiated at each step.

  Source: Miles et al. 2024, "VkD: Improving Knowledge Distillation using
    Orthogonal Projections", https://arxiv.org/abs/2403.06213. The paper's
    whitening of the teacher, for generative tasks, is not in its code for
    classification, nor here; of maps that are not square the code takes
    PyTorch's default, products of Householder's reflections.
  """
  layers = layer_names.need('vkd', layers)

  def plan(student, teacher):
    return features.connect(layers, student, teacher, _projection)

  def compare(ours, theirs, hparams):
    del hparams
    return sum(losses.vkd(s, _pooled(t)) for s, t in zip(ours, theirs))

  return features.comparing('vkd', plan, compare, {})


def _projection(student, teacher) -> adapters.Adapter:
  """The pooled feature through a learned orthogonal map."""
  shape = (student[-1], teacher[-1])

  def init(key):
    side = max(shape)
    frame = jax.random.orthogonal(key, side)
    return {'params': {'skew': jnp.zeros(shape, jnp.float32)}, 'frame': frame}

  def apply(variables, x):
    frame = variables['frame']
    kernel = semi_orthogonal(variables['params']['skew'], frame)
    return geometry.dot('bd,de->be', _pooled(x), kernel), {'frame': frame}

  return adapters.Adapter(init, apply)


def _pooled(x):
  """The mean over all axes between the first and the last: f32 [B, D]."""
  x = numerics.f32(x)
  return jnp.mean(geometry.positions(x), axis=1) if x.ndim > 2 else x
