"""U-Nets that a CPU can train: a teacher, a student, sizes in between."""

import functools
from collections.abc import Sequence

from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import spatial
from kd_jax.models import base, layers, resnet

_STAGES = 5  # the last one at 1/32 of the image's height and width


class UNet(nn.Module):
  """Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, with blocks
  of He et al. 2015 and sums in place of concatenations.

  Inputs [B, H, W, C]. Outputs, after ReLU: 'stem' and 'stage1' at 1/2 of H and
  W (rounded up), 'stage2' at 1/4, ..., 'stage5' at 1/32; 'stage1_pre', ...
  before ReLU; 'decoder4' at 1/16, ..., 'decoder1' at 1/2, which is 'final'
  [B, h, w, D], the classifier's input; 'logits' [B, h, w, K] at 1/2.
  """

  widths: tuple[int, ...]
  classes: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    unit = functools.partial(layers.unit, train=train, dtype=dtype)
    x = unit(layers.cast(x, dtype), self.widths[0], 3, 2, name='stem')
    outputs, skips = {'stem': x}, []
    for i, width in enumerate(self.widths, 1):
      stride = 1 if i == 1 else 2
      pre = resnet.Block(
        width, stride, False, 'downsample', self.dtype, name=f'stage{i}'
      )(x, train)
      x = nn.relu(pre)
      outputs |= {f'stage{i}_pre': pre, f'stage{i}': x}
      skips.append(x)
    for i in range(_STAGES - 1, 0, -1):
      skip = skips[i - 1]
      x = unit(x, skip.shape[-1], 1, name=f'narrow{i}')
      x = skip + spatial.upsample(x, skip.shape[1:3])
      x = unit(x, skip.shape[-1], name=f'decoder{i}')
      outputs[f'decoder{i}'] = x
    return layers.classify_pixels(
      outputs, x, self.classes, dtype, name='classifier'
    )


def unet_teacher(*, classes: int, dtype: str = 'float32') -> base.Network:
  """Widths 16, 32, 64, 128, 256: 1,467,083 parameters for 11 classes."""
  return unet(classes=classes, widths=(16, 32, 64, 128, 256), dtype=dtype)


def unet_student(*, classes: int, dtype: str = 'float32') -> base.Network:
  """Widths 8, 12, 20, 36, 48: 87,571 parameters, 16.8 times fewer."""
  return unet(classes=classes, widths=(8, 12, 20, 36, 48), dtype=dtype)


def unet(
  *,
  classes: int,
  widths: Sequence[kinds.Count] = (12, 24, 48, 80, 128),
  dtype: str = 'float32',
) -> base.Network:
  """A U-Net of five stages of these widths."""
  layers.compute_dtype(dtype)
  if len(widths) != _STAGES:
    raise ValueError(
      f"'widths' of network 'unet' are {list(widths)}; legal: {_STAGES}, one "
      'for each stage'
    )
  module = UNet(tuple(widths), classes, dtype)
  return base.from_linen(module, head='classifier')
