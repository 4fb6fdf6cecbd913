"""Who teaches whom: schemes are small functions that return lists of stages."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from kd_jax import methods, stages, terms, types


class Cast(NamedTuple):
  """What a scheme has to work with.

  Attributes:
    networks: the names of all networks.
    loaded: those that are finished already.
    terms: the config's terms by name.
    train: how students are trained.
    teacher: how a teacher that is not loaded is trained.
    baseline: whether the student is trained alone too.
  """

  networks: tuple[str, ...]
  loaded: tuple[str, ...]
  terms: Mapping[str, terms.Term]
  train: stages.Recipe
  teacher: stages.Recipe
  baseline: bool = True


def hard(network: str, **hparams) -> terms.Term:
  """Cross-entropy of a network with the labels."""
  method = methods.make_method('cross_entropy')
  return terms.Term(network, terms.LABELS, method, hparams=hparams)


def alone(
  network: str, recipe: stages.Recipe, name: str = ''
) -> stages.Stage:
  """A network that learns from the labels alone, kept as `name`."""
  name = name or network
  return stages.Stage(
    name, {'hard': hard(network)}, (network,), recipe,
    hands_on={network: name},
  )


def prepared(cast: Cast, students: tuple[str, ...]) -> list[stages.Stage]:
  """The teachers that are still to be trained, and the students alone."""
  teachers = [
    alone(name, cast.teacher)
    for name in taught_by(cast.terms)
    if name in cast.networks and name not in (*students, *cast.loaded)
  ]
  if not cast.baseline:
    return teachers
  several = len(students) > 1
  return teachers + [
    alone(name, cast.train, f'baseline_{name}' if several else 'baseline')
    for name in students
  ]


def taught_by(of: Mapping[str, terms.Term]) -> list[str]:
  """The teachers that the terms name, each once, in their order."""
  names = [term.teacher for term in of.values()]
  return [n for n in dict.fromkeys(names) if n != terms.LABELS]


def offline(cast: Cast, *, student: str = 'student') -> list[stages.Stage]:
  """A student learns from teachers that are finished and frozen."""
  frozen = tuple(n for n in taught_by(cast.terms) if n != student)
  return [
    *prepared(cast, (student,)),
    stages.Stage(student, cast.terms, (student,), cast.train, frozen),
  ]


SCHEMES: Mapping[str, Callable[..., list[stages.Stage]]] = {'offline': offline}


def make_stages(name: str, cast: Cast, **options) -> list[stages.Stage]:
  """The stages of the scheme `name`.

  Raises:
    ValueError: for an unknown scheme, option or network.
  """
  if name not in SCHEMES:
    raise types.unknown('scheme', name, SCHEMES)
  known = SCHEMES[name].__kwdefaults__ or {}
  for option in options:
    if option not in known:
      raise types.unknown(f"option of scheme '{name}'", option, known)
  made = [stages.check(stage) for stage in SCHEMES[name](cast, **options)]
  for stage in made:
    for network in (*stage.students, *stage.frozen):
      if network not in cast.networks:
        raise types.unknown('network', network, cast.networks)
  return made
