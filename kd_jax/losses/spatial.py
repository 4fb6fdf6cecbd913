"""Resizes feature maps [B, H, W, C] to equal heights and widths."""

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.losses import geometry, numerics


def pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Adaptive average pooling to any height and width.

  Along an axis of length n, output i of m is the mean of the inputs from
  floor(i n / m) to ceil((i + 1) n / m), the end left out. These are the bins
  of PyTorch's adaptive_avg_pool2d: where m does not divide n they overlap.

  Args:
    x: [B, H, W, C].
    size: (height, width) of the result.

  Returns:
    [B, height, width, C] in the dtype of `x`; the sums are in f32 at least.
  """
  wide = numerics.f32(x)
  for axis, length in zip((1, 2), size):
    wide = _pool_axis(wide, axis, length)
  return wide.astype(x.dtype)


def max_pool(x: jax.Array, window: tuple[int, int]) -> jax.Array:
  """The largest value of each window; windows do not overlap.

  Places left over at the right and below are a smaller window (PyTorch's
  ceil_mode).

  Args:
    x: [B, H, W, C].
    window: (height, width) of a window.

  Returns:
    [B, ceil(H / height), ceil(W / width), C].
  """
  for axis, length in zip((1, 2), window):
    over = -x.shape[axis] % length
    if over:
      pads = [(0, over) if i == axis else (0, 0) for i in range(x.ndim)]
      x = jnp.pad(x, pads, constant_values=-jnp.inf)
    bins = (*x.shape[:axis], -1, length, *x.shape[axis + 1 :])
    x = jnp.max(x.reshape(bins), axis=axis + 1)
  return x


def upsample(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Nearest neighbor: output i of m takes the input floor(i n / m).

  Args:
    x: [B, H, W, C].
    size: (height, width) of the result.

  Returns:
    [B, height, width, C] in the dtype of `x`.
  """
  for axis, length in zip((1, 2), size):
    x = _repeat_axis(x, axis, length)
  return x


def bilinear(
  x: jax.Array, size: tuple[int, int], *, align_corners: bool = False
) -> jax.Array:
  """Bilinear interpolation to any height and width, without antialiasing.

  Along an axis of length n, output i of m lies at c of the input:
    c = (i + 1/2) n / m - 1/2      half-pixel centres (default)
    c = i (n - 1) / (m - 1)        corners on corners; 0 for m = 1
  held to [0, n - 1], and takes (1 - f) x[k] + f x[k + 1], k + f = c. These are
  PyTorch's `interpolate(mode='bilinear')` without and with `align_corners`.
  `jax.image.resize` has no corners on corners, and antialiases when it
  shrinks. Logits are resized, never probabilities or labels.

  Args:
    x: [B, H, W, C].
    size: (height, width) of the result.
    align_corners: corners on corners; SKD, IFVD, CIRKD and DIST resize so,
      mmsegmentation by half-pixel centres.

  Returns:
    [B, height, width, C] in the dtype of `x`; the sums are in f32 at least.
  """
  wide = numerics.f32(x)
  for axis, length in zip((1, 2), size):
    if x.shape[axis] != length:
      weights = _bilinear_weights(x.shape[axis], length, align_corners)
      wide = _weigh(wide, axis, weights)
  return wide.astype(x.dtype)


def at_labels(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Resizes a decoder's logits to label maps: bilinear, half-pixel centres.

  Args:
    logits: [B, h, w, K]; any other rank is left alone.
    labels: [B, H, W]; likewise.

  Returns:
    [B, H, W, K].
  """
  if logits.ndim != 4 or labels.ndim != 3:
    return logits
  return bilinear(logits, labels.shape[1:3])


def resize(x: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Shrinks an axis by `pool` and stretches it by `upsample`.

  Args:
    x: [B, H, W, C].
    size: (height, width) of the result.

  Returns:
    [B, height, width, C] in the dtype of `x`.
  """
  down = tuple(min(old, new) for old, new in zip(x.shape[1:3], size))
  return upsample(pool(x, down), size)


def align(student: jax.Array, teacher: jax.Array) -> tuple:
  """Pools the larger of two maps to the size of the smaller.

  Args:
    student: [B, H, W, C]; any other rank is left alone.
    teacher: [B, H', W', C'].

  Returns:
    Both, with height min(H, H') and width min(W, W').
  """
  if student.ndim != 4 or teacher.ndim != 4:
    return student, teacher
  size = tuple(map(min, student.shape[1:3], teacher.shape[1:3]))
  return pool(student, size), pool(teacher, size)


def attention(x: jax.Array, power: float) -> jax.Array:
  """Where a map is active: channel mean of a power, normalized over places.

  Q / |Q|_2 with Q = vec(mean_c F_c^p).

  Args:
    x: F, [B, ..., C].
    power: p.

  Returns:
    [B, P], rows of norm 1 (or 0, for a map of zeros).

  Raises:
    ValueError: for one place, as a vector has.
  """
  x = geometry.need_places(geometry.positions(geometry.power(x, power)))
  return geometry.unit(jnp.mean(x, axis=-1))


def _pool_axis(x, axis, length):
  old = x.shape[axis]
  if old == length:
    return x
  if old % length == 0:
    bins = (*x.shape[:axis], length, old // length, *x.shape[axis + 1 :])
    return jnp.mean(x.reshape(bins), axis=axis + 1)
  return _weigh(x, axis, _bins(old, length))


def _weigh(x, axis, weights: np.ndarray):
  """Sums along an axis by weights [new, old]."""
  spec = 'bhwc,oh->bowc' if axis == 1 else 'bhwc,ow->bhoc'
  return geometry.dot(spec, x, jnp.asarray(weights, x.dtype))


def _bins(old: int, new: int) -> np.ndarray:
  """[new, old] weights; each row is the mean over one bin."""
  start = np.arange(new) * old // new
  stop = -(-(np.arange(1, new + 1) * old) // new)
  place = np.arange(old)[None, :]
  inside = (place >= start[:, None]) & (place < stop[:, None])
  return inside / inside.sum(1, keepdims=True)


def _bilinear_weights(old: int, new: int, align_corners: bool) -> np.ndarray:
  """[new, old] weights of at most two neighbours a row."""
  if align_corners:
    centre = np.arange(new) * (old - 1) / max(new - 1, 1)
  else:
    centre = (np.arange(new) + 0.5) * old / new - 0.5
  centre = np.clip(centre, 0, old - 1)
  return np.maximum(0, 1 - abs(centre[:, None] - np.arange(old)[None, :]))


def window_sizes(old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
  """[height, width]: how many places each output of `pool` is the mean of."""
  rows, columns = ((_bins(n, m) > 0).sum(1) for n, m in zip(old, new))
  return rows[:, None] * columns[None, :]


def _repeat_axis(x, axis, length):
  old = x.shape[axis]
  if old == length:
    return x
  if length % old == 0:
    return jnp.repeat(x, length // old, axis=axis)
  return jnp.take(x, np.arange(length) * old // length, axis=axis)
