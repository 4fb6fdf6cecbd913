"""DeepLabV3 and PSPNet on ImageNet's ResNets, with an auxiliary classifier."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from kd_jax.losses import spatial
from kd_jax.models import base, layers, resnet


class Aspp(nn.Module):
  """Atrous spatial pyramid pooling: convolutions of several rates, side by
  side with one of each pixel and one of the mean of the image."""

  rates: tuple[int, ...]
  width: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    unit = functools.partial(layers.unit, train=train, dtype=dtype)
    parts = [unit(x, self.width, 1, name='convs_0')]
    for i, rate in enumerate(self.rates, 1):
      parts.append(unit(x, self.width, dilation=rate, name=f'convs_{i}'))
    last = f'convs_{len(self.rates) + 1}'  # its entry 0 is the pooling
    mean = unit(spatial.pool(x, (1, 1)), self.width, 1, name=last, first=1)
    parts.append(jnp.broadcast_to(mean, parts[0].shape))
    x = unit(jnp.concatenate(parts, -1), self.width, 1, name='project')
    return nn.Dropout(0.5, deterministic=not train)(x)


class DeepLabHead(nn.Module):
  """Aspp, a convolution and the classifier."""

  rates: tuple[int, ...]
  width: int
  classes: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    aspp = Aspp(self.rates, self.width, self.dtype, name='0')(x, train)
    x = layers.conv(self.width, dtype=dtype, name='1')(aspp)
    x = nn.relu(layers.batch_norm(train, dtype=dtype, name='2')(x))
    return layers.classify_pixels({'aspp': aspp}, x, self.classes, dtype, '4')


class PyramidHead(nn.Module):
  """The map beside its means over grids of several sizes; then a convolution
  and the classifier."""

  bins: tuple[int, ...]
  width: int
  classes: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    unit = functools.partial(layers.unit, train=train, dtype=dtype)
    parts, narrow = [x], x.shape[-1] // len(self.bins)
    for i, count in enumerate(self.bins):
      mean = unit(spatial.pool(x, (count, count)), narrow, 1, name=f'bins_{i}')
      parts.append(spatial.bilinear(mean, x.shape[1:3], align_corners=True))
    pyramid = jnp.concatenate(parts, -1)
    x = unit(pyramid, self.width, name='last')
    x = nn.Dropout(0.1, deterministic=not train)(x)
    outputs = {'pyramid': pyramid}
    return layers.classify_pixels(outputs, x, self.classes, dtype, '4')


class FcnHead(nn.Module):
  """A convolution to a quarter of the width and a classifier: [B, h, w, K]."""

  classes: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    x = layers.conv(x.shape[-1] // 4, dtype=dtype, name='0')(x)
    x = nn.relu(layers.batch_norm(train, dtype=dtype, name='1')(x))
    x = nn.Dropout(0.1, deterministic=not train)(x)
    return layers.conv(self.classes, 1, bias=True, dtype=dtype, name='4')(x)


class OnResNet(nn.Module):
  """A head for pixels on a ResNet of output stride 8.

  Inputs [B, H, W, C]. Outputs at 1/8 of H and W (rounded up): 'stage2',
  'stage3', 'stage4' of the ResNet and 'aspp' or 'pyramid' of the head; 'final'
  [B, h, w, D], the classifier's input; 'logits' [B, h, w, K]; with `auxiliary`,
  'logits_aux' of a classifier on 'stage3', whose loss is weighted by 0.4 where
  these networks were published. Before them 'stage0' at 1/2 and 'stage1' at
  1/4. 'stage0_pre', ... are the stages before ReLU.
  """

  depth: int
  head: Callable[..., nn.Module]
  classes: int
  auxiliary: bool
  dtype: str

  @nn.compact
  def __call__(self, x, train=False):
    outputs = resnet.trunk(self.depth, 8, self.dtype, 'backbone')(x, train)
    head = self.head(classes=self.classes, dtype=self.dtype, name='classifier')
    outputs |= head(outputs['stage4'], train)
    if self.auxiliary:
      beside = FcnHead(self.classes, self.dtype, name='aux_classifier')
      logits = beside(outputs['stage3'], train)
      outputs['logits_aux'] = logits.astype(jnp.float32)
    return outputs


def deeplabv3(depth: int) -> Callable[..., base.Network]:
  """Maker of DeepLabV3 on the ResNet of this depth.

  Its weights have torchvision's names ('backbone.conv1.weight', ...).

  Source: L.-C. Chen, G. Papandreou, F. Schroff, H. Adam, Rethinking Atrous
    Convolution for Semantic Image Segmentation, 2017,
    https://arxiv.org/abs/1706.05587, section 3.
  """
  head = functools.partial(DeepLabHead, rates=(12, 24, 36), width=256)
  return _maker(depth, head)


def pspnet(depth: int) -> Callable[..., base.Network]:
  """Maker of PSPNet on the ResNet of this depth.

  Source: H. Zhao, J. Shi, X. Qi, X. Wang, J. Jia, Pyramid Scene Parsing
    Network, 2017, https://arxiv.org/abs/1612.01105, section 3.2. Its ResNet
    begins with three 3x3 convolutions; ours, with the 7x7 of the weights that
    are to be had.
  """
  head = functools.partial(PyramidHead, bins=(1, 2, 3, 6), width=512)
  return _maker(depth, head)


def _maker(depth, head):
  def make(
    *, classes: int, auxiliary: bool = True, dtype: str = 'float32'
  ) -> base.Network:
    layers.compute_dtype(dtype)
    module = OnResNet(depth, head, classes, auxiliary, dtype)
    return base.from_linen(module, head='classifier/4')

  return make
