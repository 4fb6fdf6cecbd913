"""Divergences between two softmaxes: both directions and what lies between.

All compare p = softmax(z / T). None is times T^2 unless `t_squared=True`
(static): their sources use T = 1, where it is the same. With it the gradient
keeps its size when T changes, as that of `logits.kd` does.
"""

import jax.numpy as jnp

from kd_jax.losses import mixtures, numerics

Array = numerics.Array


def _sides(student: Array, teacher: Array, temperature):
  """log p_s and log p_t."""
  return (
    numerics.log_probs(student, temperature),
    numerics.log_probs(teacher, temperature),
  )


def _scaled(value: Array, temperature, t_squared: bool) -> Array:
  """`value`, times T^2 if `t_squared`."""
  if not t_squared:
    return value
  return numerics.per_prediction(temperature, value) ** 2 * value


def _entropy(log_p: Array) -> Array:
  """-sum p log p, the part of a cross-entropy that its KL lacks."""
  return -numerics.weighted(jnp.exp(log_p), log_p)


def forward_kl(
  student: Array,
  teacher: Array,
  *,
  temperature: float = 1.0,
  t_squared: bool = False,
  variant: str = 'kl',
) -> Array:
  """KL from teacher to student, or its cross-entropy form.

  L = sum p_t (log p_t - log p_s) ('kl'), or -sum p_t log p_s
  ('cross_entropy', larger by the teacher's entropy, the same gradient).

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T.
    t_squared: times T^2; 'kl' is then `logits.kd`.
    variant: 'kl' or 'cross_entropy'.

  Returns:
    f32 [B, ...], in nats; 'kl' is 0 at equal logits, 'cross_entropy' is the
    teacher's entropy there.

  Raises:
    ValueError: another variant.

  Source: the code of Ko et al. 2024 (DistiLLM),
    https://arxiv.org/abs/2402.03898, has the cross-entropy under this name.
  """
  numerics.need_variant(variant, ('kl', 'cross_entropy'))
  log_s, log_t = _sides(student, teacher, temperature)
  value = numerics.kl(log_t, log_s)
  if variant == 'cross_entropy':
    value = value + _entropy(log_t)
  return _scaled(value, temperature, t_squared)


def reverse_kl(
  student: Array,
  teacher: Array,
  *,
  temperature: float = 1.0,
  t_squared: bool = False,
) -> Array:
  """KL from student to teacher: the student may drop modes, not invent them.

  L = sum p_s (log p_s - log p_t).

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T.
    t_squared: times T^2.

  Returns:
    f32 [B, ...], in nats; 0 at equal logits. Infinite where the teacher rules
    a class out (logit -inf) that the student does not.

  Source: Gu et al. 2024 (MiniLLM), https://arxiv.org/abs/2306.08543.
  """
  log_s, log_t = _sides(student, teacher, temperature)
  return _scaled(numerics.kl(log_s, log_t), temperature, t_squared)


def symmetric_kl(
  student: Array,
  teacher: Array,
  *,
  mix: float = 0.9,
  temperature: float = 1.0,
  t_squared: bool = False,
  variant: str = 'kl',
) -> Array:
  """Both directions of the KL, weighted.

  L = (1 - mix) KL(p_t || p_s) + mix KL(p_s || p_t); mix is lam in the code
  below. 'cross_entropy' puts -sum p_t log p_s for the first KL.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    mix: weight of the reverse KL, in [0, 1].
    temperature: T.
    t_squared: times T^2.
    variant: 'kl', or 'cross_entropy' as in the code.

  Returns:
    f32 [B, ...], in nats; 'kl' is 0 at equal logits, 'cross_entropy' is
    (1 - mix) times the teacher's entropy there.

  Raises:
    ValueError: another variant.

  Source: `symmetric_kl` in the code of Ko et al. 2024,
    https://github.com/jongwooko/distillm, with lam = 0.9.
  """
  scale = {'temperature': temperature, 't_squared': t_squared}
  forward = forward_kl(student, teacher, variant=variant, **scale)
  return (1 - mix) * forward + mix * reverse_kl(student, teacher, **scale)


def generalized_jsd(
  student: Array,
  teacher: Array,
  *,
  beta: float = 0.5,
  temperature: float = 1.0,
  normalize: bool = False,
  t_squared: bool = False,
) -> Array:
  """Generalized Jensen-Shannon divergence, between the two KLs.

  JSD = beta KL(p_t || m) + (1 - beta) KL(p_s || m), m = beta p_t + (1 - beta)
  p_s. As in trl, beta = 0 gives KL(p_t || p_s) and beta = 1 KL(p_s || p_t),
  though the formula tends to 0 there. `normalize` divides by beta (1 - beta):
  then the KLs at 0 and 1 are its limits, and nothing jumps.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    beta: in [0, 1], ends included; may be traced.
    temperature: T.
    normalize: divide by beta (1 - beta); static.
    t_squared: times T^2.

  Returns:
    f32 [B, ...], in nats; 0 at equal logits.

  Source: Agarwal et al. 2024 (GKD), https://arxiv.org/abs/2306.13649;
    endpoints as in trl, whose `temperature` argument is for sampling only.
  """
  log_s, log_t = _sides(student, teacher, temperature)
  beta = numerics.per_prediction(beta, log_s)
  rest = 1 - beta
  value = mixtures.excess(log_t, log_s, rest, beta)
  value = value + mixtures.excess(log_s, log_t, beta, rest)
  if not normalize:
    inside = (beta > 0) & (beta < 1)
    value = jnp.where(inside, beta * (1 - beta), 1) * value
  return _scaled(value, temperature, t_squared)


def js(
  student: Array,
  teacher: Array,
  *,
  mix: float = 0.9,
  temperature: float = 1.0,
  t_squared: bool = False,
) -> Array:
  """Jensen-Shannon divergence with unequal shares.

  L = (1 - mix) KL(p_t || m) + mix KL(p_s || m), m = (1 - mix) p_t + mix p_s;
  mix is lam in the code below. It is `generalized_jsd` at beta = 1 - mix, but
  0 at both ends; the symmetric divergence is mix = 0.5.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    mix: the student's share, in [0, 1].
    temperature: T.
    t_squared: times T^2.

  Returns:
    f32 [B, ...], in nats; 0 at equal logits, at most log 2 at mix = 0.5.

  Source: `js_distance` in the code of Ko et al. 2024,
    https://github.com/jongwooko/distillm, with lam = 0.9.
  """
  mix = numerics.per_prediction(mix, numerics.f32(student))
  value = generalized_jsd(
    student, teacher, beta=1 - mix, temperature=temperature, normalize=True
  )
  return _scaled(mix * (1 - mix) * value, temperature, t_squared)


def skew_kl(
  student: Array,
  teacher: Array,
  *,
  skew: float = 0.1,
  temperature: float = 1.0,
  t_squared: bool = False,
  variant: str = 'kl',
) -> Array:
  """KL from the teacher to a mixture of teacher and student.

  L = KL(p_t || skew p_t + (1 - skew) p_s): `forward_kl` at skew 0, always 0 at
  skew 1. 'cross_entropy' leaves the teacher's entropy out: the same gradient.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    skew: lambda in [0, 1], the teacher's share.
    temperature: T.
    t_squared: times T^2.
    variant: 'kl', or 'cross_entropy' as in the code.

  Returns:
    f32 [B, ...], in nats; 'kl' is 0 at equal logits and at most -log(skew),
    'cross_entropy' is larger by the teacher's entropy.

  Raises:
    ValueError: another variant.

  Source: Ko et al. 2024 (DistiLLM), https://arxiv.org/abs/2402.03898.
  """
  numerics.need_variant(variant, ('kl', 'cross_entropy'))
  log_s, log_t = _sides(student, teacher, temperature)
  skew = numerics.per_prediction(skew, log_s)
  value = (1 - skew) * mixtures.excess(log_t, log_s, 1 - skew, skew)
  if variant == 'cross_entropy':
    value = value + _entropy(log_t)
  return _scaled(value, temperature, t_squared)


def skew_reverse_kl(
  student: Array,
  teacher: Array,
  *,
  skew: float = 0.1,
  temperature: float = 1.0,
  t_squared: bool = False,
) -> Array:
  """KL from the student to a mixture of teacher and student.

  L = KL(p_s || (1 - skew) p_t + skew p_s): `reverse_kl` at skew 0, always 0 at
  skew 1.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    skew: lambda in [0, 1], the student's share.
    temperature: T.
    t_squared: times T^2.

  Returns:
    f32 [B, ...], in nats; 0 at equal logits, at most -log(skew).

  Source: Ko et al. 2024 (DistiLLM), https://arxiv.org/abs/2402.03898.
  """
  scale = {'temperature': temperature, 't_squared': t_squared}
  return skew_kl(teacher, student, skew=skew, **scale)


def tv(student: Array, teacher: Array, *, temperature: float = 1.0) -> Array:
  """Total variation distance.

  L = 1/2 sum |p_s - p_t|. Its gradient falls as 1 / T, not 1 / T^2.

  Args:
    student: logits z_s [B, ..., K].
    teacher: logits z_t [B, ..., K].
    temperature: T.

  Returns:
    f32 [B, ...], in [0, 1]; 0 at equal logits, where its gradient is put to
    0 (it has a corner there).

  Source: Wen et al. 2023 (f-distill), https://arxiv.org/abs/2307.15190.
  """
  log_s, log_t = _sides(student, teacher, temperature)
  return jnp.sum(jnp.abs(jnp.exp(log_s) - jnp.exp(log_t)), axis=-1) / 2
