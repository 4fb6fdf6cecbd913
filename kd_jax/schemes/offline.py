"""Trains students by finished teachers: offline, ensemble, two phases."""

from collections.abc import Sequence

from kd_jax import kinds, stages, views
from kd_jax.schemes import base


def offline(cast: base.Cast, *, student='student') -> list[stages.Stage]:
  """A student learns from teachers that are finished and frozen.

  Source: Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531.
  """
  return [
    *base.before(cast, student),
    base.stage(cast, student, (student,), cast.terms),
  ]


def ensemble(
  cast: base.Cast,
  *,
  teachers: Sequence[str] = (),
  combine='mean_probs',
  weights: Sequence[float] = (),
  temperature: kinds.Temperature = 1.0,
  student='student',
) -> list[stages.Stage]:
  """A student learns from several frozen teachers, of any architectures.

  Terms whose teacher is 'ensemble' learn from all of them; a term may also
  name one of the teachers. `combine` is a key of `views.VIEWS`.

  Source: You, Xu, Xu, Tao, Learning from multiple teacher networks, 2017
    (mean of probabilities); Hinton et al. 2015, section 3.

  Raises:
    ValueError: for fewer than two teachers or weights that do not fit.
  """
  if len(teachers) < 2:
    raise ValueError(f'an ensemble needs two teachers, not {list(teachers)}')
  base.need(cast, *teachers)
  base.need_term(cast, 'ensemble')
  options = {'sources': list(teachers)}
  if combine == 'weighted':
    options['weights'] = weights
  elif len(weights):
    raise ValueError(f"weights are of combine='weighted', not of '{combine}'")
  if combine in ('by_confidence', 'by_label'):
    options['temperature'] = temperature
  elif temperature != 1.0:
    raise ValueError(
      "temperature is of combine='by_confidence' or 'by_label', not of "
      f"'{combine}'"
    )
  if 'ensemble' in cast.views:
    raise ValueError("the scheme makes the view 'ensemble': name yours anew")
  cast = cast._replace(
    views={**cast.views, 'ensemble': views.make_view(combine, **options)}
  )
  return offline(cast, student=student)


def two_phase(
  cast: base.Cast,
  *,
  first: kinds.Names = ('hint',),
  share: kinds.Inside = 0.5,
  trains: Sequence[str] = (),
  student='student',
) -> list[stages.Stage]:
  """Trains by the terms `first`, then by all the others: the recipe of FitNets.

  Schedules of the rate and of terms run over each phase.

  Args:
    cast: see `Cast`.
    first: the terms of the first phase.
    share: of the steps that the first phase takes, in (0, 1).
    trains: globs of the student's parameters that move in the first phase
      ('conv1*': the layers up to the hint); all where empty.
    student: who learns.

  Source: Romero et al., FitNets, 2015, https://arxiv.org/abs/1412.6550,
    section 3.1 (algorithm 1).

  Raises:
    ValueError: for an unknown term, or a phase without a step.
  """
  steps = round(share * cast.train.steps)
  rest = [name for name in cast.terms if name not in first]
  early = base.phase(cast, steps, first)
  late = base.phase(cast, cast.train.steps - steps, rest)
  hinted = f'{student}_hinted'
  moving = [f'networks/{student}/{glob}' for glob in trains]
  return [
    *base.before(cast, student),
    base.stage(
      early,
      hinted,
      (student,),
      early.terms,
      trains=(*moving, 'terms/*') if moving else (),
      hands_on={student: hinted},
    ),
    base.stage(late, student, (student,), late.terms, starts={student: hinted}),
  ]


def head_start(
  cast: base.Cast, *, order: Sequence[kinds.Names] = (), student='student'
) -> list[stages.Stage]:
  """Any stages in any order: each is a list of terms, trained in turn.

  Every stage has an even share of the steps and starts from the one before.
  Schedules of the rate and of terms run over each stage.

  Raises:
    ValueError: for fewer than two stages, an unknown term, or one that no stage
      has.
  """
  if len(order) < 2:
    raise ValueError(f'head_start needs two stages of terms, not {len(order)}')
  for name in cast.terms:
    if not any(name in names for names in order):
      raise ValueError(f"no stage of head_start's order has the term '{name}'")
  share = cast.train.steps // len(order)
  phases, last = base.before(cast, student), len(order) - 1
  for i, names in enumerate(order):
    name = student if i == last else f'{student}_{i}'
    steps = cast.train.steps - share * last if i == last else share
    part = base.phase(cast, steps, names)
    phases.append(
      base.stage(
        part,
        name,
        (student,),
        part.terms,
        starts={student: f'{student}_{i - 1}'} if i else {},
        hands_on={student: name},
      )
    )
  return phases
