"""Who teaches whom: every scheme trains, resumes, and does as it is named."""

import pathlib

import jax
import numpy as np
import pytest

from kd_jax import (
  build,
  checkpoint,
  config,
  errors,
  metrics,
  parallel,
  training,
)
from kd_jax import state as states
from tests.helpers import marks

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'experiments/configs'
CASES = {
  'online': 'digits_online.py',
  'online_both': 'digits_online.py:both',
  'mutual': 'digits_mutual.py',
  'committee': 'digits_mutual.py:committee',
  'mutual_topped': 'digits_mutual.py:topped',
  'branches': 'digits_branches.py',
  'snapshot': 'digits_snapshot.py',
  'snapshot_beside_frozen': 'digits_snapshot.py:beside',
  'ema': 'digits_ema.py',
  'born_again': 'digits_born_again.py',
  'exits': 'digits_exits.py',
  'label': 'digits_label.py',
  'ensemble': 'digits_ensemble.py',
  'progressive': 'digits_progressive.py',
  'progressive_from_ensemble': 'digits_progressive.py:ensemble',
  'two_phase': 'digits_two_phase.py',
  'head_start': 'digits_two_phase.py:head_start',
  'data_free': 'digits_data_free.py',
  'inversion': 'digits_inversion.py',
}

CONVOLUTIONAL = ('branches', 'exits', 'two_phase', 'head_start')
pytestmark = pytest.mark.usefixtures('compiled_once')

# Of each kind one, for the quick suite.
QUICK = ('mutual', 'ema', 'exits', 'progressive')
COMPOSED = (
  'online_both',
  'committee',
  'mutual_topped',
  'snapshot_beside_frozen',
  'progressive_from_ensemble',
)


def small(case: str, **changes) -> config.ConfigDict:
  """The scheme's config with little networks and few steps."""
  c = config.read(str(CONFIGS / CASES[case]))
  c.parallel, c.seeds, c.baseline, c.data.limit = 'one', 1, False, 240
  for part in (c.train, c.teacher):
    part.steps, part.batch_size, part.epochs = 24, 24, 0
    part.optimizer.learning_rate, part.optimizer.name = 1e-2, 'adam'
    part.optimizer.schedule = {'name': 'constant'}
  c.checkpoint_every = 16
  for name, spec in c.networks.items():
    heads = {k: spec[k] for k in ('branches', 'exits') if k in spec}
    wide = 12 if name in ('student', 'peer') else 16
    # Small convolutions only where a scheme reads their layers.
    c.networks[name] = (
      dict(name='cnn', hidden=wide, **heads)
      if case in CONVOLUTIONAL
      else dict(name='mlp', widths=[wide])
    )
  if case.startswith('snapshot'):
    c.scheme.every = 1
  if case == 'inversion':
    c.networks.teacher = dict(name='cnn', hidden=8, norm=True)
    c.scheme.update(images=24, steps=20)
  if case == 'data_free':
    c.scheme.update(codes=8, width=8)
  for key, value in changes.items():
    c[key] = value
  return c


def trained(made, folder=None, stop_at=()):
  """{network: variables} after the whole run, stopped at some steps."""
  for stop in (*stop_at, None):
    asked = 0

    def stopping(stop=stop):
      nonlocal asked
      asked += 1
      return asked == stop

    writer = metrics.silent()
    if folder is not None:
      folder.mkdir(exist_ok=True)
      writer = metrics.make_writer(folder)
    try:
      return training.run(made, training.Session(folder, writer, stopping))
    except errors.StoppedError:
      continue
    finally:
      writer.close()
  raise AssertionError('stopped for good')


@pytest.fixture(scope='module')
def data():
  """Read once."""
  return build.make_experiment(small('label')).data


@pytest.mark.parametrize('case', marks.slow_but(CASES, QUICK))
def test_a_scheme_trains_and_resumes_bit_for_bit(case, data, tmp_path):
  made = build.make_experiment(small(case), data)
  whole = trained(made, tmp_path / 'whole')
  rows = metrics.read_rows(tmp_path / 'whole')
  last = {row['stage']: row for row in rows}
  for stage in made.stages:
    first = next(r for r in rows if r['stage'] == stage.name)
    final = last[stage.name]
    assert final['step'] == stage.recipe.steps
    assert all(np.isfinite(v) for k, v in final.items() if k != 'stage')
    hard = [k for k in final if k.startswith('loss/hard')]
    for name in hard:
      assert final[name] < first[name], name
  total = sum(stage.recipe.steps for stage in made.stages)
  stops = (7, total // 2)
  broken = trained(made, tmp_path / 'broken', stops)
  for name, variables in whole.items():
    assert checkpoint.content_hash(variables) == checkpoint.content_hash(
      jax.device_get(broken[name])
    ), name
  assert metrics.read_rows(tmp_path / 'broken') == rows


@pytest.mark.parametrize(
  'case', marks.slow_but([c for c in CASES if c not in COMPOSED], ['mutual'])
)
def test_a_scheme_is_the_same_on_any_devices(case, data):
  """The stage of the scheme itself; teachers are what they are at step 0."""
  c = small(case)
  # Of a snapshot two steps after the first copy.
  c.train.steps = c.teacher.steps = 12 if case == 'snapshot' else 3
  made = build.make_experiment(c, data)
  last = made.stages[-1]

  def drawn(name, seed):
    images = np.zeros((1, 8, 8, 1), np.float32)
    return made.networks[name].init(jax.random.key(seed), images)

  frozen = {n: drawn(n, 1) for n in last.frozen if n in made.networks}
  starts = {name: drawn(student, 2) for student, name in last.starts.items()}
  images = {
    maker.name: maker.generator.init(jax.random.key(3), {})
    for maker in last.transfer
  }
  alone = made._replace(
    stages=[last], loaded={**made.loaded, **frozen, **starts, **images}
  )
  results = {
    way: training.run(
      alone._replace(placement=parallel.choose(way)),
      training.Session(None, metrics.silent()),
    )
    for way in ('one', 'mesh', 'pmap')
  }
  for way in ('mesh', 'pmap'):
    for name, variables in results['one'].items():
      pairs = zip(
        jax.tree.leaves(variables),
        jax.tree.leaves(results[way][name]),
        strict=True,
      )
      for x, y in pairs:
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4, err_msg=name)


def stage_of(case, name, **changes):
  """One stage of a scheme's small config."""
  made = build.make_experiment(small(case, **changes))
  return next(s for s in made.stages if s.name == name)


def who(stage) -> set[tuple[str, str]]:
  """(student, teacher) of every term."""
  return {(t.student, t.teacher) for t in stage.terms.values()}


def test_offline_freezes_its_teacher():
  stage = stage_of('two_phase', 'student')
  assert stage.frozen == ('teacher',)
  assert stage.starts == {'student': 'student_hinted'}


def test_online_trains_both():
  stage = stage_of('online', 'student')
  assert set(stage.students) == {'student', 'teacher'}
  assert not stage.frozen
  assert ('teacher', 'student') not in who(stage)
  assert ('teacher', 'student') in who(stage_of('online_both', 'student'))


def test_mutual_peers_teach_each_other():
  stage = stage_of('mutual', 'student')
  assert {('student', 'peer'), ('peer', 'student')} < who(stage)
  topped = stage_of('mutual_topped', 'student')
  assert {('student', 'teacher'), ('peer', 'teacher')} < who(topped)
  assert topped.frozen == ('teacher',)


def test_a_committee_is_the_mean_of_the_others():
  stage = stage_of('committee', 'student')
  view = stage.views['others_of_student']
  assert set(view.sources) == {'peer', 'third'}
  outputs = [{'logits': np.full((2, 3), v)} for v in (1.0, 3.0)]
  np.testing.assert_allclose(view.combine(outputs, {})['logits'], 2.0)


def test_born_again_starts_afresh_each_time(data):
  made = build.make_experiment(small('born_again'), data)
  done = trained(made)
  names = [s.name for s in made.stages]
  assert names == ['baseline', 'generation_1', 'generation_2']
  assert set(done) == {'baseline', 'generation_1', 'student'}
  starts = [
    states.init_state(made.networks, stage, build_batch(made, stage))
    for stage in made.stages
  ]
  kernels = [jax.tree.leaves(start.params['networks'])[-1] for start in starts]
  assert not np.array_equal(kernels[0], kernels[1])
  assert not np.array_equal(kernels[1], kernels[2])


def test_a_chain_teaches_downwards():
  made = build.make_experiment(small('progressive'))
  links = {s.name: s.frozen for s in made.stages}
  assert links == {
    'teacher': (),
    'assistant_64': ('teacher',),
    'assistant_32': ('assistant_64',),
    'student': ('assistant_32',),
  }
  made = build.make_experiment(small('progressive_from_ensemble'))
  top = next(s for s in made.stages if s.name == 'assistant_64')
  assert set(top.frozen) == {'teacher', 'second'}


def test_two_phase_moves_only_up_to_the_hint(data):
  made = build.make_experiment(small('two_phase'), data)
  done = trained(made)
  stage = made.stages[1]
  assert stage.name == 'student_hinted'
  start = states.init_state(
    made.networks, stage, build_batch(made, stage)
  ).params['networks']['student']
  end = done['student_hinted']['params']
  moved = {
    layer
    for layer in end
    if not np.array_equal(end[layer]['kernel'], start[layer]['kernel'])
  }
  assert moved == {'conv1'}


def build_batch(made, stage):
  """Zeros of the shape of the stage's batch."""
  shapes = build.example_batch(made, stage)
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


@pytest.mark.parametrize(
  'case, scheme, message',
  [
    ('progressive', {'chain': ['teacher', 'student', 'teacher']}, 'cycle'),
    ('progressive', {'chain': ['teacher']}, 'two networks'),
    ('progressive', {'chain': ['techer', 'student']}, 'techer'),
    ('mutual', {'peers': ['student', 'per']}, 'per'),
    ('mutual', {'peers': ['student']}, 'two peers'),
    ('mutual', {'peers': ['student', 'peer', 'peer']}, 'each once'),
    ('ema', {'teacher': 'mean'}, "learns from 'mean'"),
    ('online', {'teacher': 'techer'}, "network 'techer'"),
    ('branches', {'student': 'studnet'}, "network 'studnet'"),
    ('head_start', {'order': 'ab'}, 'list of list of str'),
    ('ema', {'decay': 1.0}, r'\[0, 1\)'),
    ('ema', {'decay': -0.1}, r'\[0, 1\)'),
    ('snapshot', {'every': 0}, 'at least 1'),
    ('born_again', {'generations': 1}, 'two generations'),
    ('label', {'correct': 1.0}, 'correct'),
    ('ensemble', {'teachers': ['wide']}, 'two teachers'),
    ('ensemble', {'combine': 'mean'}, 'mean_logits'),
    ('ensemble', {'combine': 'weighted', 'weights': [0.5, 0.5, 0.5]}, 'sum'),
    ('ensemble', {'combine': 'weighted', 'weights': [0.5, 0.5]}, '2 weights'),
    ('two_phase', {'first': ['hnit']}, 'hnit'),
    ('two_phase', {'share': 1.0}, 'share'),
    ('head_start', {'order': [['hint']]}, 'two stages'),
    (
      'head_start',
      {'order': [['hint'], ['hard']]},
      "order has the term 'soft'",
    ),
    ('head_start', {'order': [['hint', 'hard', 'soft']] * 25}, 'has no step'),
    ('two_phase', {'share': 0.01}, 'of hint has no step, of 24'),
    ('snapshot', {'every': 3}, 'first copy after every=3 epochs'),
    ('ensemble', {'weights': [0.9, 0.1]}, "weights are of combine='weighted'"),
    ('ensemble', {'temperature': 5.0}, 'temperature is of'),
  ],
)
def test_a_scheme_that_cannot_be_is_refused(case, scheme, message):
  c = small(case)
  for key, value in scheme.items():
    if key in c.scheme:
      del c.scheme[key]
    c.scheme[key] = value
  with pytest.raises(ValueError, match=message):
    build.make_experiment(c)


@pytest.mark.parametrize('case', ['two_phase', 'head_start'])
def test_schedules_run_over_each_phase(case, data):
  c = small(case)
  c.train.optimizer.schedule = {'name': 'cosine'}
  c.terms.soft.schedule = {'weight': {'name': 'linear', 'end': 0.0}}
  made = build.make_experiment(c, data)
  phases = [s for s in made.stages if 'student' in s.students]
  assert sum(stage.recipe.steps for stage in phases) == 24
  for stage in phases:
    recipe = stage.recipe
    rates = [float(recipe.schedule(i)) for i in range(recipe.steps)]
    assert rates[0] == 1 and rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1
  soft = phases[-1].terms['soft'].schedules['weight']
  assert soft(0) == 1 and soft(recipe.steps) == 0


def test_a_schedule_of_a_term_is_kept_beside_the_schemes(data):
  down = {'weight': {'name': 'linear', 'end': 0.0}}
  c = small('snapshot')
  c.terms.soft.schedule = {**down, 'temperature': {'name': 'cosine'}}
  term = build.make_experiment(c, data).stages[-1].terms['soft']
  weights = [float(term.schedules['weight'](i)) for i in range(24)]
  assert weights[0] == 0 and weights[12] == 0.5 > weights[23] > 0
  assert 'temperature' in term.schedules
  c = small('branches')
  plain = build.make_experiment(c, data).stages[-1].terms['soft_branch1']
  c.terms.soft.schedule = down
  term = build.make_experiment(c, data).stages[-1].terms['soft_branch1']
  ramp, both = (t.schedules['weight'](12) for t in (plain, term))
  assert float(both) == pytest.approx(0.5 * float(ramp))


def test_a_network_that_is_loaded_does_not_learn(data, tmp_path):
  c = small('label')
  made = build.make_experiment(c, data)
  trained(made, tmp_path / 'run')
  place = str(tmp_path / 'run/networks/student')
  c.networks.student = {'load': place}
  with pytest.raises(ValueError, match='has load= and learns.*init_from='):
    build.make_experiment(c, data)
  c.networks.stored = {'load': place}
  c.networks.student = dict(
    name='mlp', widths=[12], init_from=dict(network='stored')
  )
  build.make_experiment(c, data)


@pytest.mark.parametrize('case', ['born_again', 'mutual', 'online_both'])
def test_a_term_on_a_view_is_not_given_to_several_networks(case, data):
  c = small(case)
  c.views.aux = dict(name='output', sources=['student'], key='logits')
  c.terms.aux = dict(method='cross_entropy', student='aux', weight=0.3)
  with pytest.raises(ValueError, match="term 'aux' has the view 'aux'"):
    build.make_experiment(c, data)


def test_teachers_that_disagree_in_classes_are_refused():
  c = small('ensemble')
  c.networks.flat.classes = 7
  with pytest.raises(ValueError, match='7 classes'):
    build.make_experiment(c)
