"""Losses for detectors: pyramids of features, boxes, and heads on anchors."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kd_jax.losses import dense, geometry, logits, numerics

Array = numerics.Array


def pearson_pkd(
  student: Array, teacher: Array, *, resize_student: bool = True
) -> Array:
  """Pearson correlation of each channel, over the pixels of the whole batch.

  L = mean_c ((n - 1) / n) (1 - rho(F_s,c , F_t,c)), n = B H W: half the mean
  squared difference of channels that are standardized over B, H and W,
  (x - mean) / (std + 1e-6), std with n - 1. Row i is the share of example i.
  Invariant to a scale and a shift of each channel, so that features of other
  sizes and of other detectors compare. Couples the examples. No labels.

  Args:
    student: one level [B, H, W, C] of a pyramid, or any map; sum over levels.
    teacher: [B, H', W', C].
    resize_student: whether the student's map or, if False, the teacher's is
      resized to the other (bilinear, half-pixel centres).

  Returns:
    f32 [B], no unit; 0 at equality, and at most 2 in the mean. Weight 6 for
    two-stage detectors, 10 for one-stage ones.

  Raises:
    ValueError: sides that are no maps, or of other channels.

  Source: Cao et al. 2022, "PKD: General Distillation Framework for Object
    Detectors via Pearson Correlation Coefficient",
    https://arxiv.org/abs/2207.02039; n - 1 and 1e-6 as in mmrazor, whose code
    resizes only where the heights differ.
  """
  if resize_student:
    student, teacher = dense.places(student, teacher)
  else:
    teacher, student = dense.places(teacher, student)
  geometry.same(student, teacher)
  gap = _standardize(student) - _standardize(teacher)
  return geometry.mean(gap**2) / 2


def ld(
  student: Array,
  teacher: Array,
  *,
  temperature: float = 10.0,
  variant: str = 'code',
) -> Array:
  """Localization distillation: the distribution of each side of a box.

    'code' (default)  T^2 KL(p_t || p_s) / n, over the n bins of a side
    'sum'             T^2 KL(p_t || p_s)
  A box is four distributions over bins of distance (generalized focal loss).
  Which anchors count, and how much, is the detector's: the source weighs each
  by its largest class score and divides by 4 times the sum of the weights.

  Args:
    student: logits of the bins [..., 4, n].
    teacher: [..., 4, n].
    temperature: T.
    variant: 'code' or 'sum'.

  Returns:
    f32 [..., 4], in nats times T^2; 0 at equal logits. Weight 0.25.

  Raises:
    ValueError: an unknown variant.

  Source: Zheng et al. 2022, "Localization Distillation for Dense Object
    Detection", https://arxiv.org/abs/2102.12252. The authors' code
    takes the mean over the bins; CrossKD has both, with T = 1, weight 4 for
    'sum'.
  """
  numerics.need_variant(variant, ('code', 'sum'))
  value = logits.kd(student, teacher, temperature=temperature)
  return value / student.shape[-1] if variant == 'code' else value


def fgd(
  student: Array,
  teacher: Array,
  boxes: Array,
  contexts: Mapping[str, Mapping[str, Array]],
  *,
  image: tuple[int, int],
  valid: Array | None = None,
  temperature: float = 0.5,
  alpha: float = 1e-3,
  beta: float = 5e-4,
  gamma: float = 1e-3,
  lam: float = 5e-6,
) -> Array:
  """Focal and global distillation of one level of a detector's features.

  With d = (F_s - F_t)^2 S_t C_t, S and C the attention of `fgd_attention`, and
  fg, bg the masks of `fgd_masks`:
    L = alpha sum d fg + beta sum d bg
      + gamma (|S_s - S_t|_1 + |C_s - C_t|_1) + lam |G(F_s) - G(F_t)|^2
  G is `global_context` with the side's own weights, both of them trained. The
  student's attention has a gradient in the third part only. No part but the
  second is divided by an area: the weights belong to one size of map.

  Args:
    student: [B, H, W, C], already aligned to the teacher's channels.
    teacher: [B, H, W, C].
    boxes: f32 [B, n, 4], x0, y0, x1, y1 in pixels of the image.
    contexts: {'student': ..., 'teacher': ...}, weights of `global_context`.
    image: (height, width) of the image in pixels; static.
    valid: bool [B, n], which boxes are there and not padding; None: all.
    temperature: T of both attentions.
    alpha: weight of the foreground.
    beta: weight of the background.
    gamma: weight of the attentions.
    lam: weight of the global relations.

  Returns:
    f32 [B], 0 where the sides and their contexts agree. Weight 1. The
    defaults are those of anchor-free and one-stage detectors (RetinaNet and GFL
    have gamma 5e-4); two-stage ones have 5e-5, 2.5e-5, 5e-5 and 5e-7.

  Raises:
    ValueError: sides whose shapes differ.

  Source: Yang et al. 2022, "Focal and Global Knowledge Distillation for
    Detectors", https://arxiv.org/abs/2111.11837, by the
    authors' code, whose boxes reach up to two places further.
  """
  geometry.same(student, teacher)
  student, teacher = numerics.f32(student), numerics.f32(teacher)
  fore, back = fgd_masks(boxes, student.shape[1:3], image, valid)
  s_places, s_channels = fgd_attention(student, temperature)
  t_places, t_channels = fgd_attention(teacher, temperature)
  gap = (student - teacher) ** 2 * t_channels[:, None, None]
  gap = t_places * jnp.sum(gap, axis=-1)
  focal = geometry.total(gap * (alpha * fore + beta * back))
  attention = geometry.total(jnp.abs(s_places - t_places))
  attention += geometry.total(jnp.abs(s_channels - t_channels))
  ours = global_context(contexts['student'], student)
  theirs = global_context(contexts['teacher'], teacher)
  relation = geometry.total((ours - theirs) ** 2)
  return focal + gamma * attention + lam * relation


def fgd_attention(x: Array, temperature) -> tuple[Array, Array]:
  """Where and in which channels a map is active.

  S = H W softmax_p(mean_c |F| / T) and C = channels softmax_c(mean_p |F| / T).

  Args:
    x: F [B, H, W, C].
    temperature: T.

  Returns:
    S f32 [B, H, W] of mean 1, and C f32 [B, C] of mean 1.
  """
  size = jnp.abs(numerics.f32(x))
  places = jnp.mean(size, axis=-1)
  flat = places.reshape(places.shape[0], -1)
  channels = jnp.mean(size, axis=(1, 2))
  active = [
    row.shape[-1] * jnp.exp(numerics.log_probs(row, temperature))
    for row in (flat, channels)
  ]
  return active[0].reshape(places.shape), active[1]


def fgd_masks(
  boxes: Array,
  size: tuple[int, int],
  image: tuple[int, int],
  valid: Array | None = None,
) -> tuple[Array, Array]:
  """The weight of each place of a map in the foreground and the background.

  A box covers the places from the floor of its low to the ceiling of its high
  side, both included, and weighs each by 1 / (rows columns) of them, those
  beyond the map too; of several boxes the greatest counts. The places of no box
  share the background's weight, 1.

  Args:
    boxes: f32 [B, n, 4], x0, y0, x1, y1 in pixels of the image.
    size: (height, width) of the map.
    image: (height, width) of the image in pixels.
    valid: bool [B, n]; None: all.

  Returns:
    Two f32 [B, height, width].
  """
  if valid is None:
    valid = jnp.ones(boxes.shape[:2], bool)
  inside, areas = valid[..., None, None], 1.0
  for axis, (length, pixels) in enumerate(zip(size[::-1], image[::-1])):
    low = jnp.floor(boxes[..., axis] / pixels * length)[..., None]
    high = jnp.ceil(boxes[..., axis + 2] / pixels * length)[..., None]
    place = jnp.arange(length, dtype=boxes.dtype)[None, None]
    covered = (place >= low) & (place <= high)
    covered = covered[..., None, :] if axis == 0 else covered[..., None]
    inside, areas = inside & covered, areas * (high + 1 - low)
  weight = jnp.where(inside, 1 / areas[..., None], 0)
  fore = jnp.max(weight, axis=1, initial=0)
  back = (fore == 0).astype(fore.dtype)
  return fore, back / jnp.maximum(jnp.sum(back, (1, 2), keepdims=True), 1)


def global_context(weights: Mapping[str, Array], x: Array) -> Array:
  """A map plus a vector made of its attended mean: a global context block.

  F + W_2 relu(norm(W_1 c + b_1)) + b_2, c = sum_p softmax_p(w F + b) F, norm
  the layer norm over the vector.

  Args:
    weights: 'mask_kernel' w [C], 'mask_bias' b [1]; 'first_kernel' [C, C'],
      'first_bias' [C'], 'norm_scale' [C'], 'norm_bias' [C'], 'second_kernel'
      [C', C], 'second_bias' [C]. Zeros in the last two leave the map as it is.
    x: F [B, H, W, C].

  Returns:
    f32 [B, H, W, C].

  Source: Cao et al. 2019, "GCNet", https://arxiv.org/abs/1904.11492.
  """
  x = numerics.f32(x)
  flat = geometry.positions(x)
  scores = geometry.dot('bpc,c->bp', flat, weights['mask_kernel'])
  share = jnp.exp(numerics.log_probs(scores + weights['mask_bias'][None]))
  vector = geometry.dot('bp,bpc->bc', share, flat)
  vector = geometry.dot('bc,cd->bd', vector, weights['first_kernel'])
  vector = jax.nn.standardize(
    vector + weights['first_bias'][None], axis=-1, epsilon=1e-5
  )
  vector = vector * weights['norm_scale'][None] + weights['norm_bias'][None]
  vector = jax.nn.relu(vector)
  vector = geometry.dot('bd,dc->bc', vector, weights['second_kernel'])
  return x + (vector + weights['second_bias'][None])[:, None, None]


def _standardize(x):
  """[B, H, W, C] with mean 0 and deviation 1 in each channel.

  A channel that is constant but for rounding becomes 0 and passes no gradient,
  which would be of size 1e6.
  """
  axes = (0, 1, 2)
  mean = jnp.mean(x, axis=axes, keepdims=True)
  centered = x - mean
  freedom = max(x.size // x.shape[-1] - 1, 1)
  variance = jnp.sum(centered**2, axis=axes, keepdims=True) / freedom
  noise = 1e-6 + 8 * jnp.finfo(x.dtype).eps * jnp.abs(mean)
  live = variance > noise**2
  deviation = jnp.sqrt(jnp.where(live, variance, 1))
  return jnp.where(live, centered / (deviation + 1e-6), 0)
