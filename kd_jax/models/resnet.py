"""Residual networks: CIFAR's (8 to 110, 8x4, 32x4, 18, 50) and ImageNet's."""

import functools
from collections.abc import Callable

from flax import linen as nn

from kd_jax.models import base, layers

# depth -> blocks of each of the four stages, and whether they are bottlenecks.
_FOUR_STAGES = {
  18: ((2, 2, 2, 2), False),
  34: ((3, 4, 6, 3), False),
  50: ((3, 4, 6, 3), True),
  101: ((3, 4, 23, 3), True),
}


class Block(nn.Module):
  """Two 3x3 convolutions, or 1x1-3x3-1x1; returns the sum before its ReLU."""

  width: int
  stride: int
  bottleneck: bool
  shortcut: str
  dtype: str
  dilations: tuple[int, int] = (1, 1)  # of 3x3s, to the stride's and after

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    conv = functools.partial(layers.conv, dtype=dtype)
    norm = functools.partial(layers.batch_norm, train, dtype=dtype)
    out = self.width * (4 if self.bottleneck else 1)
    if self.bottleneck:
      plan = ((self.width, 1, 1), (self.width, 3, self.stride), (out, 1, 1))
    else:
      plan = ((self.width, 3, self.stride), (self.width, 3, 1))
    dilations, y = iter(self.dilations), x
    for i, (features, size, stride) in enumerate(plan, 1):
      dilation = next(dilations) if size == 3 else 1
      y = conv(features, size, stride, dilation=dilation, name=f'conv{i}')(y)
      y = norm(name=f'bn{i}')(y)
      y = nn.relu(y) if i < len(plan) else y
    if self.stride != 1 or x.shape[-1] != out:
      x = conv(out, 1, self.stride, name=f'{self.shortcut}_0')(x)
      x = norm(name=f'{self.shortcut}_1')(x)
    return x + y


class ResNet(nn.Module):
  """He et al. 2015, https://arxiv.org/abs/1512.03385, as PyTorch writes it.

  Inputs [B, H, W, C]. Outputs: 'stage0' (the first convolution) and 'stage1',
  ... (each stage) after ReLU, 'stage0_pre', ... before; 'final' [B, h, w, D]
  (the last stage) and its mean over space 'pooled' [B, D], the classifier's
  input; 'logits' [B, K].
  The stride of a bottleneck is in its 3x3 convolution. With `imagenet` the
  first convolution is 7x7 at stride 2, and a max pool follows 'stage0'.
  Stages past the `output_stride` are dilated in place of their stride, so that
  each convolution reads what it would read with the stride. It is torchvision's
  rule for bottlenecks; basic blocks are dilated by other rules elsewhere.
  With `classes=0` it is a trunk: the outputs end with the last stage.
  """

  depths: tuple[int, ...]
  widths: tuple[int, ...]
  classes: int
  bottleneck: bool = False
  imagenet: bool = False
  shortcut: str = 'downsample'
  head: str = 'fc'
  dtype: str = 'float32'
  output_stride: int = 32

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    size, stride = (7, 2) if self.imagenet else (3, 1)
    x = layers.cast(x, dtype)
    x = layers.conv(self.widths[0], size, stride, dtype=dtype, name='conv1')(x)
    x = layers.batch_norm(train, dtype=dtype, name='bn1')(x)
    outputs = {'stage0_pre': x}
    x = outputs['stage0'] = nn.relu(x)
    if self.imagenet:
      x = layers.max_pool_3_2(x)
    reached, dilation = 4 if self.imagenet else 1, 1
    for i, depth in enumerate(self.depths, 1):
      before, stride = dilation, 1 if i == 1 else 2
      if reached * stride > self.output_stride:
        stride, dilation = 1, dilation * stride
      reached *= stride
      for j in range(depth):
        pre = Block(
          self.widths[i],
          1 if j else stride,
          self.bottleneck,
          self.shortcut,
          self.dtype,
          (dilation if j else before, dilation),
          name=f'layer{i}_{j}',
        )(x, train)
        x = nn.relu(pre)
      outputs |= {f'stage{i}_pre': pre, f'stage{i}': x}
    if not self.classes:
      return outputs
    return layers.classify(outputs, x, self.classes, dtype, self.head)


def cifar(depth: int, width: int = 1) -> Callable[..., base.Network]:
  """Maker of a CIFAR ResNet of this depth (6n + 2), three stages.

  Widths are 16, 16, 32, 64, or with `width=4` ('resnet8x4', 'resnet32x4')
  32, 64, 128, 256, as in Tian, Krishnan, Isola 2020,
  https://arxiv.org/abs/1910.10699.
  """
  blocks = (depth - 2) // 6
  widths = (
    (16, 16, 32, 64)
    if width == 1
    else tuple(width * w for w in (8, 16, 32, 64))
  )

  def make(*, classes: int, dtype: str = 'float32') -> base.Network:
    layers.compute_dtype(dtype)
    module = ResNet((blocks,) * 3, widths, classes, dtype=dtype)
    return base.from_linen(module, head='fc')

  return make


def cifar_wide(depth: int) -> Callable[..., base.Network]:
  """Maker of ImageNet's ResNet for CIFAR: 3x3 stem, no max pool."""

  def make(*, classes: int, dtype: str = 'float32') -> base.Network:
    layers.compute_dtype(dtype)
    module = _four_stages(
      depth, classes, shortcut='shortcut', head='linear', dtype=dtype
    )
    return base.from_linen(module, head='linear')

  return make


def imagenet(depth: int) -> Callable[..., base.Network]:
  """Maker of the ImageNet ResNet of this depth, as in torchvision."""

  def make(*, classes: int, dtype: str = 'float32') -> base.Network:
    layers.compute_dtype(dtype)
    module = _four_stages(depth, classes, imagenet=True, dtype=dtype)
    return base.from_linen(module, head='fc')

  return make


def trunk(depth: int, output_stride: int, dtype: str, name: str) -> ResNet:
  """The module of an ImageNet ResNet without its classifier."""
  return _four_stages(
    depth, 0, imagenet=True, output_stride=output_stride, dtype=dtype, name=name
  )


def _four_stages(depth, classes, **options):
  depths, bottleneck = _FOUR_STAGES[depth]
  widths = (64, 64, 128, 256, 512)
  return ResNet(depths, widths, classes, bottleneck, **options)
