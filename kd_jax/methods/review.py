"""Knowledge review: deep layers of the student help to match shallow ones."""

import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import features as losses
from kd_jax.losses import spatial
from kd_jax.methods import adapters, base, layer_names
from kd_jax.models import convolution

_WIDEST = 512


class Fusion(nn.Module):
  """Attention-based fusion of a student's map and the deeper fused map.

  Returns the map in the teacher's shape, and the fused map.
  """

  width: int
  shape: tuple[int, ...]

  @nn.compact
  def __call__(self, x, deeper=None):
    x = adapters.norm()(nn.Dense(self.width, use_bias=False)(x))
    if deeper is not None:
      deeper = spatial.upsample(deeper, x.shape[1:3])
      gates = nn.sigmoid(nn.Dense(2)(jnp.concatenate([x, deeper], -1)))
      x = x * gates[..., :1] + deeper * gates[..., 1:]
    x = spatial.upsample(x, self.shape[1:3])
    y = convolution.conv(self.shape[-1], (3, 3), use_bias=False)(x)
    return adapters.norm()(y), x


class Review(nn.Module):
  """Fuses a student's maps, from the deepest up, into the teacher's shapes."""

  width: int
  shapes: tuple[tuple[int, ...], ...]

  @nn.compact
  def __call__(self, *maps):
    fused, deeper = [], None
    for x, shape in zip(maps[::-1], self.shapes[::-1]):
      matched, deeper = Fusion(self.width, shape)(x, deeper)
      fused.append(matched)
    return fused[::-1]


def review_kd(
  *, layers: layer_names.Layers = (), width: kinds.Whole = 0
) -> base.Method:
  """Knowledge review: the student's layers, fused, match the teacher's.

  sum_i HCL(ABF(s_i, fused_{i+1}), t_i) from the deepest layer up. ABF applies a
  1x1 convolution and batch norm to s_i, mixes it with the deeper fused map
  (nearest neighbor) by two sigmoid attention maps of both, and maps it to the
  shape of t_i by a 3x3 convolution and batch norm. HCL is the mean squared
  error at full size and at 4, 2 and 1 (see
  `losses.features.hierarchical_context`).

  Args:
    layers: [(student, teacher)] from shallow to deep, maps [B, H, W, C]; a
      vector [B, D] (the pooled feature) is a map of one place.
    width: channels of the fused maps; 0: those of the student's deepest map,
      at most 512.

  Returns:
    A method whose loss is f32 [B], squared units of the feature; 0 where all
    maps are matched. No hyperparameters. Weight 1 (5 for resnet32x4 to
    resnet8x4), warmed up linearly over 20 epochs by a schedule of the term.
    Couples the examples (batch norm).

  Source: Chen et al. 2021, "Distilling Knowledge via Knowledge Review",
    section 3, https://arxiv.org/abs/2104.09044; the sizes are those of the
    authors' code, which reads pre-activations and the pooled feature.
  """
  layers = layer_names.need('review_kd', layers)

  def plan(student, teacher):
    names = layer_names.pairs(layers, student, teacher)
    ours = [_as_map(student[s].shape, s) for s, _ in names]
    theirs = [_as_map(teacher[t].shape, t) for _, t in names]
    channels = width or min(_WIDEST, ours[-1][-1])
    module = adapters.from_module(Review(channels, tuple(theirs)), *ours)
    return names, ours, theirs, module

  def init(key, student, teacher):
    *_, module = plan(student, teacher)
    variables = module.init(key)
    return {'params': variables.pop('params'), 'state': variables}

  def loss(variables, student, teacher, batch, hparams):
    del batch, hparams
    names, ours, theirs, module = plan(student, teacher)
    maps = [student[s].reshape(x) for (s, _), x in zip(names, ours)]
    targets = [teacher[t].reshape(x) for (_, t), x in zip(names, theirs)]
    variables = {'params': variables['params'], **variables['state']}
    fused, state = module.apply(variables, *maps)
    return losses.hierarchical_context(fused, targets), state

  return base.Method(init, loss, {}, batchwise=True)


def _as_map(shape, name):
  """The shape [B, H, W, C]; a vector is a map of one place."""
  if len(shape) not in (2, 4):
    raise ValueError(
      f"review_kd reads maps and vectors; '{name}' is {adapters.shown(shape)}"
    )
  return tuple(shape) if len(shape) == 4 else (shape[0], 1, 1, shape[1])
