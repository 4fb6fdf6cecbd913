"""Losses of images that are made out of a teacher, without its data.

A generator (DAFL) or the images themselves (DeepInversion) learn by them. Each
returns f32 [B], whose mean is the scalar of the source; what a batch has as a
whole, such as an entropy of its classes, is in each of the B places.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics

ENTROPIES = ('code', 'paper', 'nats')
ACTIVATIONS = ('code', 'paper')
VARIATIONS = ('l2', 'l1')
NORMS = ('image', 'batch')


def one_hot(logits: jax.Array) -> jax.Array:
  """Cross-entropy of the teacher with the class that it finds likeliest.

  -log max_k p_k, p = softmax(z): small where the teacher is sure of an image.

  Args:
    logits: the teacher's [B, K].

  Returns:
    f32 [B], nats.

  Source: Chen et al. 2019, "Data-Free Learning of Student Networks" (DAFL),
    section 3.2, https://arxiv.org/abs/1904.01186.
  """
  log_p = numerics.log_probs(logits)
  likeliest = log_p.argmax(-1, keepdims=True)
  return -jnp.take_along_axis(log_p, likeliest, -1)[..., 0]


def activation(features: jax.Array, *, variant: str = 'code') -> jax.Array:
  """Minus the size of the teacher's features: real images excite them.

  Args:
    features: [B, ...], the input of the teacher's classifier.
    variant: 'paper' is minus the sum of |f| of an example (the l1 norm); 'code'
      minus its mean, which makes the weight independent of the width.

  Returns:
    f32 [B], units of the feature.

  Raises:
    ValueError: for another variant.

  Source: Chen et al. 2019, section 3.2, https://arxiv.org/abs/1904.01186; the
    code is huawei-noah/Efficient-Computing 225ddd2, DAFL/DAFL-train.py.
  """
  numerics.need_variant(variant, ACTIVATIONS)
  sizes = jnp.abs(numerics.f32(features)).reshape(features.shape[0], -1)
  return -(sizes.mean(-1) if variant == 'code' else sizes.sum(-1))


def information_entropy(
  logits: jax.Array, *, variant: str = 'code'
) -> jax.Array:
  """Minus the entropy of the mean of a batch's predictions.

  sum_k q_k log q_k, q = mean over the batch of softmax(z): least where all
  classes are made alike.

  Args:
    logits: the teacher's [B, K].
    variant: 'code' has the logarithm to base 10; 'paper' the natural one, and
      the sum divided by K; 'nats' the natural one alone, as zju-vipa/CMI.

  Returns:
    f32 [B], the same number in each place.

  Raises:
    ValueError: for another variant.

  Source: Chen et al. 2019, section 3.2, https://arxiv.org/abs/1904.01186; the
    code is huawei-noah/Efficient-Computing 225ddd2, DAFL/DAFL-train.py.
  """
  numerics.need_variant(variant, ENTROPIES)
  log_p = numerics.log_probs(logits)
  log_q = jax.nn.logsumexp(log_p, 0) - jnp.log(logits.shape[0])
  scale = {'code': jnp.log(10.0), 'paper': logits.shape[-1], 'nats': 1.0}
  value = numerics.weighted(jnp.exp(log_q), log_q) / scale[variant]
  return _everywhere(value, logits)


def total_variation(images: jax.Array, *, variant: str = 'l2') -> jax.Array:
  """How much neighboring pixels differ, in four directions.

  Args:
    images: [B, H, W, C].
    variant: 'l2': the sum over right, lower, lower left and lower right
      neighbors of the norm of all differences of the batch (so that it grows
      as the root of B); 'l1': of their mean absolute values.

  Returns:
    f32 [B], the same number in each place, in units of the pixels.

  Raises:
    ValueError: for another variant.

  Source: Yin et al. 2020, "Dreaming to Distill: Data-free Knowledge Transfer
    via DeepInversion", section 3.2, https://arxiv.org/abs/1912.08795; both
    variants are NVlabs/DeepInversion 2413af1, `get_image_prior_losses`. Its
    program for CIFAR-10 takes 'l2'.
  """
  numerics.need_variant(variant, VARIATIONS)
  x = numerics.f32(images)
  differences = (
    x[:, :, :-1] - x[:, :, 1:],
    x[:, :-1] - x[:, 1:],
    x[:, 1:, :-1] - x[:, :-1, 1:],
    x[:, :-1, :-1] - x[:, 1:, 1:],
  )
  size = _norm if variant == 'l2' else lambda d: jnp.abs(d).mean()
  return _everywhere(sum(size(d) for d in differences), images)


def image_norm(images: jax.Array, *, variant: str = 'image') -> jax.Array:
  """The l2 norm of images.

  Args:
    images: [B, H, W, C].
    variant: 'image': of each; 'batch': of all of them together.

  Returns:
    f32 [B], units of the pixels.

  Raises:
    ValueError: for another variant.

  Source: Yin et al. 2020, R_l2, section 3.2, https://arxiv.org/abs/1912.08795.
    NVlabs/DeepInversion 2413af1 has 'image' for ImageNet, 'batch' for CIFAR-10.
  """
  numerics.need_variant(variant, NORMS)
  x = numerics.f32(images)
  if variant == 'batch':
    return _everywhere(_norm(x), images)
  return numerics.root((x**2).reshape(x.shape[0], -1).sum(-1))


def batch_norm(
  moments: Mapping[str, Mapping[str, jax.Array]], *, first: float = 1.0
) -> jax.Array:
  """How far the inputs of the batch norms are from those in training.

  sum_l |mean_l - running mean_l| + |var_l - running var_l|, l2 norms over the
  channels of mean and biased variance, over batch and space.

  Args:
    moments: {layer, in order of the forward pass: {'mean', 'square', 'var'}},
      f32 [B, C] each, as `models.batch_norms` reads them: for each example the
      mean over space of x - running mean, and of its square; and the running
      variance, in each of the B places.
    first: the factor of the first layer, 10 for ImageNet in the source.

  Returns:
    f32 [B], the same number in each place.

  Source: Yin et al. 2020, R_feature, section 3.2, https://arxiv.org/abs/1912.08795;
    NVlabs/DeepInversion 2413af1, `DeepInversionFeatureHook`.
  """
  total = 0.0
  for number, layer in enumerate(moments.values()):
    shift = layer['mean'].mean(0)
    variance = layer['square'].mean(0) - shift**2
    apart = _norm(shift) + _norm(variance - layer['var'][0])
    total += apart if number else first * apart
  return _everywhere(total, next(iter(moments.values()))['mean'])


def _norm(x: jax.Array) -> jax.Array:
  """The l2 norm of all elements, with gradient 0 at 0."""
  return numerics.root((x**2).sum())


def _everywhere(value: jax.Array, like: jax.Array) -> jax.Array:
  """A number of a batch, in the place of each example of `like` [B, ...]."""
  return jnp.broadcast_to(value, like.shape[:1])
