"""What makes images: a network of noise, or the images themselves.

A `Generator` is a pair of pure functions, as a `base.Network` is; it reads a
batch, and gives images as a network sees them: normalized, f32 [B, H, W, C].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import types
from kd_jax.models import convolution

CODES, IMAGES = 'codes', 'images'  # noise of a batch f32 [B, D]; a parameter


class Generator(NamedTuple):
  """What makes images.

  Attributes:
    init: (key, batch) -> variables; reads only shapes.
    apply: (variables, batch, *, rng, axis_name=None) -> (images, collections
      other than 'params').
    codes: D of the noise 'codes' that it reads; 0: it reads 'index'.
  """

  init: Callable[..., types.Variables]
  apply: Callable[..., tuple[jax.Array, types.PyTree]]
  codes: int = 0


class _Upsampler(nn.Module):
  """See `upsampler`."""

  shape: tuple[int, int, int]
  width: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, codes):
    h, w, channels = self.shape
    low = -(-h // 4), -(-w // 4)
    x = nn.Dense(2 * self.width * low[0] * low[1], use_bias=False)(codes)
    x = self._norm()(x.reshape(-1, *low, 2 * self.width))
    for features in (2 * self.width, self.width):
      x = convolution.conv(features, (3, 3), use_bias=False)(twice(x))
      # The source gives 0.8 where PyTorch's argument is epsilon.
      x = nn.leaky_relu(self._norm(epsilon=0.8)(x), 0.2)
    x = convolution.conv(channels, (3, 3))(x[:, :h, :w])
    return self._norm(use_scale=False, use_bias=False)(jnp.tanh(x))

  def _norm(self, epsilon=1e-5, **options):
    return nn.BatchNorm(
      use_running_average=False,
      momentum=0.9,
      epsilon=epsilon,
      axis_name=self.axis_name,
      **options,
    )


def upsampler(
  shape: tuple[int, int, int], codes: int = 100, width: int = 64
) -> Generator:
  """Noise -> images, by resizing twice to twice the size: DAFL's generator.

  dense [h, w, 2 width], norm; twice the size, convolution 2 width, norm, leaky
  ReLU; twice the size, convolution width, norm, leaky ReLU; convolution C,
  tanh, norm without scale and bias. So images have the mean 0 and the deviation
  1 in each channel over a batch, as those of a data set that is normalized.
  It computes with the statistics of its batch, over all devices.

  Args:
    shape: of an image, [H, W, C]; a side that is no multiple of 4 is cut.
    codes: D, numbers of noise.
    width: channels of the last but one map.

  Source: Chen et al. 2019, https://arxiv.org/abs/1904.01186; the layers are
    those of huawei-noah/Efficient-Computing 225ddd2, DAFL/DAFL-train.py,
    without the biases that a norm takes out again, which Adam would move by
    rounding errors; the initial weights are Linen's.
  """

  def init(key, batch):
    return dict(_Upsampler(shape, width).init(key, batch[CODES]))

  def apply(variables, batch, *, rng, axis_name=None):
    del rng
    module = _Upsampler(shape, width, axis_name)
    return module.apply(variables, batch[CODES], mutable=['batch_stats'])

  return Generator(init, apply, codes)


def table(
  shape: tuple[int, int, int], count: int, jitter: int = 0
) -> Generator:
  """The images themselves are the parameters, first noise: DeepInversion.

  Args:
    shape: of an image, [H, W, C].
    count: N; the batch's 'index' says which ones.
    jitter: at each step the images of a batch are rolled alike by as many
      pixels at most, along both sides.
  """

  def init(key, batch):
    del batch
    return {'params': {IMAGES: jax.random.normal(key, (count, *shape))}}

  def apply(variables, batch, *, rng, axis_name=None):
    del axis_name
    images = variables['params'][IMAGES][batch['index']]
    if jitter:
      by = jax.random.randint(rng, (2,), -jitter, jitter + 1)
      images = jnp.roll(images, by, (1, 2))
    return images, {}

  return Generator(init, apply)


def twice(x: jax.Array) -> jax.Array:
  """[B, H, W, C] -> [B, 2H, 2W, C], each pixel four times."""
  b, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
  return x.reshape(b, 2 * h, 2 * w, c)
