"""Who is compared with whom: teachers, students alone, distilled students."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kd_jax import build, stages, terms

TEACHERS = 'teachers'  # the row of several teachers' mean


class Lineup(NamedTuple):
  """The rows of a comparison: finished networks by the name they are kept by.

  Attributes:
    networks: {row: network of the experiment}: every row but TEACHERS.
    teachers: the rows that the students are compared with, together.
    students: {row: the row of the same network trained alone, or None}; the
      first is the one that the run is about.
  """

  networks: Mapping[str, str]
  teachers: tuple[str, ...]
  students: Mapping[str, str | None]

  @property
  def teacher(self) -> str | None:
    """The row of the teacher, or of the teachers' mean."""
    if len(self.teachers) > 1:
      return TEACHERS
    return self.teachers[0] if self.teachers else None


def make_lineup(
  experiment: build.Experiment, finished: Sequence[str]
) -> Lineup:
  """The lineup of an experiment.

  The students are those of the last stage. Their teachers are what its terms
  name; where that is one network and another is called 'teacher' (the top of
  a chain), that one.

  Args:
    experiment: its stages and loaded networks.
    finished: the names of the networks that are there.
  """
  networks = {name: name for name in experiment.loaded}
  for stage in experiment.stages:
    networks |= {row: name for name, row in stage.kept.items()}
  networks = {row: n for row, n in networks.items() if row in finished}
  last = experiment.stages[-1]
  own = {row: n for n, row in last.kept.items() if row in networks}
  learners = [row for row in own if row != 'teacher'] or list(own)
  learners.sort(key=lambda row: row != 'student')
  students = {row: alone(networks, row, own[row]) for row in learners}
  teachers = [
    name for name in teachers_of(last, own[learners[0]]) if name in networks
  ]
  if len(teachers) == 1 and 'teacher' in networks:
    teachers = ['teacher']
  return Lineup(
    ordered(networks, teachers, students), tuple(teachers), students
  )


def alone(networks: Mapping[str, str], row: str, name: str) -> str | None:
  """The row of the network `name` trained alone, if there is one."""
  for found in ('baseline', f'baseline_{name}', f'baseline_{row}'):
    if networks.get(found) == name:
      return found
  return None


def ordered(networks, teachers, students) -> dict[str, str]:
  """The rows with teachers first, students alone and students last."""
  ends = [*filter(None, students.values()), *students]
  rest = [row for row in networks if row not in (*teachers, *ends)]
  return {
    row: networks[row] for row in dict.fromkeys([*teachers, *rest, *ends])
  }


def teachers_of(stage: stages.Stage, student: str) -> list[str]:
  """The networks that a student learns from in a stage, views written out."""
  wanted = [t.teacher for t in stage.terms.values() if t.student == student]
  found = []
  while wanted:
    name = wanted.pop(0)
    if name in stage.views:
      wanted = [*stage.views[name].sources, *wanted]
    elif name not in (terms.LABELS, student, *stage.copies):
      found.append(stage.kept.get(name, name))
  return list(dict.fromkeys(found))
