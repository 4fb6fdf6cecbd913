"""Wide residual networks: norm and ReLU before each convolution."""

import functools
from collections.abc import Callable

from flax import linen as nn

from kd_jax.models import base, layers


class Block(nn.Module):
  """norm-ReLU-conv twice; returns the sum, and the input after its norm."""

  width: int
  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    conv = functools.partial(layers.conv, dtype=dtype)
    norm = functools.partial(layers.batch_norm, train, dtype=dtype)
    normed = norm(name='bn1')(x)
    y = nn.relu(normed)
    if x.shape[-1] != self.width:
      # Only here does the shortcut branch off after the norm and the ReLU.
      x = conv(self.width, 1, self.stride, name='convShortcut')(y)
    y = conv(self.width, 3, self.stride, name='conv1')(y)
    y = nn.relu(norm(name='bn2')(y))
    return x + conv(self.width, 3, 1, name='conv2')(y), normed


class Stage(nn.Module):
  """`depth` blocks; returns the last sum and the first block's normed input."""

  depth: int
  width: int
  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    normed = []
    for j in range(self.depth):
      block = Block(
        self.width, self.stride if j == 0 else 1, self.dtype, name=f'layer_{j}'
      )
      x, before = block(x, train)
      normed.append(before)
    return x, normed[0]


class WideResNet(nn.Module):
  """Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146.

  Inputs [B, H, W, C]. Outputs: 'stage0' (the first convolution), 'stage1',
  'stage2', 'stage3' (the last sum of each stage, without norm and activation,
  as in the distillation literature), 'stage1_pre', ... (the same after the
  norm that follows, before its ReLU), 'stage0_pre' (equal
  to 'stage0'); 'final' [B, h, w, D] (ReLU of 'stage3_pre'), its mean over
  space 'pooled' [B, D], 'logits' [B, K].
  """

  depth: int
  width: int
  classes: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    x = layers.conv(16, dtype=dtype, name='conv1')(layers.cast(x, dtype))
    outputs = {'stage0_pre': x, 'stage0': x}
    for i in (1, 2, 3):
      stage = Stage(
        (self.depth - 4) // 6,
        2 ** (i + 3) * self.width,
        1 if i == 1 else 2,
        self.dtype,
        name=f'block{i}',
      )
      x, normed = stage(x, train)
      outputs[f'stage{i}'] = x
      if i > 1:
        outputs[f'stage{i - 1}_pre'] = normed
    x = layers.batch_norm(train, dtype=dtype, name='bn1')(x)
    outputs['stage3_pre'] = x
    return layers.classify(outputs, nn.relu(x), self.classes, dtype, 'fc')


def wrn(depth: int, width: int) -> Callable[..., base.Network]:
  """Maker of WRN-depth-width, depth 6n + 4."""

  def make(*, classes: int, dtype: str = 'float32') -> base.Network:
    layers.compute_dtype(dtype)
    module = WideResNet(depth, width, classes, dtype)
    return base.from_linen(module, head='fc')

  return make
