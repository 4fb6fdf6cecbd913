"""Factor transfer: the student translates the teacher's paraphrased feature."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import factors as losses
from kd_jax.losses import features as feature_losses
from kd_jax.losses import numerics, spatial
from kd_jax.methods import adapters, base, features, layer_names
from kd_jax.models import convolution

_VARIANTS = ('code', 'paper')


class Convolutions(nn.Module):
  """3x3 convolutions of these widths, each with a leaky ReLU (0.1)."""

  widths: tuple[int, ...]
  norm: bool = False

  @nn.compact
  def __call__(self, x):
    for width in self.widths:
      x = convolution.conv(width, (3, 3), use_bias=not self.norm)(x)
      if self.norm:
        x = adapters.norm()(x)
      x = nn.leaky_relu(x, 0.1)
    return x


def ft(
  *,
  layers: layer_names.Layers = (),
  paraphraser_steps: int | None = None,
  rate: kinds.Positive = 0.5,
  variant: str = 'code',
  reconstruction: kinds.NonNegative = 0.005,
) -> base.Method:
  """Factor transfer: the student translates the teacher's paraphrase.

  The term has two stages, by its count of updates n:
    n < paraphraser_steps   reconstruction * mean (D(E(t)) - t)^2, which trains
                            only the paraphraser (E, D)
    afterwards              the distance of the factors E(t) and R(s), which
                            trains the translator R and the student; E stays as
                            it was at the end of the first stage
  t and s are the features. The distance is
    'code' (default)  mean |q_t - q_s|, q the normalized mean over channels of
                      the squared factor (`losses.factors.factor`)
    'paper'           |f_t / |f_t|_2 - f_s / |f_s|_2|_1 of whole factors
  Each of E, D and R is three 3x3 convolutions with leaky ReLUs, R with batch
  norm; factors have rate * C channels. The larger factor is pooled.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C]; several are summed.
    paraphraser_steps: updates of the first stage, required (the source has 30
      epochs).
    rate: k, channels of a factor over the teacher's (0.5).
    variant: 'code' or 'paper'.
    reconstruction: a hyperparameter (0.005) that cancels the weight 200 in the
      first stage, where the source has weight 1.

  Returns:
    A method whose loss is f32 [B]: first in squared units of the feature, then
    without unit.
    Weight 200. Couples the examples (batch norm).

  Source: Kim et al. 2018, "Paraphrasing Complex Network: Network Compression
    via Factor Transfer", https://arxiv.org/abs/1802.04977. 'code' and the
    layers of E, D and R are RepDistiller's, which trains E and D before, at
    the rate 0.01 for ResNets and WRNs; here they have the student's.
  """
  layers, steps = layer_names.need('ft', layers), _need_steps(paraphraser_steps)
  numerics.need_variant(variant, _VARIANTS)

  def plan(student, teacher):
    make = functools.partial(_parts, rate=rate)
    return features.connect(layers, student, teacher, make)

  def init(key, student, teacher):
    return _init(key, plan(student, teacher))

  def loss(variables, student, teacher, batch, hparams):
    del batch
    first = variables['state']['count'] < steps
    total, state = 0.0, {'count': variables['state']['count'] + 1}
    for i, pair in enumerate(plan(student, teacher)):
      value, state[f'pair{i}'] = _staged(
        pair.adapter,
        features.variables_of(variables, i),
        first,
        student[pair.student],
        teacher[pair.teacher],
        hparams['reconstruction'],
        variant,
      )
      total += value
    return total, state

  def trains(state):
    first = state['count'] < steps
    parts = {'encoder': first, 'decoder': first, 'translator': ~first}
    return {name: parts for name in state if name != 'count'}

  hparams = {'reconstruction': float(reconstruction)}
  return base.Method(init, loss, hparams, batchwise=True, trains=trains)


def _need_steps(steps):
  if steps is not None and steps >= 0:
    return steps
  raise ValueError(
    "method 'ft' needs paraphraser_steps, the updates that train its "
    f'paraphraser first; got {steps}'
  )


def _init(key, pairs):
  """The variables of each pair's parts, and a copy of the encoder to freeze."""
  params, state = {}, {'count': jnp.int32(0)}
  for i, pair in enumerate(pairs):
    keys = jax.random.split(jax.random.fold_in(key, i), 3)
    parts = {n: p.init(k) for (n, p), k in zip(pair.adapter.items(), keys)}
    params[f'pair{i}'] = {n: v['params'] for n, v in parts.items()}
    state[f'pair{i}'] = {
      # A copy: one buffer cannot be donated in two places.
      'frozen': jax.tree.map(jnp.copy, parts['encoder']['params']),
      'batch_stats': parts['translator']['batch_stats'],
    }
  return {'params': params, 'state': state}


def _parts(student, teacher, rate):
  """{'encoder', 'decoder', 'translator'} between two shapes."""
  if len(student) != 4 or len(teacher) != 4:
    raise adapters.refusal('ft', student, teacher)
  ours, theirs = student[-1], teacher[-1]
  factor = int(theirs * rate)
  if not factor:
    raise ValueError(f'rate={rate} leaves no channel of {theirs}')
  shape = (*teacher[:-1], factor)
  from_module = adapters.from_module
  return {
    'encoder': from_module(Convolutions((theirs, factor, factor)), teacher),
    'decoder': from_module(Convolutions((factor, theirs, theirs)), shape),
    'translator': from_module(
      Convolutions((ours, factor, factor), norm=True), student
    ),
  }


def _staged(parts, variables, first, student, teacher, scale, variant):
  """The value [B] of one pair in its stage, and its new state."""
  params = variables['params']

  def paraphrase():
    factor, _ = parts['encoder'].apply({'params': params['encoder']}, teacher)
    rebuilt, _ = parts['decoder'].apply({'params': params['decoder']}, factor)
    value = scale * feature_losses.feature_mse(rebuilt, teacher)
    frozen = jax.lax.stop_gradient(params['encoder'])
    return value, {'frozen': frozen, 'batch_stats': variables['batch_stats']}

  def transfer():
    # A copy: the value is to depend on no parameter without a gradient.
    frozen = variables['frozen']
    theirs, _ = parts['encoder'].apply({'params': frozen}, teacher)
    translator = {
      'params': params['translator'],
      'batch_stats': variables['batch_stats'],
    }
    ours, new = parts['translator'].apply(translator, student)
    return _distance(ours, theirs, variant), {'frozen': frozen, **new}

  return _either(first, paraphrase, transfer)


def _either(first, then, otherwise):
  """then() where `first` holds, else otherwise().

  On CPU both are computed: XLA's convolutions take ten times as long there in
  a conditional, as in a loop (jax issue 12868).
  """

  def both():
    return jax.tree.map(
      lambda x, y: jnp.where(first, x, y), then(), otherwise()
    )

  def cond():
    return jax.lax.cond(first, then, otherwise)

  return jax.lax.platform_dependent(cpu=both, default=cond)


def _distance(student, teacher, variant):
  if variant == 'code':
    return losses.factor(student, teacher)
  s, t = (x.reshape(x.shape[0], -1, 1) for x in spatial.align(student, teacher))
  # The factors as places of one channel; mean times number is the sum.
  return losses.factor(s, t, p1=1, p2=1) * s.shape[1]
