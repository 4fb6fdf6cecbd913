"""Applies a teacher's last classifier behind a learned connector."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax.losses import numerics
from kd_jax.methods import layer_names
from kd_jax.models import convolution

HEAD = 'head'  # the only output without a batch axis


class Connector(nn.Module):
  """Convolutions without bias, each with batch normalization and ReLU.

  Attributes:
    layers: (features, kernel size) of each convolution.
  """

  layers: tuple[tuple[int, int], ...]

  @nn.compact
  def __call__(self, x, train=True):
    for features, size in self.layers:
      x = convolution.conv(features, (size, size), use_bias=False)(x)
      x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
    return x


def pair(
  name: str, layers: Sequence, student: Mapping, teacher: Mapping
) -> tuple[jax.Array, jax.Array]:
  """The single pair of features of the method `name`, as maps.

  Raises:
    ValueError: several pairs, another rank, or a teacher whose classifier is
      unknown or does not fit its feature.
  """
  ours, theirs = layer_names.single(name, layers, student, teacher)
  width = classifier(name, teacher, 'teacher')['kernel'].shape[0]
  if teacher[theirs].shape[-1] != width:
    raise ValueError(
      f"method '{name}': '{theirs}' of the teacher is "
      f'{teacher[theirs].shape[-1]} wide and its classifier reads {width}'
    )
  return (
    as_map(name, ours, student[ours]),
    as_map(name, theirs, teacher[theirs]),
  )


def classifier(name: str, outputs: Mapping, who: str) -> Mapping:
  """The last classifier {'kernel', 'bias'} of a network, from its outputs.

  Args:
    name: of the method that reads it.
    outputs: of the network, or their shapes.
    who: 'student' or 'teacher'.

  Raises:
    ValueError: it is not known.
  """
  if HEAD not in outputs:
    raise ValueError(
      f"method '{name}' needs the {who}'s last classifier, which its network "
      'does not name (the `head` of its maker)'
    )
  return outputs[HEAD]


def as_map(name: str, layer: str, x: jax.Array) -> jax.Array:
  """A map, or a vector [B, C] as a map of one place: f32 [B, H, W, C].

  Raises:
    ValueError: another rank.
  """
  if x.ndim not in (2, 4):
    raise ValueError(
      f"method '{name}' reads maps [B, H, W, C] or vectors [B, C]; '{layer}' "
      f'is {x.shape}'
    )
  shape = x.shape if x.ndim == 4 else (x.shape[0], 1, 1, x.shape[1])
  if isinstance(x, jax.ShapeDtypeStruct):
    return jax.ShapeDtypeStruct(shape, x.dtype)
  return numerics.f32(x.reshape(shape))


def classify(head: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
  """The logits f32 [B, K] of a classifier on a map's mean over places.

  Args:
    head: 'kernel' [D, K] and 'bias' [K].
    x: [B, H, W, D].
  """
  pooled = jnp.mean(numerics.f32(x), axis=(1, 2))
  logits = pooled @ numerics.f32(head['kernel'])
  return logits + numerics.f32(head['bias'])[None]
