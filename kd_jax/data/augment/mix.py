"""Mixup and cutmix: mix pairs of images, and their labels accordingly.

An example's partner is its neighbor: places 2i and 2i+1 of a batch are a pair.
A batch is a random draw, so its pairs are random pairs. Shards of an even size
keep pairs together, so images are the same on any number of devices and none
are sent between devices. The official codes permute the whole batch instead.
A batch has one mixing ratio, as in the official codes, drawn from the key that
all devices share.
"""

import jax
import jax.numpy as jnp

from kd_jax import kinds, tasks, types
from kd_jax.data.augment import ops


def mixup(
  alpha: kinds.Positive = 1.0, probability: kinds.Share = 1.0, classes: int = 0
) -> ops.Step:
  """Blends each image and label with its partner's.

  x' = lambda x_i + (1 - lambda) x_j, y' likewise, lambda ~ Beta(alpha, alpha).

  Args:
    alpha: of the Beta distribution, > 0.
    probability: that a batch is mixed.
    classes: K, where labels are integers.

  Returns:
    A step; images become f32, labels f32 [B, K]. A label map of classes has no
    blend: the step is refused for it.

  Raises:
    ValueError: from the step, where a device has an odd number of examples.

  Source: H. Zhang, M. Cisse, Y. Dauphin, D. Lopez-Paz, mixup: Beyond Empirical
    Risk Minimization, 2018, https://arxiv.org/abs/1710.09412, equation 2.
  """

  def step(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del keys
    first, second = jax.random.split(key)
    ratio = _ratio(first, second, alpha, probability)
    images = ops.unit(batch['inputs'])
    labels = soft(batch['labels'], classes)
    return {
      **batch,
      **_labelled(batch),
      'inputs': _blend(ratio, images, partner(images)),
      'labels': _blend(ratio, labels, partner(labels)),
    }

  return ops.Step(step, ops.IMAGE)


def cutmix(
  alpha: kinds.Positive = 1.0, probability: kinds.Share = 1.0, classes: int = 0
) -> ops.Step:
  """Pastes a box of the partner's image; the labels are mixed by area.

  Of label maps the same box is pasted.

  The box has sqrt(1 - lambda) of the height and of the width, lambda ~
  Beta(alpha, alpha). Its center is uniform, and it is clipped to the image; the
  labels are weighted by the area that it covers then.

  Args and Returns: as for `mixup`, but images keep their type.

  Source: S. Yun et al., CutMix: Regularization Strategy to Train Strong
    Classifiers with Localizable Features, 2019,
    https://arxiv.org/abs/1905.04899, equations 1 and 2.
  """

  def step(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del keys
    first, second, third = jax.random.split(key, 3)
    ratio = _ratio(first, third, alpha, probability)
    images = batch['inputs']
    size = jnp.array(images.shape[1:3])
    center = jax.random.randint(second, (2,), 0, size)
    half = (size * jnp.sqrt(1 - ratio)).astype(jnp.int32) // 2
    box = ops.box(center - half, center + half, images.shape[1:])
    if ops.has_maps(batch):
      return {**batch, **_labelled(batch), **_paste(box, batch)}
    labels = soft(batch['labels'], classes)
    return {
      **batch,
      **_labelled(batch),
      'inputs': jnp.where(box[None], partner(images), images),
      'labels': _blend(1 - box.mean(), labels, partner(labels)),
    }

  return ops.Step(step, ops.BOTH)


def _paste(box: jax.Array, batch: types.Batch) -> dict[str, jax.Array]:
  """All that has pixels, with those of the partner within a box [H, W, 1]."""
  images, maps = ops.parts(batch)
  pasted = {
    n: jnp.where(box[None], partner(batch[n]), batch[n]) for n in images
  }
  for name in maps:
    x = batch[name]
    pasted[name] = jnp.where(box[None, ..., 0], partner(x), x)
  return pasted


def _labelled(batch: types.Batch) -> dict[str, jax.Array]:
  """Which mixed examples have a label, where not all do: those of two."""
  if 'labelled' not in batch:
    return {}
  return {'labelled': batch['labelled'] * partner(batch['labelled'])}


def partner(values: jax.Array) -> jax.Array:
  """Swaps neighbors: the values at places 2i and 2i+1."""
  size = values.shape[0]
  if size % 2:
    raise ValueError(
      f'mixing pairs of images in a batch of {size} per device; legal: an '
      'even number'
    )
  pairs = values.reshape(size // 2, 2, *values.shape[1:])
  return pairs[:, ::-1].reshape(values.shape)


def soft(labels: jax.Array, classes: int) -> jax.Array:
  """Labels as probabilities f32 [B, K], which they may already be."""
  if tasks.is_soft(labels):
    return labels.astype(jnp.float32)
  if not classes:
    raise ValueError('mixing integer labels needs the number of classes')
  return jax.nn.one_hot(labels, classes)


def _ratio(draw, toss, alpha: float, probability: float) -> jax.Array:
  """lambda with a probability, else 1, which leaves the partner out."""
  if alpha == 1:
    # Beta(1, 1) is uniform; this saves five seconds of compilation.
    ratio = jax.random.uniform(draw)
  else:
    ratio = jax.random.beta(draw, alpha, alpha)
  return jnp.where(jax.random.bernoulli(toss, probability), ratio, 1.0)


def _blend(ratio: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
  return ratio * first + (1 - ratio) * second
