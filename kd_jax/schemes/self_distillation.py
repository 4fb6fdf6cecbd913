"""Trains a student by itself: copies, generations, exits, soft labels."""

import jax.numpy as jnp

from kd_jax import kinds, stages, views
from kd_jax.schemes import base

TEACHER = 'teacher'


def self_snapshot(
  cast: base.Cast, *, every: kinds.Count = 3, student='student', teacher='past'
) -> list[stages.Stage]:
  """The teacher is a copy of the student from every `every` epochs.

  Until the first copy is taken the terms that read it weigh nothing; then what
  their own schedules say.

  Source: the first description asks for every = 3 epochs and alpha = 0.5;
    Yang, Xie, Su, Yuille, Snapshot distillation, 2019,
    https://arxiv.org/abs/1812.00123, takes it at the end of each cycle.

  Raises:
    ValueError: where no copy would be taken before the end.
  """
  first = every * cast.per_epoch
  if first >= cast.train.steps:
    raise ValueError(
      f'self_snapshot takes its first copy after every={every} epochs, {first} '
      f'steps, and there are {cast.train.steps}: nothing would be distilled'
    )

  def begun(step):
    return (step >= first) * 1.0

  of = {
    name: base.weighed(term, begun)
    if stages.network_of(term.teacher) == teacher
    else term
    for name, term in cast.terms.items()
  }
  return _copied(
    cast,
    student,
    of,
    teacher,
    snapshot={teacher: stages.Snapshot(student, first)},
  )


def self_ema(
  cast: base.Cast,
  *,
  decay: kinds.Fraction = 0.999,
  ramp=True,
  student='student',
  teacher='average',
) -> list[stages.Stage]:
  """The teacher is a moving average of the student (mean teacher).

  copy = d copy + (1 - d) student; d = decay, or with `ramp`
  min(decay, 1 - 1 / (step + 2)), which forgets the start.

  Source: Tarvainen, Valpola, Mean teachers, 2017,
    https://arxiv.org/abs/1703.01780, section 3. The first copy is the
    student itself. (A known code takes min(1e-3, ..), which keeps nothing.)
  """

  def schedule(step):
    return jnp.minimum(decay, 1 - 1 / (step + 2.0)) if ramp else decay

  ema = {teacher: stages.Ema(student, schedule)}
  return _copied(cast, student, cast.terms, teacher, ema=ema)


def _copied(cast, student, of, teacher, **copies) -> list[stages.Stage]:
  """A student that learns from its copy, and frozen teachers beside it."""
  base.need_term(cast._replace(terms=of), teacher)
  return [
    *base.before(cast, student),
    base.stage(cast, student, (student,), of, **copies),
  ]


def born_again(
  cast: base.Cast, *, generations=3, student='student'
) -> list[stages.Stage]:
  """Each generation learns from the generation before, from a fresh start.

  Generation 0 is the student alone (kept as 'baseline'); the last is kept as
  the student. Terms whose teacher is 'before' read the generation before.

  Source: Furlanello et al., Born-again neural networks, 2018,
    https://arxiv.org/abs/1805.04770 (fresh initializations; KD_Lib starts
    every generation from the same).

  Raises:
    ValueError: for fewer than two generations.
  """
  if generations < 2:
    raise ValueError(f'born_again needs two generations, not {generations}')
  base.need(cast, student)
  base.need_term(cast, base.BEFORE)
  base.need_no_views(cast)
  trained = [
    *base.teachers(
      cast, [n for n in base.taught_by(cast, cast.terms) if n != student]
    ),
    base.alone(student, cast.train, 'baseline', method=cast.hard),
  ]
  older = 'baseline'
  for number in range(1, generations):
    last = number == generations - 1
    name = f'generation_{number}'
    of = base.retarget(cast.terms, name, base.BEFORE, older)
    trained.append(
      base.stage(
        cast._replace(networks=(*cast.networks, name, older)),
        name,
        (name,),
        of,
        hands_on={name: student} if last else {},
        roles={} if last else {name: stages.GENERATION},
        built_as={n: student for n in (name, older) if n != student},
      )
    )
    older = name
  return trained


def self_exits(cast: base.Cast, *, student='student') -> list[stages.Stage]:
  """Be your own teacher: deeper exits teach the earlier ones.

  The student is a network with exits (`kd_jax.models.heads`). Terms with the
  labels are copied to every exit; terms whose teacher is 'deepest' make every
  exit learn from the network's last logits, as constants.

  Source: Zhang et al., Be your own teacher, 2019,
    https://arxiv.org/abs/1905.08094, equations 1 and 2 (its third loss, on
    features, is a feature term of the config).
  """
  exit_views = {
    key.removeprefix('logits_'): views.output([student], key)
    for key in base.heads(cast, student, 'exit')
  }
  base.need_term(cast, 'deepest')
  base.need_no_views(cast)
  of = {}
  for name, term in cast.terms.items():
    if term.teacher != 'deepest':
      of[name] = term
    for exit_name in exit_views:
      taught = student if term.teacher == 'deepest' else term.teacher
      of[f'{name}_{exit_name}'] = term._replace(
        student=stages.signal_of(exit_name, like=term.student), teacher=taught
      )
  return [
    *base.baselines(cast, (student,)),
    base.stage(cast, student, (student,), of, views=exit_views),
  ]


def self_label(
  cast: base.Cast,
  *,
  correct: kinds.Inside = 0.99,
  student='student',
  teacher='virtual',
) -> list[stages.Stage]:
  """Teacher-free: the teacher is a hand-made distribution (tf-KD).

  Source: Yuan et al. 2020, https://arxiv.org/abs/1909.11723; see
    `views.virtual`.
  """
  base.need_term(cast, teacher)
  view = views.virtual(cast.classes, correct)
  cast = cast._replace(views={**cast.views, teacher: view})
  return [
    *base.before(cast, student),
    base.stage(cast, student, (student,), cast.terms),
  ]
