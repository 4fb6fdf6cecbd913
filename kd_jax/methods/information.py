"""ITRD: information theoretic representation distillation."""

from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import information as losses
from kd_jax.losses import numerics
from kd_jax.methods import adapters, base, features, layer_names


def itrd(
  *,
  layers: layer_names.Layers = (),
  alpha: kinds.Positive = 1.5,
  correlation_weight: kinds.NonNegative = 2.0,
  mutual_weight: kinds.NonNegative = 0.05,
  variant: str = 'code',
) -> base.Method:
  """Channels that correlate with the teacher's, and mutual information.

  L = b_c log2 sum_d |c_d - 1|^(2 alpha) + b_m (I_s - I_st), c the correlations
  of the channels over the batch, and I the information of Gram matrices (see
  `losses.information`). The student's feature goes through a learned linear map
  to the teacher's width, in the second term only where the widths differ.

  Args:
    layers: [(student, teacher)], features [B, ...], flattened; several are
      summed.
    alpha: the order of the correlation term (1.01 for networks of one kind).
    correlation_weight: b_c.
    mutual_weight: b_m (1 for networks of one kind, 0.05 for others).
    variant: 'code' or 'paper', of the second term.

  Returns:
    A batchwise method whose loss is f32 [B], in bits and the second term's
    unit, the same number for each example; not 0 at equality. Weight 1.

  Source: Miles et al. 2022, "Information Theoretic Representation
    Distillation", https://arxiv.org/abs/2112.00459; the map and the weights as
    in its code.
  """
  layers = layer_names.need('itrd', layers)
  numerics.need_variant(variant, ('code', 'paper'))
  hparams = {
    'alpha': float(alpha),
    'correlation_weight': float(correlation_weight),
    'mutual_weight': float(mutual_weight),
  }

  def plan(student, teacher):
    return features.connect(layers, student, teacher, _map)

  def compare(ours, theirs, hparams):
    total = 0.0
    for (raw, mapped), target in zip(ours, theirs):
      target = _flat(target)
      total += hparams['correlation_weight'] * losses.itrd_correlation(
        mapped, target, alpha=hparams['alpha']
      )
      own = raw if raw.shape == target.shape else mapped
      total += hparams['mutual_weight'] * losses.itrd_mutual(
        own, target, variant=variant
      )
    return total

  return features.comparing('itrd', plan, compare, hparams, batchwise=True)


def _map(student, teacher) -> adapters.Adapter:
  """An adapter to (the flattened feature, its image of the teacher's width)."""
  width = adapters.size(teacher)
  dense = adapters.from_module(
    nn.Dense(width), (student[0], adapters.size(student))
  )

  def apply(variables, x):
    flat = _flat(x)
    mapped, state = dense.apply(variables, flat)
    return (flat, mapped), state

  return adapters.Adapter(dense.init, apply)


def _flat(x):
  return numerics.f32(x.reshape(x.shape[0], -1))
