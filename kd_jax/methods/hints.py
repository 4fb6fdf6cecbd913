"""Hints: a regressor predicts the teacher's feature from the student's."""

from flax import linen as nn

from kd_jax.losses import features as losses
from kd_jax.losses import numerics
from kd_jax.methods import adapters, base, features, layer_names
from kd_jax.models import convolution

_VARIANTS = ('code', 'paper')


class Regressor(nn.Module):
  """A convolution to `shape` [B, H, W, C], with batch norm and ReLU.

  For a student's map of twice the size it is 3x3 at stride 2, for one of half
  the size a transposed 4x4 at stride 2 (neither where `plain`), and for others
  that are not smaller it has a kernel of 1 + the difference in size. For
  vectors and tokens it is a dense layer.
  """

  shape: tuple[int, ...]
  norm: bool = True
  relu: bool = True
  plain: bool = False

  @nn.compact
  def __call__(self, x):
    x = self._project(x)
    if self.norm:
      x = adapters.norm()(x)
    return nn.relu(x) if self.relu else x

  def _project(self, x):
    channels, bias = self.shape[-1], not self.norm
    if x.ndim != 4:
      return nn.Dense(channels, use_bias=bias)(x)
    sizes = list(zip(x.shape[1:3], self.shape[1:3]))
    if not self.plain and all(s == 2 * t for s, t in sizes):
      pad = ((1, 1), (1, 1))
      return convolution.conv(
        channels, (3, 3), (2, 2), padding=pad, use_bias=bias
      )(x)
    if not self.plain and all(2 * s == t for s, t in sizes):
      return nn.ConvTranspose(channels, (4, 4), (2, 2), use_bias=bias)(x)
    kernel = tuple(1 + s - t for s, t in sizes)
    return convolution.conv(channels, kernel, padding='VALID', use_bias=bias)(x)


def make_regressor(student, teacher, **options) -> adapters.Adapter:
  """The regressor between two shapes.

  Raises:
    ValueError: the teacher's map is larger, but not of twice the size, or the
      features are neither both maps nor equal in all but the last axis.
  """
  maps = len(student) == len(teacher) == 4
  larger = any(s < t for s, t in zip(student[1:3], teacher[1:3]))
  twice = all(2 * s == t for s, t in zip(student[1:3], teacher[1:3]))
  if maps:
    fits = not larger or (twice and not options.get('plain'))
  else:
    fits = student[1:-1] == teacher[1:-1]
  if not fits:
    raise adapters.refusal('regressor', student, teacher)
  module = Regressor(tuple(teacher), **options)
  return adapters.from_module(module, student)


def fitnet(
  *, layers: layer_names.Layers = (), variant: str = 'code'
) -> base.Method:
  """Hints: the teacher's feature, predicted from the student's.

    'code' (default)  mean (r(F_s) - F_t)^2 over all elements
    'paper'           sum (r(F_s) - F_t)^2 / 2
  The paper's u_h is the teacher's F_t, u_g the student's F_s, r the regressor.
  In 'code' r is a convolution that depends on the sizes (see `Regressor`),
  batch norm and ReLU; in 'paper' a convolution whose kernel is 1 + the
  difference in size, and ReLU. Read features after their ReLU: r has no
  negative values.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C], or vectors or tokens of
      the same length; several are summed. Text needs 'paper': batch norm would
      count padding.
    variant: 'code' or 'paper'.

  Returns:
    A method whose loss is f32 [B], squared units of the feature; 0 where the
    teacher is predicted. No hyperparameters. Weight 100 for 'code'. Couples
    the examples in 'code' (batch norm).

  Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", eq. 3,
    https://arxiv.org/abs/1412.6550, where the hint alone trains the lower half
    first. 'code' is RepDistiller's and mdistiller's: one stage, mean for sum,
    and batch norm in the regressor.
  """
  layers = layer_names.need('fitnet', layers)
  numerics.need_variant(variant, _VARIANTS)
  paper = variant == 'paper'

  distance = losses.feature_sse if paper else losses.feature_mse

  def plan(student, teacher):
    def make(s, t):
      return make_regressor(s, t, norm=not paper, plain=paper)

    return features.connect(layers, student, teacher, make)

  def compare(predicted, targets, hparams):
    del hparams
    total = sum(distance(x, t) for x, t in zip(predicted, targets))
    return total / 2 if paper else total

  return features.comparing(
    'fitnet', plan, compare, {}, batchwise=not paper, each=True
  )
