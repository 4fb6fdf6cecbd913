"""Small plain CNNs: a teacher, a 34 times smaller student, sizes in between."""

from flax import linen as nn

from kd_jax.models import base, convolution, layers


class CNN(nn.Module):
  """Blocks of 3x3 convolutions, each with a max pool, then dense layers.

  Inputs [B, H, W, C], H and W large enough for all pools. With `norm` a batch
  norm follows each convolution, before its ReLU.
  Outputs: 'conv1', 'conv2', ... (after ReLU) and 'conv1_pre', ... (before)
  in order through all blocks, 'pool1', ... after each block, 'hidden1', ...
  and 'hidden1_pre', ... of the dense layers, 'features' [B, D] (the last of
  them, the classifier's input), 'logits' [B, K].
  Flattening keeps channels last: rows of hidden1's kernel run over (H, W, C).
  With `pooled` the dense layers are 3x3 convolutions, of which the last one's
  output is 'final' [B, h, w, D], and its mean over space 'pooled' [B, D] is the
  classifier's input.
  """

  blocks: tuple[tuple[int, ...], ...]
  hidden: tuple[int, ...]
  classes: int
  dropout: float = 0.0
  dtype: str = 'float32'
  pooled: bool = False
  norm: bool = False

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    outputs = {}
    x = layers.cast(x, dtype)
    count = 0
    convolutional = (*self.blocks, self.hidden) if self.pooled else self.blocks
    for i, widths in enumerate(convolutional, 1):
      for width in widths:
        count += 1
        name = f'conv{count}'
        x = convolution.conv(
          width, (3, 3), dtype=dtype, kernel_init=layers.he_in, name=name
        )(x)
        if self.norm:
          x = layers.batch_norm(train, dtype=dtype, name=f'bn{count}')(x)
        outputs[f'{name}_pre'] = x
        x = outputs[name] = nn.relu(x)
      if i <= len(self.blocks):
        x = outputs[f'pool{i}'] = layers.max_pool(x)
    if self.pooled:
      return layers.classify(outputs, x, self.classes, dtype, 'logits')
    x = layers.flatten(x)
    for i, width in enumerate(self.hidden, 1):
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
      x = outputs[f'hidden{i}_pre'] = nn.Dense(
        width, dtype=dtype, kernel_init=layers.he_in, name=f'hidden{i}'
      )(x)
      x = outputs[f'hidden{i}'] = nn.relu(x)
    outputs['features'] = x
    outputs['logits'] = nn.Dense(self.classes, dtype=dtype, name='logits')(x)
    return outputs


def cnn_teacher(
  *, classes: int, dropout: float = 0.5, dtype: str = 'float32'
) -> base.Network:
  """conv 64-64-pool-128-128-pool, 512, 256, K; dropout before 512 and 256.

  3,604,682 parameters for 28x28x1 images and 10 classes.
  """
  return _network(((64, 64), (128, 128)), (512, 256), classes, dropout, dtype)


def cnn_student(
  *, classes: int, dropout: float = 0.0, dtype: str = 'float32'
) -> base.Network:
  """conv 16-pool-32-pool, 64, K.

  105,866 parameters for 28x28x1 images and 10 classes: 34.05 times fewer than
  `cnn_teacher`.
  """
  return cnn(classes=classes, hidden=64, dropout=dropout, dtype=dtype)


def cnn(
  *,
  classes: int,
  hidden: int = 128,
  dropout: float = 0.0,
  dtype: str = 'float32',
  pooled: bool = False,
  norm: bool = False,
) -> base.Network:
  """conv h/4-pool-h/2-pool, h, K: the sizes of progressive distillation.

  With `pooled` h is a convolution as well, and K reads its mean over space, as
  methods on class maps and regions need. With `norm` a batch norm follows each
  convolution.
  """
  if pooled and dropout:
    raise ValueError(f'dropout={dropout} is of dense layers: pooled has none')
  if hidden < 4 or hidden % 4:
    raise ValueError(f'hidden must be a positive multiple of 4; got {hidden}')
  blocks = ((hidden // 4,), (hidden // 2,))
  return _network(blocks, (hidden,), classes, dropout, dtype, pooled, norm)


def _network(blocks, hidden, classes, dropout, dtype, pooled=False, norm=False):
  layers.compute_dtype(dtype)
  dropout = layers.rate('dropout', dropout)
  module = CNN(blocks, hidden, classes, dropout, dtype, pooled, norm)
  return base.from_linen(module, head='logits')
