"""Trains teachers and students at once: online, mutual, branches of a trunk."""

from collections.abc import Sequence

import jax.numpy as jnp

from kd_jax import kinds, stages, terms, views
from kd_jax.schemes import base


def online(
  cast: base.Cast, *, student='student', teacher='teacher', both=False
) -> list[stages.Stage]:
  """Teacher and student learn at the same time.

  The teacher learns from the labels alone; with `both`, from the student by
  the same terms too.
  """
  base.need(cast, student, teacher)
  base.need_term(cast, teacher)
  of = dict(cast.terms)
  of[f'hard_{teacher}'] = base.hard(teacher, method=cast.hard)
  if both:
    base.need_no_views(cast)
    soft = {
      n: t
      for n, t in cast.terms.items()
      if stages.network_of(t.teacher) == teacher
    }
    back = base.retarget(soft, teacher, teacher, student)
    of |= {f'{name}_{teacher}': term for name, term in back.items()}
  learners = (student, teacher)
  others = [n for n in base.taught_by(cast, of) if n not in learners]
  return [
    *base.teachers(cast, others),
    *base.baselines(cast, (student,)),
    base.stage(cast, student, learners, of, roles={teacher: stages.TEACHER}),
  ]


def mutual(
  cast: base.Cast,
  *,
  peers: Sequence[str] = ('student', 'peer'),
  committee=False,
) -> list[stages.Stage]:
  """Peers of any architectures learn from the labels and from each other.

  A term of the config whose teacher is 'peers' becomes, for each peer, one
  term of every other peer with weight / (peers - 1); all other terms are
  copied to each peer. With `committee` each learns instead from the mean of
  the others' logits.

  Source: Zhang, Xiang, Hospedales, Lu, Deep mutual learning, 2018,
    https://arxiv.org/abs/1706.00384, equations 6 to 8; Guo et al., KDCL,
    2020 (the committee; theirs includes the learner and may weigh).

  Raises:
    ValueError: for fewer than two peers, a peer that is named twice, or no
      term that names 'peers'.
  """
  if len(set(peers)) < max(2, len(peers)):
    raise ValueError(
      f'mutual learning needs two peers or more, each once, not {list(peers)}'
    )
  base.need(cast, *peers)
  base.need_term(cast, base.PEERS)
  base.need_no_views(cast)
  of, committees = {}, {}
  for peer in peers:
    others = [name for name in peers if name != peer]
    if committee:
      committees[f'others_of_{peer}'] = views.mean_logits(others)
      others = [f'others_of_{peer}']
    of |= _of_peer(cast, peer, others)
  shared = [n for n in base.taught_by(cast, of) if n not in peers]
  return [
    *base.teachers(cast, shared),
    *base.baselines(cast, peers),
    base.stage(cast, peers[0], peers, of, views=committees),
  ]


def _of_peer(cast, peer, others) -> dict[str, terms.Term]:
  """The terms by which a peer learns."""
  of = {}
  for name, term in cast.terms.items():
    learner = stages.signal_of(peer, like=term.student)
    if stages.network_of(term.teacher) != base.PEERS:
      of[f'{name}_{peer}'] = term._replace(student=learner)
      continue
    for other in others:
      of[f'{name}_{peer}_{other}'] = term._replace(
        student=learner,
        teacher=stages.signal_of(other, like=term.teacher),
        weight=term.weight / len(others),
      )
  return of


def branches(
  cast: base.Cast, *, student='student', ramp: kinds.NonNegative = 5.0
) -> list[stages.Stage]:
  """Branches on one trunk learn from their gated ensemble.

  The student is a network with branches (`kd_jax.models.heads`), whose
  'logits' are the ensemble that its gate mixes. Terms with the labels are
  copied to the ensemble and every branch; terms with teacher 'ensemble' to
  every branch, with a weight that rises as w(t) = exp(-ramp (1 - t)^2) over
  the stage.

  Source: Lan, Zhu, Gong, Knowledge distillation by on-the-fly native
    ensemble (ONE), 2018, https://arxiv.org/abs/1806.04606, equations 4 to 8;
    T = 3 and ramp = 5 there, over the first 80 epochs.
  """
  branch_views = {
    key.removeprefix('logits_'): views.output([student], key)
    for key in base.heads(cast, student, 'branch')
  }
  base.need_term(cast, 'ensemble')
  base.need_no_views(cast)
  steps = cast.train.steps

  def rising(step):
    return jnp.exp(-ramp * (1 - jnp.clip(step / steps, 0, 1)) ** 2)

  of = {}
  for name, term in cast.terms.items():
    if term.teacher == terms.LABELS:
      of[name] = term
    for branch in branch_views:
      taught = term._replace(
        student=stages.signal_of(branch, like=term.student)
      )
      if term.teacher == 'ensemble':
        taught = base.weighed(taught._replace(teacher=student), rising)
      of[f'{name}_{branch}'] = taught
  return [
    *base.baselines(cast, (student,)),
    base.stage(cast, student, (student,), of, views=branch_views),
  ]
