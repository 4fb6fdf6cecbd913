"""The KL to a mixture, kept accurate and differentiable at its two ends."""

import jax
import jax.numpy as jnp

from kd_jax.losses import numerics

Array = numerics.Array


def _exp(x: Array) -> Array:
  """e^x, kept finite: where the bound holds, its weight underflows anyway."""
  return jnp.exp(jnp.minimum(x, 80.0))


@jax.custom_jvp
def log_mix(gap: Array, share: Array, rest: Array) -> Array:
  """log(rest + share e^gap), rest = 1 - share, with all its digits near 0."""
  step = share * jnp.expm1(jnp.minimum(gap, 80.0))
  near = jnp.abs(step) < 0.5
  small = jnp.log1p(jnp.where(near, step, 0))
  large = jnp.logaddexp(jnp.log(rest), jnp.log(share) + gap)
  return jnp.where(near, small, large)


@log_mix.defjvp
def _log_mix_jvp(primals, tangents):
  # By hand: at shares 0 and 1 a log above is infinite, the derivative is not.
  # The tangent of `rest` is minus that of `share`, and counted there.
  (gap, share, _), (d_gap, d_share, _) = primals, tangents
  value = log_mix(*primals)
  by_gap = share * _exp(gap - value)
  rise = jnp.expm1(-jnp.abs(gap)) * _exp(jnp.maximum(gap, 0) - value)
  by_share = jnp.where(gap > 0, -rise, rise)
  return value, by_gap * d_gap + by_share * d_share


def excess(log_p: Array, log_q: Array, share: Array, rest: Array) -> Array:
  """KL(p || rest p + share q) / share: KL(p || q) at share 1, 0 at share 0.

  Finite and differentiable, by the logits and by the share, on [0, 1].

  Args:
    log_p: log probabilities [B, ..., K].
    log_q: log probabilities [B, ..., K].
    share: the part of q, a scalar.
    rest: 1 - share. Both are arguments because the caller knows the smaller
      of them with all its digits, which the difference would lose.

  Returns:
    f32 [B, ...], in nats.
  """
  p, q = jnp.exp(log_p), jnp.exp(log_q)
  live = p > 0
  gap = jnp.where(live, log_q, 0) - jnp.where(live, log_p, 0)
  near = live & (jnp.abs(gap) < 1)
  # The derivative divides by the square of share, which must not underflow.
  inside = share > 1e-18
  ratio = log_mix(gap, share, rest) / jnp.where(inside, share, 1)
  # Each class >= 0, as in `numerics.kl`, of which this is the case share = 1.
  bend = jnp.expm1(jnp.where(near, gap, 0)) - ratio
  terms = jnp.where(near, p * bend, q - p - p * ratio)
  # To first order in the share, for the derivative at 0.
  end = share * p * jnp.expm1(jnp.minimum(gap, 20.0)) ** 2 / 2
  return jnp.sum(jnp.where(inside, terms, end), axis=-1)
