"""Masked generative distillation: rebuilds a map from a part of another."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import features as losses
from kd_jax.losses import numerics
from kd_jax.methods import adapters, base, features, layer_names
from kd_jax.models import convolution

_VARIANTS = ('channels', 'places')


class Generator(nn.Module):
  """Aligns a map, masks it, and generates the teacher's map from the rest."""

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self, x, mask):
    channels = self.shape[-1]
    if x.shape[1:] != self.shape[1:]:
      x = adapters.Pointwise(channels, self.shape[1:3])(x)
    x = nn.relu(convolution.conv(channels, (3, 3))(x * mask))
    return convolution.conv(channels, (3, 3))(x)


def mgd(
  *,
  layers: layer_names.Layers = (),
  masked: kinds.Share = 0.15,
  variant: str = 'channels',
) -> base.Method:
  """Masked generative distillation: rebuild the teacher's map from a part.

  sum over elements of (T - G(align(S) * M))^2: G is two 3x3 convolutions with
  a ReLU in between, align a 1x1 convolution where the shapes differ (after
  resizing), and M is a random mask, new at each step, which drops
    'channels' (default)  each channel with probability lambda
    'places'              each place with probability lambda
  M depends only on the term's key, the step and the index of the example, so it
  is the same on any number of devices.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C]; several are summed.
    masked: lambda, a hyperparameter (0.15).
    variant: 'channels' or 'places'.

  Returns:
    A method whose loss is f32 [B], squared units of the feature; 0 where the
    teacher's map is rebuilt. Weight 7e-5. Couples no examples.

  Source: Yang et al. 2022, "Masked Generative Distillation",
    https://arxiv.org/abs/2205.01529. The paper masks places (0.65 and weight
    2e-5 for detection); the authors' code for classification masks channels,
    with 0.15 and 7e-5 (1.2e-3 for CIFAR-100).
  """
  layers = layer_names.need('mgd', layers)
  numerics.need_variant(variant, _VARIANTS)

  def plan(student, teacher):
    def make(s, t):
      if len(s) != 4 or len(t) != 4:
        raise adapters.refusal('mgd', s, t)
      return adapters.from_module(Generator(tuple(t)), s, _mask(t, variant))

    return features.connect(layers, student, teacher, make)

  def init(key, student, teacher):
    pairs = plan(student, teacher)
    variables = features.init_adapters(key, pairs)
    key = jax.random.fold_in(key, len(pairs))
    state = {'count': jnp.int32(0), 'key': jax.random.key_data(key)}
    return {**variables, 'state': state}

  def loss(variables, student, teacher, batch, hparams):
    state, total = variables['state'], 0.0
    key = jax.random.wrap_key_data(state['key'])
    key = jax.random.fold_in(key, state['count'])
    for i, pair in enumerate(plan(student, teacher)):
      target = teacher[pair.teacher]
      uniform = _draw(key, i, batch['index'], _mask(target.shape, variant))
      mask = (uniform >= hparams['masked']).astype(jnp.float32)
      rebuilt, _ = pair.adapter.apply(
        features.variables_of(variables, i), student[pair.student], mask
      )
      total += losses.feature_sse(rebuilt, target)
    return total, {**state, 'count': state['count'] + 1}

  return base.Method(init, loss, {'masked': float(masked)})


def _mask(shape, variant):
  """The shape of a mask that broadcasts over a map."""
  batch, height, width, channels = shape
  if variant == 'channels':
    return batch, 1, 1, channels
  return batch, height, width, 1


def _draw(key, pair, index, shape):
  """Uniform numbers in [0, 1), from keys by the example's index."""

  def uniform(i):
    example_key = jax.random.fold_in(jax.random.fold_in(key, i), pair)
    return jax.random.uniform(example_key, shape[1:], jnp.float32)

  return jax.vmap(uniform)(index)
