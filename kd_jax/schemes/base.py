"""Holds what every scheme works with, and the stages that most begin with."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kd_jax import methods, stages, terms, types

# Teachers that a scheme replaces by networks.
PEERS = 'peers'  # each of the other peers
BEFORE = 'before'  # the network before, in a chain or among generations


class Cast(NamedTuple):
  """What a scheme has to work with.

  Attributes:
    networks: the names of all networks.
    loaded: those that are finished already.
    terms: the config's terms by name.
    train: how students are trained.
    teacher: how a teacher that is not loaded is trained.
    views: the config's views by name.
    baseline: whether the student is trained alone too.
    classes: K.
    outputs: {network: names of its outputs}.
    per_epoch: updates of an epoch of `train`.
    hard: the method by which networks learn from the labels.
    inputs: the shape of an example, [H, W, C]; of text ().
    single: whether an example has a single prediction.
    part: (steps, names) -> the recipe and the terms of these names for a part
      of the training of so many steps: their schedules run over that part.
  """

  networks: tuple[str, ...]
  loaded: tuple[str, ...]
  terms: Mapping[str, terms.Term]
  train: stages.Recipe
  teacher: stages.Recipe
  views: Mapping[str, terms.View] = {}
  baseline: bool = True
  classes: int = 0
  outputs: Mapping[str, Sequence[str]] = {}
  per_epoch: int = 1
  hard: str = 'cross_entropy'
  inputs: tuple[int, ...] = ()
  single: bool = True
  part: Callable | None = None


def need(cast: Cast, *names: str) -> None:
  """Refuses networks that the config does not name.

  Raises:
    ValueError: for the first, with the known ones.
  """
  for name in names:
    if name not in cast.networks:
      raise types.unknown('network', name, cast.networks)


def need_term(cast: Cast, teacher: str) -> None:
  """Refuses a scheme whose teacher no term reads: it would teach nobody.

  Raises:
    ValueError: naming the teacher that a term must have.
  """
  read = {stages.network_of(t.teacher) for t in cast.terms.values()}
  if teacher not in read:
    raise ValueError(
      f"no term learns from '{teacher}' (teachers of the terms: "
      f'{", ".join(sorted(read))}); a term of this scheme needs '
      f"teacher='{teacher}'"
    )


def hard(
  network: str, weight: float = 1.0, method: str = 'cross_entropy'
) -> terms.Term:
  """The task's loss of a network with the labels."""
  return terms.Term(network, terms.LABELS, methods.make_method(method), weight)


def alone(
  network: str,
  recipe: stages.Recipe,
  name: str = '',
  role: str = stages.BASELINE,
  method: str = 'cross_entropy',
) -> stages.Stage:
  """A network that learns from the labels alone, kept as `name`.

  Args:
    network: that learns.
    recipe: how.
    name: '' is the network's.
    role: of the stage.
    method: of the loss with the labels.
  """
  name = name or network
  return stages.Stage(
    name,
    {'hard': hard(network, method=method)},
    (network,),
    recipe,
    hands_on={network: name},
    roles={name: role},
  )


def phase(cast: Cast, steps: int, names: Sequence[str]) -> Cast:
  """The cast of a part of the training: its recipe, and the terms of it.

  Args:
    cast: of the whole.
    steps: of the part.
    names: of its terms.

  Raises:
    ValueError: an unknown term, no step, or a schedule that does not fit.
  """
  for name in names:
    if name not in cast.terms:
      raise types.unknown('term', name, cast.terms)
  if steps < 1:
    raise ValueError(
      f'the phase of {", ".join(names)} has no step, of {cast.train.steps}'
    )
  if cast.part is None:
    recipe, of = cast.train._replace(steps=steps), cast.terms
  else:
    recipe, of = cast.part(steps, names)
  return cast._replace(train=recipe, terms={name: of[name] for name in names})


def need_no_views(cast: Cast) -> None:
  """Refuses terms that train a view, where terms are for several networks.

  Raises:
    ValueError: naming the first such term.
  """
  for name, term in cast.terms.items():
    if stages.network_of(term.student) in cast.views:
      raise ValueError(
        f"term '{name}' has the view '{term.student}' as its student, and this "
        'scheme makes a term for each of its networks; legal: a network'
      )


def taught_by(cast: Cast, of: Mapping[str, terms.Term]) -> list[str]:
  """The networks that the terms and their views read, each once, in order."""
  names = [n for t in of.values() for n in (t.teacher, t.student)]
  networks = []
  while names:
    name = stages.network_of(names.pop(0))
    if name in cast.views:
      names = [*cast.views[name].sources, *names]
    elif name in cast.networks:
      networks.append(name)
  return list(dict.fromkeys(networks))


def stage(
  cast: Cast,
  name: str,
  students: Sequence[str],
  of: Mapping[str, terms.Term],
  **changes,
) -> stages.Stage:
  """The students learn by the terms `of`; all else that they read is frozen.

  Args:
    cast: networks, views, recipe.
    name: of the stage.
    students: the networks that learn.
    of: the terms.
    **changes: further fields of the Stage.
  """
  frozen = tuple(n for n in taught_by(cast, of) if n not in students)
  recipe = changes.pop('recipe', cast.train)
  views = {**cast.views, **changes.pop('views', {})}
  used = _used(views, of)
  return stages.Stage(
    name,
    of,
    tuple(students),
    recipe,
    frozen,
    {n: v for n, v in views.items() if n in used},
    **changes,
  )


def _used(views, of) -> set[str]:
  """The views that the terms read, and those that these read."""
  names = [n for t in of.values() for n in (t.teacher, t.student)]
  used = set()
  while names:
    name = names.pop()
    if name in views and name not in used:
      used.add(name)
      names += views[name].sources
  return used


def teachers(cast: Cast, names: Sequence[str]) -> list[stages.Stage]:
  """The stages that train the teachers which are not loaded."""
  return [
    alone(n, cast.teacher, role=stages.TEACHER, method=cast.hard)
    for n in names
    if n not in cast.loaded
  ]


def baselines(cast: Cast, students: Sequence[str]) -> list[stages.Stage]:
  """The students alone: same budget, same seed, same auxiliary losses."""
  if not cast.baseline:
    return []
  several = len(students) > 1
  return [
    baseline(cast, name, f'baseline_{name}' if several else 'baseline')
    for name in students
  ]


def baseline(cast: Cast, student: str, name: str) -> stages.Stage:
  """The student alone, kept as `name`.

  It learns from the labels by its logits, and as the config says by views of
  it alone: the logits of an auxiliary head (`views.output`).
  """
  of = {
    key: term
    for key, term in cast.terms.items()
    if term.teacher == terms.LABELS
    and stages.network_of(term.student) in cast.views
    and taught_by(cast, {key: term}) == [student]
  }
  key = f'hard_{student}' if 'hard' in of else 'hard'
  return stage(
    cast,
    name,
    (student,),
    {key: hard(student, method=cast.hard), **of},
    hands_on={student: name},
    roles={name: stages.BASELINE},
  )


def before(cast: Cast, *students: str) -> list[stages.Stage]:
  """The teachers that the config's terms name, and the students alone."""
  names = [n for n in taught_by(cast, cast.terms) if n not in students]
  return teachers(cast, names) + baselines(cast, students)


def retarget(
  of: Mapping[str, terms.Term], student: str, old: str, new: str
) -> dict[str, terms.Term]:
  """The terms for another student, with teacher `new` where it was `old`."""
  return {
    name: term._replace(
      student=stages.signal_of(student, like=term.student),
      teacher=stages.signal_of(new, like=term.teacher)
      if stages.network_of(term.teacher) == old
      else term.teacher,
    )
    for name, term in of.items()
  }


def weighed(term: terms.Term, schedule: terms.Schedule) -> terms.Term:
  """The term, its weight times that of a schedule as well as of its own."""
  own = term.schedules.get('weight')

  def both(step):
    return schedule(step) * (1.0 if own is None else own(step))

  return term._replace(schedules={**term.schedules, 'weight': both})


def heads(cast: Cast, network: str, kind: str) -> list[str]:
  """The outputs of a network that are logits of its heads of a `kind`.

  Raises:
    ValueError: where it has none.
  """
  need(cast, network)
  prefix = f'logits_{kind}'
  outputs = [n for n in cast.outputs[network] if n.startswith(prefix)]
  if not outputs:
    raise ValueError(
      f"network '{network}' has no {kind}; known outputs: "
      f'{", ".join(cast.outputs[network])}'
    )
  return outputs
