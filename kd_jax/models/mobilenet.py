"""MobileNets: V2 at half width for CIFAR, V1 for ImageNet."""

from flax import linen as nn

from kd_jax.models import base, layers

# (width, blocks, stride) of the seven groups of V2 for 32x32 images, and the
# groups after which the stages of the distillation literature end.
_V2 = (
  (16, 1, 1),
  (24, 2, 1),
  (32, 3, 2),
  (64, 4, 2),
  (96, 3, 1),
  (160, 3, 2),
  (320, 1, 1),
)
_V2_STAGES = {1: 1, 2: 2, 4: 3, 6: 4}

# (width, stride) of V1's thirteen separable convolutions, and stage ends.
_V1 = (
  (64, 1),
  (128, 2),
  (128, 1),
  (256, 2),
  (256, 1),
  (512, 2),
  (512, 1),
  (512, 1),
  (512, 1),
  (512, 1),
  (512, 1),
  (1024, 2),
  (1024, 1),
)
_V1_STAGES = {3: 1, 5: 2, 11: 3, 13: 4}


class InvertedResidual(nn.Module):
  """1x1 expansion, 3x3 depthwise, 1x1 projection without activation."""

  width: int
  stride: int
  expansion: int
  dtype: str

  @nn.compact
  def __call__(self, x, train):
    dtype = layers.compute_dtype(self.dtype)
    wide = x.shape[-1] * self.expansion
    plan = (
      (wide, 1, 1, 1),
      (wide, 3, self.stride, wide),
      (self.width, 1, 1, 1),
    )
    y = x
    for i, (features, size, stride, groups) in enumerate(plan):
      y = layers.conv(
        features, size, stride, groups=groups, dtype=dtype, name=f'conv_{3 * i}'
      )(y)
      y = layers.batch_norm(train, dtype=dtype, name=f'conv_{3 * i + 1}')(y)
      y = nn.relu(y) if i < 2 else y
    return x + y if self.stride == 1 and x.shape == y.shape else y


class MobileNetV2(nn.Module):
  """Sandler et al. 2018, https://arxiv.org/abs/1801.04381, for CIFAR.

  Inputs [B, H, W, C]. Outputs: 'stage0' (first convolution, after ReLU) and
  'stage0_pre'; 'stage1' to 'stage4' (linear bottlenecks have no activation:
  'stage1_pre', ... are the same arrays); 'final' [B, h, w, 1280] and
  'final_pre' (the last 1x1 convolution), its mean over space 'pooled'
  [B, 1280], 'logits' [B, K].
  As in the distillation literature: half of the widths but the last, strides
  for 32x32 images, ReLU in place of ReLU6.
  """

  classes: int
  width: float = 0.5
  expansion: int = 6
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    first = int(32 * self.width)
    x = layers.conv(first, 3, 2, dtype=dtype, name='conv1_0')(
      layers.cast(x, dtype)
    )
    x = layers.batch_norm(train, dtype=dtype, name='conv1_1')(x)
    outputs = {'stage0_pre': x}
    x = outputs['stage0'] = nn.relu(x)
    for i, (width, count, stride) in enumerate(_V2):
      for j in range(count):
        x = InvertedResidual(
          int(width * self.width),
          stride if j == 0 else 1,
          self.expansion if i else 1,
          self.dtype,
          name=f'blocks_{i}_{j}',
        )(x, train)
      if i in _V2_STAGES:
        stage = f'stage{_V2_STAGES[i]}'
        outputs |= {f'{stage}_pre': x, stage: x}
    x = layers.conv(1280, 1, dtype=dtype, name='conv2_0')(x)
    x = layers.batch_norm(train, dtype=dtype, name='conv2_1')(x)
    outputs['final_pre'] = x
    return layers.classify(
      outputs, nn.relu(x), self.classes, dtype, 'classifier_0'
    )


class MobileNetV1(nn.Module):
  """Howard et al. 2017, https://arxiv.org/abs/1704.04861, for ImageNet.

  Inputs [B, H, W, C]. Outputs: 'stage1', ..., 'stage4' (widths 128, 256, 512,
  1024) after ReLU and 'stage1_pre', ... before; 'final' ('stage4'), its mean
  over space 'pooled' [B, 1024], 'logits' [B, K].
  """

  classes: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)

    def step(x, name, index, features, size, stride, groups=1):
      x = layers.conv(
        features,
        size,
        stride,
        groups=groups,
        dtype=dtype,
        name=f'{name}_{index}',
      )(x)
      return layers.batch_norm(train, dtype=dtype, name=f'{name}_{index + 1}')(
        x
      )

    outputs = {}
    x = nn.relu(step(layers.cast(x, dtype), 'model_0', 0, 32, 3, 2))
    for i, (width, stride) in enumerate(_V1, 1):
      name, channels = f'model_{i}', x.shape[-1]
      x = nn.relu(step(x, name, 0, channels, 3, stride, channels))
      pre = step(x, name, 3, width, 1, 1)
      x = nn.relu(pre)
      if i in _V1_STAGES:
        stage = f'stage{_V1_STAGES[i]}'
        outputs |= {f'{stage}_pre': pre, stage: x}
    return layers.classify(outputs, x, self.classes, dtype, 'fc')


def mobilenet_v2(
  *, classes: int, width: float = 0.5, dtype: str = 'float32'
) -> base.Network:
  """MobileNetV2 for CIFAR, with all widths but the last times `width`."""
  layers.compute_dtype(dtype)
  if width * 16 < 1:
    raise ValueError(f'width must be at least 1/16; got {width}')
  module = MobileNetV2(classes, float(width), dtype=dtype)
  return base.from_linen(module, head='classifier_0')


def mobilenet_v1(*, classes: int, dtype: str = 'float32') -> base.Network:
  """MobileNetV1 for ImageNet."""
  layers.compute_dtype(dtype)
  return base.from_linen(MobileNetV1(classes, dtype), head='fc')
