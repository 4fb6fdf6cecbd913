"""Log-space pieces that the logit losses share, finite at their edges."""

import difflib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def f32(x: Array) -> Array:
  """`x` in at least f32: bf16 is widened, f64 stays f64."""
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def per_prediction(value, logits: Array) -> Array:
  """A scalar, or one number per prediction [B, ...], in the logits' dtype."""
  return jnp.asarray(value, logits.dtype)


def soften(logits: Array, temperature) -> Array:
  """z / T in f32; T is a scalar or one number per prediction [B, ...]."""
  logits = f32(logits)
  temperature = per_prediction(temperature, logits)
  if temperature.ndim:
    temperature = temperature[..., None]
  return logits / temperature


def log_probs(logits: Array, temperature=1.0) -> Array:
  """log softmax(z / T) over the last axis, in f32."""
  return jax.nn.log_softmax(soften(logits, temperature), axis=-1)


def weighted(p: Array, log_p: Array) -> Array:
  """sum p log_p over the last axis, where 0 * -inf counts as 0."""
  log_p = jnp.where(p > 0, log_p, 0)
  return jnp.sum(p * log_p, axis=-1)


def kl(log_p: Array, log_q: Array) -> Array:
  """KL(p || q) over the last axis, in nats; classes with p = 0 cost nothing.

  Both must sum to 1: each class gives q - p + p log(p / q) >= 0, and the
  q - p add up to 0. A rounding error that all classes share, as that of a
  log-sum-exp, then cancels, so that a small KL keeps its digits and its sign.
  """
  p, q = jnp.exp(log_p), jnp.exp(log_q)
  # Masked before the difference: -inf - -inf would put NaN in the gradient.
  live = p > 0
  gap = jnp.where(live, log_q, 0) - jnp.where(live, log_p, 0)
  near = live & (jnp.abs(gap) < 1)
  bend = jnp.expm1(jnp.where(near, gap, 0)) - gap
  return jnp.sum(jnp.where(near, p * bend, q - p - p * gap), axis=-1)


def is_soft(labels: Array) -> bool:
  """Whether labels are floats: distributions [B, ..., K], and not indices."""
  return jnp.issubdtype(jnp.asarray(labels).dtype, jnp.floating)


def is_target(labels: Array, logits: Array) -> Array:
  """bool [B, ..., K], true at the label; soft labels by their largest class.

  An index that names no class, such as -100, gives a row of false.
  """
  if is_soft(labels):
    labels = jnp.argmax(labels, axis=-1)
  classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
  classes = classes.reshape((1,) * (logits.ndim - 1) + (-1,))
  return jnp.asarray(labels)[..., None] == classes


def without(x: Array, dropped: Array) -> Array:
  """`x` with the dropped entries at the floor of its type, out of a softmax.

  The floor and not -inf: a row of which nothing is left then gives no NaN.
  """
  return jnp.where(dropped, jnp.finfo(x.dtype).min, x)


def root(x: Array) -> Array:
  """The square root with gradient 0, not infinity, at 0."""
  positive = x > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def need_variant(
  variant: str, known: Sequence[str], kind: str = 'variant'
) -> None:
  """Raises ValueError, with the near and known ones, for another variant."""
  if variant in known:
    return
  near = difflib.get_close_matches(str(variant), known, n=1)
  hint = f" did you mean '{near[0]}'?" if near else ''
  raise ValueError(
    f"unknown {kind} '{variant}';{hint} known: {', '.join(known)}"
  )
