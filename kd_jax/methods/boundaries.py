"""Methods on pre-activations: activation boundaries, and the overhaul."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import boundaries as losses
from kd_jax.losses import numerics
from kd_jax.methods import adapters, base, features, hints, layer_names

_MARGINS = ('measured', 'normal')


class Connector(nn.Module):
  """A 1x1 convolution to `channels` and `size`, and batch norm."""

  channels: int
  size: tuple[int, int]

  @nn.compact
  def __call__(self, x):
    x = adapters.Pointwise(self.channels, self.size, bias=False)(x)
    return adapters.norm()(x)


def ab(
  *, layers: layer_names.Layers = (), margin: kinds.Positive = 1.0
) -> base.Method:
  """Activation boundaries: the student's neurons fire where the teacher's do.

  `losses.boundaries.ab` of r(s) and t, both before the ReLU: a squared hinge
  of margin m on the teacher's side. Layer i of n has weight 2^(i - n + 1),
  and the sum 0.003. r, the connector, is a convolution that depends on the
  sizes (see `hints.Regressor`) and batch norm; equal shapes have no connector.

  Args:
    layers: [(student, teacher)] from shallow to deep, before their ReLU.
    margin: m, a hyperparameter (1).

  Returns:
    A method whose loss is f32 [B]; 0 where every neuron is beyond its margin
    on the teacher's side. Weight 1 in the source's first stage of 30 epochs,
    which has no other loss (a schedule of the terms' weights gives that).
    Couples the examples (batch norm).

  Source: Heo et al. 2019, "Knowledge Transfer via Distillation of Activation
    Boundaries Formed by Hidden Neurons",
    https://arxiv.org/abs/1811.03233; layer weights, 0.003 and connectors as
    in RepDistiller.
  """
  layers = layer_names.need('ab', layers)

  def plan(student, teacher):
    def make(s, t):
      if s[1:] == t[1:]:
        return adapters.make_adapter('none', s, t)
      return hints.make_regressor(s, t, relu=False)

    return features.connect(layers, student, teacher, make)

  def compare(ours, theirs, hparams):
    return losses.ab(ours, theirs, margin=hparams['margin'])

  hparams = {'margin': float(margin)}
  return features.comparing(
    'ab', plan, compare, hparams, batchwise=True, each=True
  )


def ofd(
  *, layers: layer_names.Layers = (), variant: str = 'measured'
) -> base.Method:
  """Overhaul of feature distillation: the partial L2 of pre-activations.

  sum_i 2^(i - n + 1) `losses.boundaries.ofd`(r(s_i), t_i, m_i) over n layers
  before their ReLU. r is a 1x1 convolution and batch norm, after resizing
  where the sizes differ. m, the margin of a channel, is E[t | t < 0]:
    'measured' (default)  the mean of the teacher's negative values over all
                          batches so far, this one included
    'normal'              that of a normal distribution with the mean and the
                          variance measured so far (`losses.ofd_margin`)

  Args:
    layers: [(student, teacher)] maps from shallow to deep, before their ReLU.
    variant: 'measured' or 'normal'.

  Returns:
    A method whose loss is f32 [B], squared units of the feature. No
    hyperparameters. Weight 0.001. Couples the examples (batch norm, and the
    margins in its state).

  Source: Heo et al. 2019, "A Comprehensive Overhaul of Feature Distillation",
    https://arxiv.org/abs/1904.01866. The authors' code and
    mdistiller take the margins of 'normal' from bias and scale of the
    teacher's last batch norm. A method sees outputs alone, so the margins here
    include what a shortcut adds after that norm. Where the sizes differ, the
    student's map is resized to the teacher's; mdistiller pools the teacher's.
  """
  layers = layer_names.need('ofd', layers)
  numerics.need_variant(variant, _MARGINS)

  def connect(student, teacher):
    def make(s, t):
      if len(s) != 4 or len(t) != 4:
        raise adapters.refusal('ofd', s, t)
      return adapters.from_module(Connector(t[-1], t[1:3]), s)

    return features.connect(layers, student, teacher, make)

  def init(key, student, teacher):
    pairs = connect(student, teacher)
    variables = features.init_adapters(key, pairs)
    channels = [teacher[pair.teacher].shape[-1] for pair in pairs]
    moments = {f'pair{i}': _no_moments(c) for i, c in enumerate(channels)}
    return {**variables, 'state': {**variables['state'], 'moments': moments}}

  def loss(variables, student, teacher, batch, hparams):
    del batch, hparams
    pairs = connect(student, teacher)
    ours, state = features.adapt(variables, pairs, student)
    total, moments = 0.0, {}
    for i, (s, pair) in enumerate(zip(ours, pairs)):
      t, memory = teacher[pair.teacher], state['moments'][f'pair{i}']
      moments[f'pair{i}'] = memory = count_moments(memory, t, variant)
      value = losses.ofd(s, t, margin_of(memory, variant))
      total += 2.0 ** (i - len(pairs) + 1) * value
    state['moments'] = moments
    return total, state

  return base.Method(init, loss, {}, batchwise=True)


def count_moments(memory: Mapping, x: jax.Array, variant: str) -> dict:
  """Updates the moments of each channel by a batch of a teacher's feature.

  Args:
    memory: {'count', 'mean', 'variance': f32 [C]} of the values so far.
    x: [B, H, W, C].
    variant: 'measured' counts negative values only, 'normal' all.
  """
  x, axes = numerics.f32(x), (0, 1, 2)
  counts = x < 0 if variant == 'measured' else jnp.ones_like(x, bool)
  new = counts.sum(axes, dtype=jnp.float32)
  number = jnp.maximum(new, 1)
  mean = jnp.where(counts, x, 0).sum(axes) / number
  variance = jnp.where(counts, (x - mean[None, None, None]) ** 2, 0)
  variance = variance.sum(axes) / number
  # Running means, not sums, which would lose digits as the count grows.
  total = memory['count'] + new
  share = new / jnp.maximum(total, 1)
  gap = mean - memory['mean']
  spread = memory['variance'] + share * (variance - memory['variance'])
  return {
    'count': total,
    'mean': memory['mean'] + share * gap,
    'variance': spread + share * (1 - share) * gap**2,
  }


def margin_of(memory: Mapping, variant: str) -> jax.Array:
  """The margin f32 [C] from the moments; at most 0."""
  if variant == 'measured':
    return memory['mean']
  return losses.ofd_margin(memory['mean'], numerics.root(memory['variance']))


def _no_moments(channels):
  # Separate arrays: one buffer cannot be donated in two places.
  names = ('count', 'mean', 'variance')
  return {name: jnp.zeros(channels, jnp.float32) for name in names}
