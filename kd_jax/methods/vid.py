"""Variational information distillation, with a learned variance."""

import math

from flax import linen as nn

from kd_jax.losses import features as losses
from kd_jax.losses import numerics, spatial
from kd_jax.methods import adapters, base, features, layer_names


class Gaussian(nn.Module):
  """The mean, by three 1x1 convolutions, and the raw variance per channel."""

  channels: int
  size: tuple[int, int] | None
  variance: float

  @nn.compact
  def __call__(self, x):
    x = spatial.pool(x, self.size) if self.size else x
    for i in range(3):
      x = nn.relu(x) if i else x
      x = nn.Dense(self.channels, use_bias=False)(x)
    start = math.log(math.expm1(self.variance - 1e-5))
    raw = self.param(
      'raw_variance', nn.initializers.constant(start), (self.channels,)
    )
    return x, raw


def vid(
  *, layers: layer_names.Layers = (), initial_variance: float = 5.0
) -> base.Method:
  """Variational information distillation: the teacher as a Gaussian.

    mean over elements of [(t - mu(s))^2 / sigma^2 + log sigma^2] / 2
  t is the teacher's feature, s the student's, mu three 1x1 convolutions with
  ReLU in between (as wide as the teacher), sigma^2 = softplus(alpha) + 1e-5 for
  each channel. Both mu and alpha ('raw_variance') are learned with the
  student. The larger map is pooled.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C], or vectors or tokens of
      the same length; several are summed.
    initial_variance: sigma^2 before the first step (5).

  Returns:
    A method whose loss is f32 [B], nats per element without log(2 pi) / 2;
    may be negative. No hyperparameters. Weight 1. Couples no examples.

  Source: Ahn et al. 2019, "Variational Information Distillation for Knowledge
    Transfer", https://arxiv.org/abs/1904.05835; softplus, 1e-5, 5
    and the three convolutions as in RepDistiller. mdistiller does not train
    alpha.
  """
  layers, variance = layer_names.need('vid', layers), float(initial_variance)
  if not 1e-5 < variance <= 700:  # the exponential of more is infinite
    raise ValueError(
      f'initial_variance must be above 1e-5 and at most 700, not {variance}'
    )

  def plan(student, teacher):
    def make(s, t):
      if len(s) != len(t) or (len(s) != 4 and s[1:-1] != t[1:-1]):
        raise adapters.refusal('vid', s, t)
      size = tuple(map(min, s[1:3], t[1:3])) if len(s) == 4 else None
      return adapters.from_module(Gaussian(t[-1], size, variance), s)

    return features.connect(layers, student, teacher, make)

  def compare(gaussians, targets, hparams):
    del hparams
    total = 0.0
    for (mean, raw), target in zip(gaussians, targets):
      if mean.ndim == 4:
        target = spatial.pool(numerics.f32(target), mean.shape[1:3])
      total += losses.vid_nll(mean, target, raw)
    return total

  return features.comparing('vid', plan, compare, {}, each=True)
