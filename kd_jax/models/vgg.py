"""VGG with batch norm for CIFAR: one linear layer after mean pooling."""

from collections.abc import Callable

from flax import linen as nn

from kd_jax.models import base, layers

# depth -> convolutions in each of the five blocks.
_BLOCKS = {
  8: (1, 1, 1, 1, 1),
  11: (1, 1, 2, 2, 2),
  13: (2, 2, 2, 2, 2),
  16: (2, 2, 3, 3, 3),
  19: (2, 2, 4, 4, 4),
}
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
  """Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556, for CIFAR.

  Inputs [B, H, W, C]. Outputs: 'stage0', ..., 'stage4' (each block, after its
  last ReLU) and 'stage0_pre', ... (before it); 'final' ('stage4'), its mean
  over space 'pooled' [B, 512], 'logits' [B, K].
  A max pool follows blocks 0 to 2, and block 3 for images of at least 64, so
  32x32 images have 4x4 maps at the end, as in the distillation literature.
  """

  counts: tuple[int, ...]
  classes: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    pools = 4 if x.shape[1] >= 64 else 3
    x = layers.cast(x, dtype)
    outputs = {}
    for i, (count, width) in enumerate(zip(self.counts, _WIDTHS)):
      for j in range(count):
        name = f'block{i}_{3 * j}'
        x = layers.conv(width, bias=True, dtype=dtype, name=name)(x)
        name = f'block{i}_{3 * j + 1}'
        pre = layers.batch_norm(train, dtype=dtype, name=name)(x)
        x = nn.relu(pre)
      outputs |= {f'stage{i}_pre': pre, f'stage{i}': x}
      if i < pools:
        x = layers.max_pool(x)
    return layers.classify(outputs, x, self.classes, dtype, 'classifier')


def vgg(depth: int) -> Callable[..., base.Network]:
  """Maker of the VGG of this depth: 8, 11, 13, 16 or 19."""

  def make(*, classes: int, dtype: str = 'float32') -> base.Network:
    layers.compute_dtype(dtype)
    module = VGG(_BLOCKS[depth], classes, dtype)
    return base.from_linen(module, head='classifier')

  return make
