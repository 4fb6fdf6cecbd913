"""BiSeNetV2, a segmenter for small devices.

It is the light network of the zoo because devices at the edge run it: nothing
but convolutions, batch norm, ReLU, pooling, bilinear resizing and two sigmoids,
which every runtime and accelerator has in int8. Transformers of its size, such
as SegFormer-B0, are better by some points of mIoU on Cityscapes, but their
softmax, layer norms and GELU stay in floats there, or are not to be had.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import spatial
from kd_jax.models import base, layers

# Width of the detail branch's three stages, with how many convolutions.
_DETAIL = ((64, 2), (64, 3), (128, 3))
# Width of the semantic branch's stages 3 to 5, with how many layers.
_SEMANTIC = ((32, 2), (64, 2), (128, 4))


class Gather(nn.Module):
  """Gather-and-expansion: 3x3, 3x3 depthwise to six times the width, 1x1.

  At stride 2 there are two depthwise convolutions, and a shortcut with one.
  """

  width: int
  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype, c = layers.compute_dtype(self.dtype), x.shape[-1]
    unit = functools.partial(layers.unit, train=train, dtype=dtype)
    y = unit(x, c, name='conv1')
    if self.stride == 2:
      y = unit(y, 6 * c, stride=2, groups=c, relu=False, name='dwconv1')
      y = unit(y, 6 * c, groups=6 * c, name='dwconv2')
      x = unit(x, c, stride=2, groups=c, relu=False, name='shortcut')
      x = unit(x, self.width, 1, relu=False, name='shortcut', first=2)
    else:
      y = unit(y, 6 * c, groups=c, name='dwconv')
    y = unit(y, self.width, 1, relu=False, name='conv2')
    return nn.relu(x + y)


class Stem(nn.Module):
  """To 1/4 of the image, by convolutions beside a max pool."""

  width: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    unit = functools.partial(layers.unit, train=train, dtype=dtype)
    x = unit(x, self.width, stride=2, name='conv')
    left = unit(x, self.width // 2, 1, name='left_0')
    left = unit(left, self.width, stride=2, name='left_1')
    both = jnp.concatenate([left, layers.max_pool_3_2(x)], -1)
    return unit(both, self.width, name='fuse')


class Aggregation(nn.Module):
  """Bilateral guided aggregation: each branch gates the other."""

  dtype: str

  @nn.compact
  def __call__(self, detail, semantic, train):
    dtype, width = layers.compute_dtype(self.dtype), detail.shape[-1]
    unit = functools.partial(layers.unit, train=train, dtype=dtype)
    point = functools.partial(layers.conv, width, 1, dtype=dtype)
    size = detail.shape[1:3]

    near = unit(detail, width, groups=width, relu=False, name='left1')
    near = point(name='left1_2')(near)
    gate = unit(semantic, width, relu=False, name='right1')
    near = near * nn.sigmoid(spatial.bilinear(gate, size))

    far = unit(detail, width, stride=2, relu=False, name='left2')
    far = nn.avg_pool(far, (3, 3), (2, 2), ((1, 1), (1, 1)))
    gate = unit(semantic, width, groups=width, relu=False, name='right2')
    far = far * nn.sigmoid(point(name='right2_2')(gate))
    return unit(near + spatial.bilinear(far, size), width, name='conv')


class PixelHead(nn.Module):
  """A convolution, dropout and a 1x1 convolution: outputs with 'logits'."""

  width: int
  classes: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    x = layers.unit(x, self.width, train=train, dtype=dtype, name='conv')
    x = nn.Dropout(0.1, deterministic=not train)(x)
    return layers.classify_pixels({}, x, self.classes, dtype, 'classifier')


class BiSeNetV2(nn.Module):
  """Yu et al. 2021, https://arxiv.org/abs/2004.02147.

  Inputs [B, H, W, C]. Outputs: 'detail1' at 1/2 of H and W (rounded up),
  'detail2' at 1/4, 'detail3' at 1/8; 'semantic2' at 1/4, ..., 'semantic5' at
  1/32, 'context' (it with the mean of the image) at 1/32; at 1/8 'aggregated',
  'final' [B, h, w, D] (the classifier's input) and 'logits' [B, h, w, K]. With
  `auxiliary`, 'logits_aux2', ..., 'logits_aux5' of classifiers on 'semantic2',
  ..., for a loss of weight 1 each. All features after ReLU.
  """

  width: float
  classes: int
  auxiliary: bool
  dtype: str

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    unit = functools.partial(layers.unit, train=train, dtype=dtype)
    outputs, x = {}, layers.cast(x, dtype)
    detail = x
    for i, (width, count) in enumerate(_DETAIL, 1):
      for j in range(count):
        stride = 1 if j else 2
        detail = unit(
          detail, self._of(width), stride=stride, name=f'detail{i}_{j}'
        )
      outputs[f'detail{i}'] = detail
    x = outputs['semantic2'] = Stem(self._of(16), self.dtype, name='stem')(
      x, train
    )
    for i, (width, count) in enumerate(_SEMANTIC, 3):
      for j in range(count):
        block = Gather(
          self._of(width), 1 if j else 2, self.dtype, name=f'semantic{i}_{j}'
        )
        x = block(x, train)
      outputs[f'semantic{i}'] = x
    x = outputs['context'] = self._embed(x, train, unit)
    x = Aggregation(self.dtype, name='aggregation')(detail, x, train)
    outputs['aggregated'] = x
    if self.auxiliary:
      outputs |= self._beside(outputs, train)
    head = PixelHead(self._of(1024), self.classes, self.dtype, name='head')
    return outputs | head(x, train)

  def _of(self, width):
    """A published width times the network's, a multiple of 4."""
    return max(4, round(width * self.width / 4) * 4)

  def _embed(self, x, train, unit):
    """Adds the mean of the image to each of its pixels."""
    mean = spatial.pool(x, (1, 1))
    mean = layers.batch_norm(train, dtype=x.dtype, name='context_norm')(mean)
    mean = unit(mean, x.shape[-1], 1, name='context_mean')
    return unit(x + mean, x.shape[-1], name='context')

  def _beside(self, outputs, train):
    """The logits of the auxiliary classifiers, f32."""
    logits = {}
    for i in range(2, 6):
      head = PixelHead(self._of(128), self.classes, self.dtype, name=f'aux{i}')
      found = head(outputs[f'semantic{i}'], train)['logits']
      logits[f'logits_aux{i}'] = found.astype(jnp.float32)
    return logits


def bisenet_v2(
  *,
  classes: int,
  width: kinds.Positive = 1.0,
  auxiliary: bool = True,
  dtype: str = 'float32',
) -> base.Network:
  """BiSeNetV2.

  Args:
    classes: K.
    width: of every layer, relative to the published one.
    auxiliary: with the four classifiers that help to train it ('booster').
    dtype: of the computation.
  """
  layers.compute_dtype(dtype)
  module = BiSeNetV2(float(width), classes, auxiliary, dtype)
  return base.from_linen(module, head='head/classifier')
