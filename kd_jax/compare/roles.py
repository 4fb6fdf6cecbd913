"""Finds who is compared with whom: teachers, students alone, distilled ones."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kd_jax import build, stages, terms

# Rows that are the mean of others' probabilities.
TEACHERS, GENERATIONS = 'teachers', 'generations'


class Lineup(NamedTuple):
  """The rows of a comparison: finished networks by the name of their folder.

  Attributes:
    networks: {row: network of the experiment}, of every row but the means.
    means: {row: the rows whose mean it is}.
    teacher: the row that the students are compared with, or None.
    students: {row: the row of the same network trained alone, or None}; the
      first is the one that the run is about.
  """

  networks: Mapping[str, str]
  means: Mapping[str, tuple[str, ...]]
  teacher: str | None
  students: Mapping[str, str | None]


def make_lineup(
  experiment: build.Experiment, finished: Sequence[str]
) -> Lineup:
  """Makes the lineup of an experiment.

  The students are those of the last stage. Their teacher is the network that
  its terms name (in a chain: the one at its top), or the mean of several; of a
  stage with labels alone, what taught the networks that it goes on training.
  Such a network is not a row.

  Args:
    experiment: its stages and loaded networks.
    finished: the names of the networks that are there.
  """
  networks = rows_of(experiment, finished)
  last = experiment.stages[-1]
  rows = [row for row in last.kept.values() if row in networks]
  learners = [row for row in rows if last.role_of(row) == stages.STUDENT]
  learners = learners or rows
  named = {
    row: stage.role_of(row)
    for stage in experiment.stages
    for row in stage.kept.values()
  }
  students = {row: alone(networks, named, row) for row in learners}
  teachers = top_of(experiment.stages, networks, learners[0])
  means = {TEACHERS: teachers} if len(teachers) > 1 else {}
  generations = [r for r in networks if named.get(r) == stages.GENERATION]
  if generations:
    means[GENERATIONS] = (*generations, learners[0])
  teacher = TEACHERS if len(teachers) > 1 else next(iter(teachers), None)
  return Lineup(ordered(networks, teachers, students), means, teacher, students)


def rows_of(experiment, finished: Sequence[str]) -> dict[str, str]:
  """{row: the network of the config that it is built like}."""
  networks = {name: name for name in experiment.loaded}
  like, passing = {}, set()
  for stage in experiment.stages:
    networks |= {row: name for name, row in stage.kept.items()}
    like |= stage.built_as
    passing |= set(stage.starts.values())
  return {
    row: like.get(name, name)
    for row, name in networks.items()
    if row in finished and row not in passing
  }


def alone(
  networks: Mapping[str, str], named: Mapping[str, str], row: str
) -> str | None:
  """The row of the same network trained alone, if there is one.

  Args:
    networks: as in `Lineup`.
    named: {row: its role in the scheme}.
    row: a student.
  """
  for other, name in networks.items():
    if named.get(other) == stages.BASELINE and name == networks[row]:
      return other
  return None


def top_of(
  chain: Sequence[stages.Stage], networks: Mapping[str, str], row: str
) -> tuple[str, ...]:
  """The rows that taught `row`, or, up a chain, those that taught them.

  A chain of one architecture (generations) ends at the direct teacher.
  """
  keeps = {
    kept: k for k, stage in enumerate(chain) for kept in stage.kept.values()
  }
  top, before = _teachers(chain, networks, row), len(chain) - 1
  while len(top) == 1 and keeps.get(top[0], before) < before:
    before = keeps[top[0]]
    higher = _teachers(chain[: before + 1], networks, top[0])
    if not higher or any(networks[h] == networks[top[0]] for h in higher):
      break
    top = higher
  return tuple(top)


def _teachers(chain, networks, row) -> list[str]:
  """What taught a row in the last of its stages that has a teacher."""
  for stage in reversed(chain):
    name = next((n for n, kept in stage.kept.items() if kept == row), None)
    if name is None:
      continue
    found = [n for n in teachers_of(stage, name) if n in networks]
    if found or name not in stage.starts:
      return found
    row = stage.starts[name]
  return []


def teachers_of(stage: stages.Stage, student: str) -> list[str]:
  """The networks that a student learns from in a stage; views are followed."""
  pending = [
    t.teacher
    for t in stage.terms.values()
    if stages.network_of(t.student) == student
  ]
  teachers = []
  while pending:
    name = stages.network_of(pending.pop(0))
    if name in stage.views:
      pending = [*stage.views[name].sources, *pending]
    elif name not in (terms.LABELS, student, *stage.copies):
      teachers.append(stage.kept.get(name, name))
  return list(dict.fromkeys(teachers))


def ordered(networks, teachers, students) -> dict[str, str]:
  """The rows with teachers first, students alone and students last."""
  ends = [*filter(None, students.values()), *students]
  rest = [row for row in networks if row not in (*teachers, *ends)]
  return {
    row: networks[row] for row in dict.fromkeys([*teachers, *rest, *ends])
  }
