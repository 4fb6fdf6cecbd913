"""CTKD: learns the temperature against the student."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import logits, numerics, temperatures
from kd_jax.methods import adapters, base, pairs

_START = 1.0  # initial tau, as in the authors' code: T is 15.62


def ctkd(
  *,
  t_start: kinds.Temperature = 1.0,
  t_end: kinds.NonNegative = 20.0,
  reversal: kinds.NonNegative = 1.0,
  decay_steps: kinds.NonNegative = 7820.0,
  standardize: bool = False,
  variant: str = 'global',
  width: kinds.Count = 32,
) -> base.Method:
  """Curriculum temperature: the soft loss at a T trained to raise it.

  L = T^2 KL(p_t^T || p_s^T) with T = t_start + t_end sigmoid(tau). The student
  lowers L; tau raises it, since its gradient is multiplied by -lambda, with
  lambda = reversal (1 - cos(pi min(n / decay_steps, 1))) / 2 at step n: the
  task gets harder along half a cosine. The gradient flows through T^2 too.
    'global' (default)  tau is one number, and T the same for all examples
    'instance'          tau is an example's own: two dense layers, a ReLU in
                        between, on the logits of both sides. These pass no
                        gradient back to the student, which sees T as given.

  Args:
    t_start: the least T.
    t_end: T lies between t_start and t_start + t_end.
    reversal: the final lambda.
    decay_steps: over which lambda rises from 0 (7820: ten epochs of CIFAR-100
      in batches of 64); 0 has no rise.
    standardize: z-scores the logits first; static.
    variant: 'global' or 'instance'.
    width: of the layer in between, in 'instance'; static.

  Returns:
    A method whose loss is f32 [B], in nats times T^2; 0 at equal logits. It
    learns tau [] (from 1), or the two layers, with the student's optimizer and
    counts its steps.
    With an optimizer that rescales gradients, such as Adam, only the sign of
    lambda has an effect.

  Source: Li et al. 2023, "Curriculum Temperature for Knowledge Distillation",
    equations 3 to 6, https://arxiv.org/abs/2211.16231. Defaults as in its
    scripts, which change lambda by epochs; its argument defaults divide by 0.
    The network of 'instance' is not in its repository: the paper describes one
    of two layers on both predictions; its width is ours.
  """
  defaults = {
    't_start': float(t_start),
    't_end': float(t_end),
    'reversal': float(reversal),
    'decay_steps': float(decay_steps),
  }

  numerics.need_variant(variant, ('global', 'instance'))
  each = variant == 'instance'

  def init(key, student, teacher):
    pairs.check_logits('ctkd', student, teacher)
    params = {'tau': jnp.float32(_START)}
    if each:
      params = _tau(width, student['logits']).init(key)['params']
    return {'params': params, 'state': {'step': jnp.int32(0)}}

  def loss(variables, student, teacher, batch, hparams):
    del batch
    step, pair = (
      variables['state']['step'],
      (student['logits'], teacher['logits']),
    )
    if standardize:
      pair = tuple(logits.standardize(x) for x in pair)
    if each:
      both = jax.lax.stop_gradient(jnp.concatenate(pair, axis=-1))
      learned = {'params': variables['params']}
      tau = _tau(width, pair[0]).apply(learned, both)[0][..., 0]
    else:
      tau = variables['params']['tau']
    temperature = hparams['t_start'] + hparams['t_end'] * jax.nn.sigmoid(tau)
    strength = hparams['reversal'] * rise(step, hparams['decay_steps'])
    temperature = logits.gradient_reversal(temperature, strength)
    compare = temperatures.kd_each if each else logits.kd
    return compare(*pair, temperature=temperature), {'step': step + 1}

  return base.Method(init, loss, defaults)


class Tau(nn.Module):
  """Two dense layers with a ReLU in between, to one number."""

  width: int

  @nn.compact
  def __call__(self, x):
    return nn.Dense(1)(nn.relu(nn.Dense(self.width)(x)))


def _tau(width, logits) -> adapters.Adapter:
  """The network that reads the logits of both sides."""
  shape = (*logits.shape[:-1], 2 * logits.shape[-1])
  return adapters.from_module(Tau(width), shape)


def rise(step: jax.Array, steps: jax.Array) -> jax.Array:
  """From 0 to 1 along half a cosine; 1 at once where `steps` is 0."""
  rising = steps > 0
  share = jnp.where(rising, step / jnp.where(rising, steps, 1), 1)
  return (1 - jnp.cos(jnp.pi * jnp.clip(share, 0, 1))) / 2
