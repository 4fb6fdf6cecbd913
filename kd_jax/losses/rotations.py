"""Losses on an image and its three rotations: self-supervision as knowledge.

Arrays are [B, 4, ...]: the upright image, then the turns by 90, 180 and 270
degrees. Both losses couple the examples.
"""

import jax
import jax.numpy as jnp

from kd_jax.losses import geometry, logits, numerics


def transformed(
  student: jax.Array,
  teacher: jax.Array,
  labels: jax.Array,
  valid: jax.Array,
  *,
  temperature: float = 4.0,
  ratio: float = 1.0,
) -> jax.Array:
  """Soft loss on the rotated images that the teacher tells well enough.

  L = T^2 KL(p_t || p_s), mean over the kept ones of the 3 B rotated images:
  those that the teacher has right, and of the wrong ones the share `ratio` (the
  whole number below it) whose label ranks highest. Among equal ranks the label
  of the greater probability comes first; the source leaves that open.

  Args:
    student: logits [B, 4, K]; the upright ones are not read.
    teacher: logits [B, 4, K].
    labels: i32 [B].
    valid: bool [B], the examples that count.
    temperature: T.
    ratio: share of the wrong ones.

  Returns:
    f32 [B], in nats times T^2: the mean over the valid examples is L.

  Source: Xu et al. 2020, as `contrasted`, L_tf.
  """
  s, t = student[:, 1:], teacher[:, 1:]
  value = logits.kd(s, t, temperature=temperature)
  classes = jnp.broadcast_to(jnp.asarray(labels)[:, None], t.shape[:2])
  kept = _kept(t, numerics.is_target(classes, t), valid, ratio)
  return _mean_of_kept(value, kept, valid)


def contrasted(
  student: jax.Array,
  teacher: jax.Array,
  valid: jax.Array,
  *,
  temperature: float = 0.5,
  ratio: float = 0.75,
) -> jax.Array:
  """How similar a rotated image is to every upright one, as the teacher sees.

  Row r of A is the softmax over the B upright images of cos(x_r, x_b) / T, r a
  rotated one. L = T^2 KL(A_t || A_s), mean over the rows kept as in
  `transformed`; right is the row whose own upright image is the most similar.

  Args:
    student: projected features [B, 4, D].
    teacher: likewise [B, 4, D'].
    valid: bool [B], the examples that count.
    temperature: T.
    ratio: share of the wrong rows.

  Returns:
    f32 [B], in nats times T^2: the mean over the valid examples is L.

  Source: Xu et al. 2020, "Knowledge Distillation Meets Self-Supervision", L_ss,
    https://arxiv.org/abs/2006.07114; the defaults are its code's.
  """
  s, t = (cosines(x, valid) for x in (student, teacher))
  value = logits.kd(s, t, temperature=temperature)
  kept = _kept(t, _itself(t), valid, ratio)
  return _mean_of_kept(value, kept, valid)


def contrast(features: jax.Array, valid: jax.Array) -> jax.Array:
  """The task that teaches a projection: whose rotation is it?

  Cross-entropy of the cosines of a rotated image with the upright ones, at
  temperature 1, mean over the three rotations.

  Args:
    features: projected [B, 4, D].
    valid: bool [B], the examples that count.

  Returns:
    f32 [B], in nats.

  Source: Xu et al. 2020, as `contrasted`, section 3.2.
  """
  scores = cosines(features, valid)
  log_p = numerics.log_probs(scores)
  return -jnp.mean(jnp.sum(jnp.where(_itself(scores), log_p, 0), -1), axis=1)


def cosines(features: jax.Array, valid: jax.Array) -> jax.Array:
  """Cosines of the rotated images with the upright ones.

  Args:
    features: [B, 4, D].
    valid: bool [B]; an upright image that does not count is at the floor.

  Returns:
    f32 [B, 3, B].
  """
  x = geometry.unit(numerics.f32(features))
  products = geometry.dot('brd,cd->brc', x[:, 1:], x[:, 0])
  # A gap that no softmax sees across, yet finite when divided by T.
  return jnp.where(valid[None, None, :], products, -1e4)


def _itself(scores) -> jax.Array:
  """bool [B, 3, B], true at the row's own image."""
  own = jnp.eye(scores.shape[0], dtype=bool)
  return jnp.broadcast_to(own[:, None, :], scores.shape)


def _kept(scores, target, valid, ratio) -> jax.Array:
  """bool [B, 3]: the rows right, and the best `ratio` of the wrong ones."""
  scores = numerics.f32(scores)
  hit = jnp.sum(jnp.where(target, scores, 0), axis=-1, keepdims=True)
  ranks = jnp.sum((scores > hit) & ~target, axis=-1)
  log_hit = hit[..., 0] - jax.nn.logsumexp(scores, axis=-1)
  counts = jnp.broadcast_to(valid[:, None], ranks.shape)
  wrong = counts & (ranks > 0)
  # Rows that do not count come last.
  ranks = jnp.where(counts, ranks, scores.shape[-1])
  order = jnp.lexsort((-log_hit.ravel(), ranks.ravel()))
  places = jnp.argsort(order).reshape(ranks.shape)
  share = jnp.floor(jnp.asarray(ratio, scores.dtype) * jnp.sum(wrong))
  return counts & (places < jnp.sum(counts & ~wrong) + share)


def _mean_of_kept(value, kept, valid) -> jax.Array:
  """[B], whose mean over the valid examples is that over the kept rows."""
  summed = jnp.sum(jnp.where(kept, value, 0), axis=1)
  return summed * jnp.sum(valid) / jnp.maximum(jnp.sum(kept), 1)
