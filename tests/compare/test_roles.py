"""Roles come from the scheme, whatever it calls its networks."""

import pytest

from kd_jax import build, config, schemes, stages
from kd_jax.compare import roles
from kd_jax.schemes import base

NETWORKS = ('big', 'middle', 'small')


def apprentice(cast: base.Cast, *, pupil='small') -> list[stages.Stage]:
  """A scheme of other names: big teaches middle, middle teaches the pupil."""
  first = base.retarget(cast.terms, 'middle', 'big', 'big')
  then = base.retarget(cast.terms, pupil, 'big', 'middle')
  return [
    base.alone('big', cast.teacher, role=stages.TEACHER),
    base.alone(pupil, cast.train, 'by_itself'),
    base.stage(
      cast, 'middle', ('middle',), first, roles={'middle': stages.ASSISTANT}
    ),
    base.stage(cast, pupil, (pupil,), then),
  ]


@pytest.fixture
def experiment(monkeypatch):
  """Of a table with that scheme in it."""
  table = {**schemes.SCHEMES, 'apprentice': apprentice}
  monkeypatch.setattr(schemes, 'SCHEMES', table)
  c = config.default()
  c.parallel, c.data.limit = 'one', 128
  for name, width in zip(NETWORKS, (16, 8, 4)):
    c.networks[name] = dict(name='mlp', widths=[width])
  c.scheme = dict(name='apprentice')
  c.terms.hard = dict(method='cross_entropy', weight=0.1, student='small')
  c.terms.soft = dict(method='kd', weight=0.9, student='small', teacher='big')
  return build.make_experiment(c)


def test_a_scheme_with_other_names_is_compared_rightly(experiment):
  finished = [n for s in experiment.stages for n in s.kept.values()]
  line = roles.make_lineup(experiment, finished)
  assert line.students == {'small': 'by_itself'}
  assert line.teacher == 'big'
  assert list(line.networks) == ['big', 'middle', 'by_itself', 'small']


def test_a_last_stage_of_labels_alone_is_compared_with_what_taught_before():
  c = config.default()
  c.parallel, c.data.limit = 'one', 128
  for name in ('teacher', 'student'):
    c.networks[name] = dict(name='mlp', widths=[4])
  c.scheme = dict(name='head_start', order=[['soft'], ['hard'], ['other']])
  c.terms.soft = dict(method='kd')
  c.terms.hard = c.terms.other = dict(method='cross_entropy')
  experiment = build.make_experiment(c)
  finished = [n for s in experiment.stages for n in s.kept.values()]
  line = roles.make_lineup(experiment, finished)
  assert line.teacher == 'teacher'
  assert line.students == {'student': 'baseline'}
  assert list(line.networks) == ['teacher', 'baseline', 'student']


def test_what_is_called_teacher_may_be_a_student():
  """The name says nothing: the role does."""
  stage = stages.Stage('x', {}, ('teacher',), None)
  assert stage.role_of('teacher') == stages.STUDENT
