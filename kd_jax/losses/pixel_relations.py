"""Losses on relations between the pixels of an image, or of several."""

import jax
import jax.numpy as jnp

from kd_jax.losses import dense, geometry, numerics, spatial

Array = numerics.Array

# Maps of this height and width are pooled before their pixels are compared.
_LARGE = 256


def skd_pairwise(
  student: Array, teacher: Array, *, scale: float = 0.5, variant: str = 'code'
) -> Array:
  """Pair-wise distillation: which regions of an image resemble each other.

  Regions are max pooled; A[i, j] = <u_i, u_j>, u the unit vectors of the
  regions; L = mean over all pairs of (A_s - A_t)^2.
    'code' (default)  regions of floor(scale H) x floor(scale W) places, so
                      about 1 / scale^2 of them; u = f / (|f| + 1e-8), and no
                      gradient flows through |f|
    'paper'           the same with the gradient of the formula
    'cirkd'           regions of 2x2 places whatever the size; the gradient of
                      the formula
  Places left over at the right and below are a smaller region. The student is
  resized to the teacher's places (bilinear); channels may differ. Built are two
  [B, R, R] for R regions.

  Args:
    student: a feature [B, H, W, C].
    teacher: [B, H', W', C'].
    scale: of a region to the map; static. No part of 'cirkd'.
    variant: 'code', 'paper' or 'cirkd'.

  Returns:
    f32 [B], no unit; 0 at equality. Invariant to the scale of either side.
    Weight 1 for 'code', 10 for 'cirkd'.

  Raises:
    ValueError: an unknown variant, or sides that are no maps.

  Source: Liu et al. 2019, "Structured Knowledge Distillation for Semantic
    Segmentation", https://arxiv.org/abs/1903.04197. 'code' is the
    authors', 'cirkd' that of Yang et al. 2022 under the same name.
  """
  numerics.need_variant(variant, ('code', 'paper', 'cirkd'))
  student, teacher = dense.places(student, teacher)
  size = tuple(max(int(scale * n), 1) for n in teacher.shape[1:3])
  region = (2, 2) if variant == 'cirkd' else size
  similar = []
  for x in (student, teacher):
    x = geometry.positions(spatial.max_pool(x, region))
    x = _detached_unit(x) if variant == 'code' else geometry.unit(x)
    similar.append(geometry.dot('bic,bjc->bij', x, x))
  return geometry.mean((similar[0] - similar[1]) ** 2)


def cirkd_minibatch(
  student: Array, teacher: Array, *, temperature: float = 0.1
) -> Array:
  """Cross-image relations: which pixels of the batch resemble a pixel.

  With unit vectors u at every pixel and S_ij = u_i u_j^T / T [P, P] for the
  images i and j, row i of the batch is the mean over j (i = j too) and over
  the pixels of i of KL(softmax(S_t,ij) || softmax(S_s,ij)), over the pixels of
  j. No T^2. Couples the examples. Channels may differ; the student is resized
  to the teacher's places (bilinear).

  Memory: one pair of images at a time, so some [P, P] in f32 (at 64x128, 268 MB
  each) and not [B, B, P, P]; gradients compute each pair again. Maps of 256x256
  and more are averaged over 4x4 places first.

  Args:
    student: a feature [B, H, W, C], the last one.
    teacher: [B, H', W', C'].
    temperature: T.

  Returns:
    f32 [B], in nats; 0 at equality. Invariant to the scale of each vector.
    Weight 1.

  Raises:
    ValueError: sides that are no maps.

  Source: Yang et al. 2022, "Cross-Image Relational Knowledge Distillation for
    Semantic Segmentation", https://arxiv.org/abs/2204.06986. The
    authors' code pairs the images of one GPU; here they are those of the whole
    batch.
  """
  student, teacher = dense.places(student, teacher)
  if min(teacher.shape[1:3]) >= _LARGE:
    size = tuple(n // 4 for n in teacher.shape[1:3])
    student, teacher = (spatial.pool(x, size) for x in (student, teacher))
  units = [geometry.unit(geometry.positions(x)) for x in (student, teacher)]
  batch = student.shape[0]

  @jax.checkpoint
  def compare(pair):
    logs = [
      numerics.log_probs(
        geometry.dot('pc,qc->pq', x[pair // batch], x[pair % batch]),
        temperature,
      )
      for x in units
    ]
    return jnp.mean(numerics.kl(logs[1], logs[0]))

  pairs = jax.lax.map(compare, jnp.arange(batch * batch))
  return jnp.mean(pairs.reshape(batch, batch), axis=1)


def cirkd_memory(
  student: Array,
  teacher: Array,
  queue: Array,
  *,
  temperature: float = 0.1,
  kd_temperature: float = 1.0,
) -> Array:
  """Relations of each pixel with remembered vectors of other images.

  T_kd^2 KL(softmax(u_t M^T / tau / T_kd) || softmax(u_s M^T / tau / T_kd)) over
  the N rows of M at every pixel, u the unit vectors of the pixels. What is
  remembered, of which classes, and the projection of the student to the
  teacher's width come from elsewhere.

  Args:
    student: projected features [B, ..., D].
    teacher: [B, ..., D].
    queue: M [N, D], unit rows.
    temperature: tau.
    kd_temperature: T_kd.

  Returns:
    f32 [B, ...], in nats times T_kd^2; 0 at equality. Pixels without a label
    are left out of its mean. Weight 0.1.

  Raises:
    ValueError: sides whose shapes differ.

  Source: Yang et al. 2022, as `cirkd_minibatch`. The
    authors' code fills the queue of pixels with the first places of an image,
    of any class, where the paper draws from those of one class.
  """
  geometry.same(student, teacher)
  logs = [
    numerics.log_probs(
      geometry.dot('...d,nd->...n', geometry.unit(numerics.f32(x)), queue)
      / temperature,
      kd_temperature,
    )
    for x in (student, teacher)
  ]
  return kd_temperature**2 * numerics.kl(logs[1], logs[0])


def _detached_unit(x):
  """x / (|x| + 1e-8); no gradient flows through the norm."""
  norm = jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))
  return x / (jax.lax.stop_gradient(norm) + 1e-8)
