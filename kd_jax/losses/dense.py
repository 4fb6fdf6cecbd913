"""Losses on maps of predictions: one class, and one label, for every pixel.

Pixel-wise distillation itself is `logits.kd`, which takes [B, H, W, K] as it
takes [B, K]; DIST is `multilevel.dist`. Relations between pixels are in
`pixel_relations.py`, what detectors alone have in `detection.py`.
"""

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, logits, numerics, spatial

Array = numerics.Array


def cwd(student: Array, teacher: Array, *, temperature: float = 4.0) -> Array:
  """Channel-wise distillation: where in the image a channel is active.

  L = T^2 mean_c KL(phi_t,c || phi_s,c), phi_c = softmax over the P places of
  channel c at T, the KL summed over places. On logits a channel is a class.
  The softmax is not local: another crop gives other values, and pixels without
  a label take part. A constant added to a channel does not count. The student
  is resized to the teacher's places (bilinear, half-pixel centres).

  Args:
    student: logits or a feature [B, H, W, C].
    teacher: [B, H', W', C].
    temperature: T.

  Returns:
    f32 [B], in nats times T^2; 0 at equality.

  Raises:
    ValueError: the sides are no maps, of one place, or of other channels.

  Source: Shu et al. 2021, "Channel-wise Knowledge Distillation for Dense
    Prediction", https://arxiv.org/abs/2011.13256. T = 4 with weight
    3 on logits and 50 on features as in CIRKD; mmrazor has T = 1 and weight 5.
    The authors' code takes log(softmax), which is infinite for large values;
    CIRKD's divides by the student's channels before the 1x1 convolution, so it
    is C_t / C_s times ours.
  """
  student, teacher = places(student, teacher)
  geometry.same(student, teacher)
  rows = (
    jnp.swapaxes(geometry.need_places(geometry.positions(x)), 1, 2)
    for x in (student, teacher)
  )
  return geometry.mean(logits.kd(*rows, temperature=temperature))


def ifvd(
  student: Array, teacher: Array, labels: Array, *, classes: int
) -> Array:
  """Intra-class feature variation: how near each pixel is to its class's mean.

  M(p) = cos(F(p), mean of F over the pixels of p's class in the same image);
  L = mean over all pixels of (M_s - M_t)^2. A pixel without a class stands
  alone: cosine 1 on both sides, a zero in the mean. Channels may differ; the
  student is resized to the teacher's places (bilinear). The gradient flows
  through the means too. Built is [B, P, classes].

  Args:
    student: a feature [B, H, W, C].
    teacher: [B, H', W', C'].
    labels: indices i32 [B, h, w] of any size; one that names no class, such as
      -100, is void. They reach the places by floor(i h / H'), the upper left.
    classes: K; static.

  Returns:
    f32 [B], no unit; 0 at equality. Invariant to the scale of either side.
    Weight 200 (20 in CIRKD).

  Raises:
    ValueError: the sides or labels are no maps.

  Source: Wang et al. 2020, "Intra-class Feature Variation Distillation for
    Semantic Segmentation", ECCV, by the authors' code,
    https://github.com/YukangWang/IFVD: void pixels, 1e-6 beside the count and
    1e-8 as least norm are its own.
  """
  student, teacher = places(student, teacher)
  if labels.ndim != 3:
    raise ValueError(f'labels of pixels are [B, H, W], not {labels.shape}')
  grid = spatial.upsample(labels[..., None], teacher.shape[1:3])
  grid = grid.reshape(grid.shape[0], -1)
  member = grid[..., None] == jnp.arange(classes)[None, None]
  member = member.astype(student.dtype)
  gap = _to_class(student, member) - _to_class(teacher, member)
  return geometry.mean(gap**2)


def boundary_kd(
  student: Array,
  teacher: Array,
  labels: Array,
  *,
  temperature: float = 1.0,
  edge_weight: float = 10.0,
  body_weight: float = 1.0,
  width: int = 1,
) -> Array:
  """Pixel-wise distillation that counts more where classes meet.

  L = w T^2 KL(p_t || p_s) at every pixel; w is `edge_weight` on the band of
  `boundary` and `body_weight` elsewhere. It is not divided by the mean of w.

  Args:
    student: logits z_s [B, H, W, K].
    teacher: logits z_t [B, H, W, K].
    labels: indices i32 [B, H, W]; a negative one is void.
    temperature: T.
    edge_weight: of pixels on the band.
    body_weight: of the others.
    width: of the band, see `boundary`; static.

  Returns:
    f32 [B, H, W], in nats times T^2; 0 at equal logits.

  Raises:
    ValueError: labels of another size than the logits.

  Source: the band of Liu et al. 2024, "BPKD: Boundary Privileged Knowledge
    Distillation", https://arxiv.org/abs/2306.08075, whose training code is not
    published: it splits edge and body by class; ours weighs pixels. The
    weights are ours.
  """
  if labels.shape != student.shape[:-1]:
    raise ValueError(
      f'labels {labels.shape} and logits {student.shape} differ in size'
    )
  value = logits.kd(student, teacher, temperature=temperature)
  return value * jnp.where(boundary(labels, width), edge_weight, body_weight)


def boundary(labels: Array, width: int = 1) -> Array:
  """Which pixels are near another class: dilation and erosion differ there.

  A pixel is on the band where the square of 2 `width` + 1 pixels around it
  holds two classes. Void belongs to no class and is never on the band.

  Args:
    labels: indices i32 [B, H, W]; a negative one is void.
    width: pixels of the band on either side of an edge; static.

  Returns:
    bool [B, H, W].
  """
  void = labels < 0
  limits = jnp.iinfo(labels.dtype)
  window = (1, 2 * width + 1, 2 * width + 1)

  def reach(values, start, reduce):
    return jax.lax.reduce_window(
      values, values.dtype.type(start), reduce, window, (1, 1, 1), 'SAME'
    )

  most = reach(jnp.where(void, limits.min, labels), limits.min, jax.lax.max)
  least = reach(jnp.where(void, limits.max, labels), limits.max, jax.lax.min)
  return (most > least) & ~void


def places(student: Array, teacher: Array) -> tuple[Array, Array]:
  """Two maps f32 [B, H', W', C]; the student's at the teacher's places.

  Raises:
    ValueError: a side that is no map.
  """
  for side, x in (('student', student), ('teacher', teacher)):
    if x.ndim != 4:
      raise ValueError(f'the {side} must be a map [B, H, W, C], not {x.shape}')
  student, teacher = numerics.f32(student), numerics.f32(teacher)
  return spatial.bilinear(student, teacher.shape[1:3]), teacher


def _to_class(x, member):
  """[B, P]: cosine of each place with the mean of its class; void has 1."""
  x = geometry.positions(x)
  counts = jnp.sum(member, axis=1)[..., None]
  means = geometry.dot('bpk,bpc->bkc', member, x) / (counts + 1e-6)
  centre = geometry.dot('bpk,bkc->bpc', member, means)
  cosine = jnp.sum(x * centre, axis=-1)
  for y in (x, centre):
    norm = numerics.root(jnp.sum(y * y, axis=-1))
    cosine = cosine / jnp.maximum(norm, 1e-8)
  return jnp.where(jnp.any(member > 0, axis=-1), cosine, 1)
