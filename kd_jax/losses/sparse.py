"""Losses against a teacher of which k classes are known, or some draws.

The known classes and one bin for all others, the tail, are a distribution of
k + 1 classes on either side; every divergence compares them as it compares
logits. Three ways with the mass of the others:

  'tail'                 the bin. By the data-processing inequality a KL over
                         bins is at most the KL over classes, and equals it
                         where the k classes are all there are.
  'renormalize'          both sides are divided by their mass in the k classes.
                         The value is 0 whatever the student puts elsewhere.
  'renormalize_teacher'  the teacher alone, against the student's whole softmax:
                         a proper KL, to a teacher without a tail, which the
                         student learns to have none of either.
"""

import jax
import jax.numpy as jnp

from kd_jax.losses import divergences, numerics

Array = numerics.Array

# Outputs of a teacher of which some classes are known, and of one of which some
# classes are drawn, in place of its logits.
KNOWN = ('top_log_probs', 'top_classes', 'top_log_rest')
DRAWN = ('sampled_classes', 'sampled_weights')

VARIANTS = ('tail', 'renormalize', 'renormalize_teacher')
SUPPORTS = ('teacher', 'student')


def bins(log_p: Array, classes: Array, variant: str = 'tail') -> Array:
  """Some classes of a distribution, and the rest of it in one bin.

  Args:
    log_p: log probabilities [B, ..., K].
    classes: indices [B, ..., k], each at most once.
    variant: 'tail' or 'renormalize'.

  Returns:
    Log probabilities: the classes and the tail [B, ..., k + 1], or the classes
    over their sum [B, ..., k].
  """
  log_top = jnp.take_along_axis(log_p, classes, axis=-1)
  if variant == 'renormalize':
    return jax.nn.log_softmax(log_top, axis=-1)
  floor = jnp.finfo(log_p.dtype).min
  rest = jnp.put_along_axis(log_p, classes, floor, axis=-1, inplace=False)
  tail = jax.nn.logsumexp(rest, axis=-1, keepdims=True)
  return jnp.concatenate([log_top, tail], axis=-1)


def log_tail(log_top: Array) -> Array:
  """log(1 - sum p) [B, ...] of some classes' log probabilities [B, ..., k].

  At least -16: in f32 the sum is known to 1e-7, so no smaller rest is.
  """
  mass = jax.nn.logsumexp(log_top, axis=-1)
  return jnp.log(-jnp.expm1(jnp.minimum(mass, -jnp.exp(-16.0))))


def known_bins(
  log_top: Array, log_rest: Array | None, temperature, variant: str = 'tail'
) -> Array:
  """The teacher's bins, from stored log probabilities at temperature 1.

  log q_i = log p_i / T - log(sum p_j^(1/T) + rest^(1/T)), the rest left out of
  the sum unless 'tail'. At T = 1 this is exact. At another T the tail is one
  class to the power 1/T, where it should be the sum of many: store what was
  tempered instead (`log_top` of softmax(z / T), with temperature=1).

  Args:
    log_top: log probabilities [B, ..., k] of the known classes.
    log_rest: log of the others' mass [B, ...]; None: what is left of 1.
    temperature: T.
    variant: one of VARIANTS.

  Returns:
    Log probabilities [B, ..., k + 1] for 'tail', else [B, ..., k].
  """
  log_top = numerics.f32(log_top)
  if variant == 'tail':
    rest = log_tail(log_top) if log_rest is None else numerics.f32(log_rest)
    log_top = jnp.concatenate([log_top, rest[..., None]], axis=-1)
  return numerics.log_probs(log_top, temperature)


def pair(
  student: Array,
  log_top: Array,
  classes: Array,
  log_rest: Array,
  variant: str = 'tail',
) -> tuple[Array, Array]:
  """Both sides as logits of the known classes and, with one, the tail.

  What any divergence of two logits compares: at T = 1 the bins themselves, and
  no more than over all classes; at another T their tempered selves, with the
  tail as one class, which may be more. At k = K it is the divergence of all
  classes, at any T.

  Args:
    student: logits z_s [B, ..., K].
    log_top, classes, log_rest: as in `topk_kl`.
    variant: one of VARIANTS. Of 'renormalize_teacher' the teacher has a tail of
      mass 0 where the student has its own, so that a KL from the teacher is
      that to the student's whole softmax.

  Returns:
    (student's, teacher's) [B, ..., k + 1]; [B, ..., k] where `variant` is
    'renormalize', or k = K.
  """
  numerics.need_variant(variant, VARIANTS)
  if classes.shape[-1] == student.shape[-1]:
    variant = 'renormalize'
  if variant == 'renormalize_teacher':
    log_rest = jnp.full_like(log_rest, -jnp.inf)
  kept = 'renormalize' if variant == 'renormalize' else 'tail'
  ours = bins(numerics.log_probs(student), classes, kept)
  return ours, known_bins(log_top, log_rest, 1.0, kept)


def topk_kl(
  student: Array,
  log_top: Array,
  classes: Array,
  *,
  log_rest: Array | None = None,
  temperature: float = 1.0,
  variant: str = 'tail',
) -> Array:
  """KL from a teacher known in k classes to the student.

  L = T^2 KL(b_t || b_s), b_t = `known_bins`, b_s the same bins of
  softmax(z_s / T).

  Args:
    student: logits z_s [B, ..., K].
    log_top: the teacher's log probabilities [B, ..., k] at temperature 1.
    classes: of them, indices [B, ..., k].
    log_rest: log of the others' mass [B, ...]; None: what is left of 1.
    temperature: T.
    variant: one of VARIANTS.

  Returns:
    f32 [B, ...], in nats times T^2. With 'tail' at T = 1 at most the KL over
    all classes; with 'renormalize' 0 for some students that differ; with
    'renormalize_teacher' at least -log of the student's mass in the classes.

  Raises:
    ValueError: another variant.

  Source: arcee-ai/DistillKit, lossfuncs/kl.py: 'tail' is its
    'symmetric_uniform', 'renormalize_teacher' its 'zero'; tunix and maxtext
    have 'renormalize'.
  """
  numerics.need_variant(variant, VARIANTS)
  if variant == 'tail' and classes.shape[-1] == student.shape[-1]:
    variant = 'renormalize'  # there is no tail
  log_s = numerics.log_probs(student, temperature)
  log_t = known_bins(log_top, log_rest, temperature, variant)
  squared = numerics.per_prediction(temperature, log_s) ** 2
  if variant != 'renormalize_teacher':
    return squared * numerics.kl(log_t, bins(log_s, classes, variant))
  log_s = jnp.take_along_axis(log_s, classes, axis=-1)
  return squared * numerics.weighted(jnp.exp(log_t), log_t - log_s)


def topk_jsd(
  student: Array,
  teacher: Array,
  *,
  k: int = 64,
  beta: float = 0.5,
  temperature: float = 1.0,
  variant: str = 'tail',
  support: str = 'teacher',
) -> Array:
  """Generalized Jensen-Shannon divergence on the k largest classes.

  `divergences.generalized_jsd` of the bins of both sides: KL(b_t || b_s) at
  beta 0, KL(b_s || b_t) at beta 1. A divergence that reads the student's
  probabilities (beta > 0) needs the tail: without it the loss falls as the
  student moves its mass out of the k classes.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    k: classes kept, static; from K on they are all kept.
    beta: in [0, 1].
    temperature: T, without T^2.
    variant: 'tail' or 'renormalize' (see above).
    support: whose k largest classes: 'teacher' or 'student'. The choice has no
      gradient.

  Returns:
    f32 [B, ...], in nats; 0 at equal logits.

  Raises:
    ValueError: k < 1, another variant or support.

  Source: Agarwal et al. 2024 (GKD), https://arxiv.org/abs/2306.13649, for the
    divergence; the tail as in trl's `_add_tail_bucket`, the student's support
    as in its self-distillation.
  """
  numerics.need_variant(variant, VARIANTS[:2])
  numerics.need_variant(support, SUPPORTS, 'support')
  if k < 1:
    raise ValueError(f'topk_jsd needs k >= 1, not {k}')
  sides = [numerics.log_probs(x, temperature) for x in (student, teacher)]
  if k < student.shape[-1]:
    _, classes = jax.lax.top_k(sides[support == 'teacher'], k)
    sides = [bins(x, classes, variant) for x in sides]
  return divergences.generalized_jsd(*sides, beta=beta)


def sampled_cross_entropy(
  student: Array, classes: Array, weights: Array
) -> Array:
  """Cross-entropy of the student with classes drawn from the teacher.

  L = -sum_i w_i log p_s(c_i), w = count / n of n draws with replacement from
  p_t. Its mean over the draws is the cross-entropy with p_t, and so is its
  gradient's: unlike a top k it has no bias.

  Args:
    student: logits z_s [B, ..., K].
    classes: indices [B, ..., n] of the classes drawn.
    weights: w [B, ..., n]; 0 in places without a class.

  Returns:
    f32 [B, ...], in nats.

  Source: Anshumann et al. 2025, "Sparse Logit Sampling",
    https://arxiv.org/abs/2503.16870, with the teacher at T = 1 as proposal.
  """
  log_p = jnp.take_along_axis(numerics.log_probs(student), classes, axis=-1)
  return -numerics.weighted(numerics.f32(weights), log_p)
