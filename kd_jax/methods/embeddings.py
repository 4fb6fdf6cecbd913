"""Methods that compare learned linear embeddings of both sides' features."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import jax
from flax import linen as nn

from kd_jax import kinds, types
from kd_jax.losses import contrastive, numerics
from kd_jax.losses import relations as relation_losses
from kd_jax.methods import adapters, base, features, layer_names
from kd_jax.models import lazy

DIM = 128


def init(
  key, student: adapters.Shape, teacher: adapters.Shape, dim: int
) -> dict[str, types.PyTree]:
  """Initializes a dense layer to `dim` for either side.

  Args:
    key: of the initialization.
    student: shape [B, ...] of a feature, which is flattened to [B, D].
    teacher: likewise.
    dim: static.

  Returns:
    {'student': params, 'teacher': params}.

  Raises:
    ValueError: dim < 1.
  """
  if dim < 1:
    raise ValueError(f'dim must be at least 1, not {dim}')
  sides = {'student': student, 'teacher': teacher}
  return {
    side: lazy.init(
      nn.Dense(dim),
      key,
      jax.ShapeDtypeStruct((shape[0], math.prod(shape[1:])), 'float32'),
    )['params']
    for key, (side, shape) in zip(jax.random.split(key), sides.items())
  }


def embed(params: types.PyTree, feature: jax.Array) -> jax.Array:
  """Applies the dense layer `params` to a flattened feature: f32 [B, dim]."""
  dense = nn.Dense(params['bias'].shape[0])
  flat = numerics.f32(feature.reshape(feature.shape[0], -1))
  return dense.apply({'params': params}, flat)


def on_embeddings(
  function: Callable, layers: Sequence, options: Mapping, dim: int = DIM
) -> base.Method:
  """The method that sums a loss over pairs of embedded features.

  Args:
    function: (student [B, dim], teacher [B, dim], *, floats and static
      options) -> [B], which couples the examples.
    layers: [(student, teacher)].
    options: of the function.
    dim: of the embeddings.
  """
  name = function.__name__
  layers = layer_names.need(name, layers)
  defaults, options = base.divide(options, base.hparams_of(function))

  def plan(student, teacher):
    make = functools.partial(_embedding, dim)
    return features.connect(layers, student, teacher, make)

  def compare(embedded, targets, hparams):
    return sum(
      function(ours, embed(params, target), **options, **hparams)
      for (ours, params), target in zip(embedded, targets)
    )

  return features.comparing(name, plan, compare, defaults, batchwise=True)


def _embedding(dim, student, teacher) -> adapters.Adapter:
  """An adapter to (the student's embedding, the teacher's dense layer)."""

  def apply(variables, x):
    params = variables['params']
    return (embed(params['student'], x), params['teacher']), {}

  return adapters.Adapter(
    lambda key: {'params': init(key, student, teacher, dim)}, apply
  )


def cc(
  *,
  layers: layer_names.Layers = (),
  dim: kinds.Count = DIM,
  variant: str = 'code',
  gamma: kinds.NonNegative = 0.4,
  order: Annotated[int, kinds.within(0, 32)] = 2,
) -> base.Method:
  """Correlation congruence between two learned linear embeddings.

  With f = W F + b of either side, 'code' (default) is the mean over the B - 1
  neighbors in the batch of <D_i, D_{i+1}>, D = |f_s - f_t|; 'paper' compares
  Gaussian kernels of the embeddings, which may then not be 0: see
  `losses.relations.cc`. Both dense layers are learned with the student, as in
  RepDistiller; so 'code' also falls as both embeddings shrink.

  Args:
    layers: [(student, teacher)], features [B, ...].
    dim: width of the embeddings.
    variant: 'code' or 'paper'.
    gamma: of the kernel in 'paper'; no part of 'code'.
    order: of its series; static; no part of 'code'.

  Returns:
    A batchwise method whose loss is f32 [B]; 0 where the embeddings agree.
    'code' depends on the order of the batch. Weight 0.02 for 'code'.

  Source: Peng et al. 2019, "Correlation Congruence for Knowledge
    Distillation", equation 5, https://arxiv.org/abs/1904.01802; 128 and the
    compact form as in RepDistiller.
  """
  options = {'variant': variant, 'gamma': gamma, 'order': order}
  return on_embeddings(relation_losses.cc, layers, options, dim)


def info_nce(
  *,
  layers: layer_names.Layers = (),
  dim: kinds.Count = DIM,
  temperature: kinds.Temperature = 0.07,
) -> base.Method:
  """In-batch contrast: the student's embedding matches its teacher's.

  -log softmax_j(<s_i, t_j> / tau)[i] with unit embeddings s = W_s F_s + b_s
  and t = W_t F_t + b_t, both dense layers learned with the student; see
  `losses.contrastive.info_nce`. It has no memory: the negatives of an example
  are the other examples of the batch, including those of its class.

  Args:
    layers: [(student, teacher)], features [B, ...].
    dim: width of the embeddings.
    temperature: the paper's tau.

  Returns:
    A batchwise method whose loss is f32 [B], in nats, without tau^2; about
    log B where nothing is learned.

  Source: van den Oord et al. 2018, "Representation Learning with Contrastive
    Predictive Coding", equation 4, https://arxiv.org/abs/1807.03748; tau and
    128 as in CRD, Tian et al. 2020, https://arxiv.org/abs/1910.10699.
  """
  options = {'temperature': temperature}
  return on_embeddings(contrastive.info_nce, layers, options, dim)
