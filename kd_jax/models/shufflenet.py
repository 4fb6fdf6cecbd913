"""ShuffleNets for CIFAR: V1 with three groups, V2 at width 1."""

import functools

import jax.numpy as jnp
from flax import linen as nn

from kd_jax.models import base, layers

_V1 = ((240, 4), (480, 8), (960, 4))
_V2 = ((116, 4), (232, 8), (464, 4))


def shuffle(x, groups):
  """Interleaves the channels of `groups` groups of [B, H, W, C]."""
  *space, channels = x.shape
  x = x.reshape(*space, groups, channels // groups)
  return x.swapaxes(-1, -2).reshape(*space, channels)


class UnitV1(nn.Module):
  """Grouped 1x1, shuffle, 3x3 depthwise, grouped 1x1; without its last ReLU.

  At stride 2 the mean-pooled input is concatenated after the new channels;
  otherwise the input is added.
  """

  width: int
  stride: int
  groups: int
  first_groups: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    conv = functools.partial(layers.conv, dtype=dtype)
    norm = functools.partial(layers.batch_norm, train, dtype=dtype)
    mid = self.width // 4
    y = conv(mid, 1, groups=self.first_groups, name='conv1')(x)
    y = shuffle(nn.relu(norm(name='bn1')(y)), self.first_groups)
    y = conv(mid, 3, self.stride, groups=mid, name='conv2')(y)
    y = nn.relu(norm(name='bn2')(y))
    y = conv(self.width, 1, groups=self.groups, name='conv3')(y)
    y = norm(name='bn3')(y)
    if self.stride == 1:
      return x + y
    x = nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    return jnp.concatenate([y, x], -1)


class ShuffleNetV1(nn.Module):
  """Zhang et al. 2017, https://arxiv.org/abs/1707.01083, for CIFAR.

  Inputs [B, H, W, C]. Outputs: 'stage0' (the first convolution), 'stage1',
  'stage2', 'stage3' after ReLU and 'stage0_pre', ... before; 'final'
  ('stage3'), its mean over space 'pooled' [B, 960], 'logits' [B, K].
  """

  classes: int
  groups: int = 3
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    pre = layers.conv(24, 1, dtype=dtype, name='conv1')(layers.cast(x, dtype))
    pre = layers.batch_norm(train, dtype=dtype, name='bn1')(pre)
    x = nn.relu(pre)
    outputs = {'stage0_pre': pre, 'stage0': x}
    for i, (width, count) in enumerate(_V1, 1):
      for j in range(count):
        new = width - x.shape[-1] if j == 0 else width
        pre = UnitV1(
          new,
          2 if j == 0 else 1,
          self.groups,
          1 if i == 1 and j == 0 else self.groups,
          self.dtype,
          name=f'layer{i}_{j}',
        )(x, train)
        x = nn.relu(pre)
      outputs |= {f'stage{i}_pre': pre, f'stage{i}': x}
    return layers.classify(outputs, x, self.classes, dtype, 'linear')


class UnitV2(nn.Module):
  """Convolves half of the channels, keeps the others, then shuffles all.

  With `down` all channels go through both branches, each at stride 2.
  Returns the unit's output after its last ReLU and before it.
  """

  width: int
  down: bool
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)

    def step(x, index, size=1, stride=1, per_channel=False):
      features = x.shape[-1] if per_channel else self.width // 2
      x = layers.conv(
        features,
        size,
        stride,
        groups=features if per_channel else 1,
        dtype=dtype,
        name=f'conv{index}',
      )(x)
      return layers.batch_norm(train, dtype=dtype, name=f'bn{index}')(x)

    if self.down:
      left_pre = step(step(x, 1, 3, 2, True), 2)
      left, right, at, stride = nn.relu(left_pre), x, 3, 2
    else:
      left, right = jnp.split(x, 2, -1)
      left_pre, at, stride = left, 1, 1
    right = nn.relu(step(right, at))
    right = step(right, at + 1, 3, stride, True)
    right_pre = step(right, at + 2)
    pre = jnp.concatenate([left_pre, right_pre], -1)
    out = jnp.concatenate([left, nn.relu(right_pre)], -1)
    return shuffle(out, 2), shuffle(pre, 2)


class ShuffleNetV2(nn.Module):
  """Ma et al. 2018, https://arxiv.org/abs/1807.11164, for CIFAR.

  Inputs [B, H, W, C]. Outputs: 'stage0' (the first convolution), 'stage1',
  'stage2', 'stage3' after ReLU and 'stage0_pre', ... before (also shuffled);
  'final' [B, h, w, 1024] and 'final_pre' (the last 1x1 convolution), its mean
  over space 'pooled' [B, 1024], 'logits' [B, K].
  """

  classes: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    x = layers.conv(24, 1, dtype=dtype, name='conv1')(layers.cast(x, dtype))
    x = layers.batch_norm(train, dtype=dtype, name='bn1')(x)
    outputs = {'stage0_pre': x}
    x = outputs['stage0'] = nn.relu(x)
    for i, (width, count) in enumerate(_V2, 1):
      for j in range(count):
        unit = UnitV2(width, j == 0, self.dtype, name=f'layer{i}_{j}')
        x, pre = unit(x, train)
      outputs |= {f'stage{i}_pre': pre, f'stage{i}': x}
    x = layers.conv(1024, 1, dtype=dtype, name='conv2')(x)
    x = layers.batch_norm(train, dtype=dtype, name='bn2')(x)
    outputs['final_pre'] = x
    return layers.classify(outputs, nn.relu(x), self.classes, dtype, 'linear')


def shufflenet_v1(*, classes: int, dtype: str = 'float32') -> base.Network:
  """ShuffleNetV1 with three groups, for CIFAR."""
  layers.compute_dtype(dtype)
  module = ShuffleNetV1(classes, dtype=dtype)
  return base.from_linen(module, head='linear')


def shufflenet_v2(*, classes: int, dtype: str = 'float32') -> base.Network:
  """ShuffleNetV2 at width 1, for CIFAR."""
  layers.compute_dtype(dtype)
  return base.from_linen(ShuffleNetV2(classes, dtype), head='linear')
