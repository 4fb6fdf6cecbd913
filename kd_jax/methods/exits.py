"""OFA's exits: classifiers on the student's stages, taught by the logits."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import decoupled, numerics
from kd_jax.methods import adapters, base, features, layer_names, pairs
from kd_jax.models import convolution

_VARIANTS = ('code', 'paper')


class Separable(nn.Module):
  """Depthwise and 1x1 convolutions, twice, which halve a map's sides."""

  channels: int

  @nn.compact
  def __call__(self, x):
    narrow = x.shape[-1]
    for width, stride in ((narrow, 2), (self.channels, 1)):
      x = convolution.conv(
        narrow,
        (3, 3),
        (stride, stride),
        padding=((1, 1), (1, 1)),
        feature_group_count=narrow,
        use_bias=False,
      )(x)
      x = nn.relu(adapters.norm()(nn.Dense(width, use_bias=False)(x)))
    return x


class Exit(nn.Module):
  """The logits of a map, halved some times on the way.

  Attributes:
    halvings: how many times.
    width: of the feature that the classifier reads.
    classes: K.
  """

  halvings: int
  width: int
  classes: int

  @nn.compact
  def __call__(self, x):
    narrow = x.shape[-1]
    for i in range(1, self.halvings + 1):
      last = i == self.halvings
      x = Separable(self.width if last else narrow * 2**i)(x)
    if not self.halvings:
      x = nn.Dense(self.width)(x)
    return nn.Dense(self.classes, name='classifier')(jnp.mean(x, axis=(1, 2)))


def ofa_exits(
  *,
  layers: layer_names.Layers = (),
  eps: kinds.NonNegative = 1.0,
  temperature: kinds.Temperature = 1.0,
  width: kinds.Whole = 0,
  variant: str = 'code',
) -> base.Method:
  """One-for-all with exits: stages learn the teacher's logits, not its maps.

  L = sum over stages of `losses.decoupled.ofa` between an exit's logits and the
  teacher's. An exit halves the stage's map by separable convolutions until it
  has the size of the student's smallest, widens it to `width`, takes the mean
  over places, and classifies it. The networks may be of any kind: features are
  compared as predictions. The loss on the student's own logits is the method
  `ofa`, a term beside this one.

  Args:
    layers: [(student, 'logits')], maps [B, H, W, C], one for each exit; of the
      teacher no more than the logits is read.
    eps: the exponent, the same for all exits (1 to 1.5 by pair).
    temperature: T, without T^2.
    width: of the exits' features; 0: the widest of the smallest maps of both
      networks.
    variant: 'code' or 'paper', of the loss.

  Returns:
    A batchwise method (batch norm) whose loss is f32 [B], in nats; not 0 at
    equality. Weight 1.

  Raises:
    ValueError: at its init, for features that are no maps, or a teacher's
      layer other than 'logits'.

  Source: Hao et al. 2023, "One-for-All: Bridge the Gap Between Heterogeneous
    Architectures in Knowledge Distillation", https://arxiv.org/abs/2310.19444.
    Exits as in its code for convolutional students, which counts the halvings
    from the number of the stage; those of transformers (merged patches and
    blocks) are not here.
  """
  layers = layer_names.need('ofa_exits', layers)
  numerics.need_variant(variant, _VARIANTS)
  hparams = {'eps': float(eps), 'temperature': float(temperature)}

  def plan(student, teacher, channels):
    pairs.check_logits('ofa_exits', student, teacher)
    smallest, classes = _smallest(student), student['logits'].shape[-1]

    def make(s, t):
      if len(s) != 4 or tuple(t) != tuple(teacher['logits'].shape):
        raise adapters.refusal('exit', s, t)
      halvings = round(math.log2(s[1] / smallest[1]))
      return adapters.from_module(Exit(halvings, channels, classes), s)

    return features.connect(layers, student, teacher, make)

  def init(key, student, teacher):
    channels = width or max(_smallest(x)[-1] for x in (student, teacher))
    return features.init_adapters(key, plan(student, teacher, channels))

  def loss(variables, student, teacher, batch, hparams):
    # Of the teacher's outputs only the logits may be here, and not its maps.
    channels = variables['params']['pair0']['classifier']['kernel'].shape[0]
    pairs = plan(student, teacher, channels)
    exits, state = features.adapt(variables, pairs, student)
    total = sum(
      decoupled.ofa(
        logits, teacher['logits'], batch['labels'], variant=variant, **hparams
      )
      for logits in exits
    )
    return total, state

  return base.Method(init, loss, hparams, batchwise=True)


def _smallest(outputs: Mapping) -> tuple[int, ...]:
  """The shape of the smallest map, the widest of them; (1, 1, 1, 1) of none."""
  shapes = [
    tuple(x.shape)
    for x in outputs.values()
    if hasattr(x, 'shape') and len(x.shape) == 4
  ]
  return min(shapes, key=lambda s: (s[1] * s[2], -s[3]), default=(1, 1, 1, 1))
