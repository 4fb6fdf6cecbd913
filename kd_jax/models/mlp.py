"""Multilayer perceptrons, with dropout on the input and between layers."""

from flax import linen as nn

from kd_jax.models import base, layers


class MLP(nn.Module):
  """Dense ReLU layers on the flattened input.

  Inputs [B, ...], any shape. Outputs: 'hidden1', ... (after ReLU) and
  'hidden1_pre', ... (before), 'features' [B, D] (the last of them, with
  dropout in training: the classifier's input), 'logits' [B, K].
  """

  widths: tuple[int, ...]
  classes: int
  dropout: float = 0.0
  input_dropout: float = 0.0
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train=False):
    dtype = layers.compute_dtype(self.dtype)
    outputs = {}
    x = layers.flatten(layers.cast(x, dtype))
    x = nn.Dropout(self.input_dropout, deterministic=not train)(x)
    for i, width in enumerate(self.widths, 1):
      x = outputs[f'hidden{i}_pre'] = nn.Dense(
        width, dtype=dtype, kernel_init=layers.he_in, name=f'hidden{i}'
      )(x)
      x = outputs[f'hidden{i}'] = nn.relu(x)
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    outputs['features'] = x
    outputs['logits'] = nn.Dense(self.classes, dtype=dtype, name='logits')(x)
    return outputs


def mlp(
  *,
  classes: int,
  widths: tuple[int, ...] = (1200, 1200),
  dropout: float = 0.0,
  input_dropout: float = 0.0,
  dtype: str = 'float32',
) -> base.Network:
  """Dense layers of the given widths, each with ReLU and dropout.

  The default widths are those of the MNIST teacher of Hinton, Vinyals and
  Dean 2015, https://arxiv.org/abs/1503.02531, section 3.
  """
  layers.compute_dtype(dtype)
  if any(width < 1 for width in widths):
    raise ValueError(f'widths must be positive; got {tuple(widths)}')
  module = MLP(
    tuple(widths),
    classes,
    layers.rate('dropout', dropout),
    layers.rate('input_dropout', input_dropout),
    dtype,
  )
  return base.from_linen(module, head='logits')
