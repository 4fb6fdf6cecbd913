"""The comparison of finished networks: what is measured, and that it is so."""

import json
import math
import re
import types

import jax
import numpy as np
import pytest

from kd_jax import build, compare, schemes
from kd_jax import report as pages
from kd_jax import state as states
from kd_jax.compare import (
  cost,
  fidelity,
  predict,
  results,
  roles,
  seeds,
  statistics,
  table,
  verdict,
)
from kd_jax.models import base
from kd_jax.schemes import base as base_schemes
from tests.helpers import compared, tiny


@pytest.fixture
def one():
  """A compared run: (folder, report)."""
  folder = compared.shared()[0] / 'seed_0'
  return folder, results.read_report(folder)


@pytest.fixture
def many():
  """Two seeds: (folder, report)."""
  folder, _ = compared.shared()
  return folder, results.read_report(folder)


def test_predictions_are_the_networks_logits_in_order():
  of = compared.experiment()
  found = compared.variables(of)['student']
  split = of.data.test()
  logits = predict.predict(of, 'student', found, split)
  wanted, _ = of.networks['student'].apply(found, of.prepare(split.inputs))
  assert logits.shape == (compared.TEST, 6) and logits.dtype == np.float32
  np.testing.assert_allclose(logits, wanted['logits'], atol=1e-5)


def test_the_test_set_is_read_once():
  assert compared.shared()[1] == [1]


def test_report_holds_what_it_should(one):
  folder, report = one
  stored = json.loads((folder / 'report.json').read_text())
  assert results.finite(report) == stored
  assert list(report['networks']) == ['teacher', 'baseline', 'student']
  stored = results.read(folder).runs[0]
  teacher = report['networks']['teacher']
  for row, own in report['networks'].items():
    right = stored.logits[row].argmax(-1) == stored.labels
    assert own['accuracy'] == pytest.approx(right.mean())
    assert own['interval'] == pytest.approx(
      statistics.wilson(right.sum(), compared.TEST)
    )
    assert own['kept'] == pytest.approx(own['accuracy'] / teacher['accuracy'])
    assert own['last']['accuracy'] == own['accuracy']
    assert own['best']['accuracy'] != own['accuracy']
    assert len(own['per_class']) == 6
  assert teacher['agreement'] is teacher['kl'] is None
  student = report['networks']['student']
  assert student['kl'] == pytest.approx(
    fidelity.kl(stored.logits['teacher'], stored.logits['student'])
  )
  assert student['ratio'] == pytest.approx((16 * 32 + 32 + 32 * 6 + 6) / 190)
  assert report['verdict']['examples'] == compared.TEST
  assert {pair['student'] for pair in report['alike']} >= {'logits'}


def test_costs_are_those_of_the_network(one):
  _, report = one
  student_cost = report['networks']['student']['cost']
  parameters = 16 * 8 + 8 + 8 * 6 + 6
  assert student_cost['parameters'] == parameters
  assert student_cost['bytes'] == 4 * parameters
  # Two for each weight, one for each bias; the ReLU adds a handful.
  products = 2 * (16 * 8 + 8 * 6)
  assert products <= student_cost['flops'] <= products + 64
  for size in ('1', '128'):
    time = student_cost['latency'][size]
    assert 0 < time['low'] <= time['median'] <= time['high']
  assert student_cost == report['networks']['baseline']['cost']


def test_statistics_count_as_bytes_and_not_as_parameters():
  network = tiny.networks()['student']
  variables = network.init(jax.random.key(0), tiny.batch()['inputs'])
  found = cost.cost(network, variables, (4, 4, 1), (1,), seconds=0)
  assert found['parameters'] == base.num_params(variables)
  assert found['bytes'] == 4 * (found['parameters'] + 2 * 8)
  assert found['latency']['1']['repeats'] == 5


def test_predictions_are_plain_arrays(one):
  folder, _ = one
  with np.load(folder / 'predictions.npz', allow_pickle=False) as stored:
    assert stored['logits/teacher'].shape == (compared.TEST, 6)
    assert stored['images'].dtype == np.uint8
    assert len(stored['images']) == len(stored['shown'])
    shown, images = stored['shown'], stored['images']
  np.testing.assert_array_equal(images, compared.data().test().inputs[shown])


def test_equal_networks_make_no_difference():
  of = compared.experiment()
  found = compared.variables(of)
  found['student'] = found['baseline']
  report, _ = compare.compare(of, found)
  assert report['verdict']['outcome'] == verdict.UNKNOWN
  assert report['verdict']['difference'] == 0
  assert report['examples'] == {'learned': 0, 'lost': 0}
  assert report['networks']['student']['best'] is None


def test_a_student_that_was_not_trained_alone_gets_no_verdict():
  of = compared.experiment()
  found = compared.variables(of)
  del found['baseline']
  report, _ = compare.compare(of, found)
  assert report['verdict'] is None
  assert 'baseline=False' in table.table(report)


def test_several_teachers_are_compared_with_as_one():
  c = compared.settings(second=dict(name='mlp', widths=[12]))
  c.terms.more = dict(method='kd', teacher='second')
  of = build.make_experiment(c, compared.data())
  found = compared.variables(of, {**compared.NAMES, 'second': 'second'})
  report, arrays = compare.compare(of, found)
  assert report['teacher'] == roles.TEACHERS
  assert set(report['means'][roles.TEACHERS]) == {'teacher', 'second'}
  mean = fidelity.mean_of([arrays['logits/teacher'], arrays['logits/second']])
  student = report['networks']['student']
  assert student['kl'] == pytest.approx(
    fidelity.kl(mean, arrays['logits/student']), rel=1e-5
  )
  costs = {row: own['cost'] for row, own in report['networks'].items()}
  assert costs['teachers']['parameters'] == sum(
    costs[row]['parameters'] for row in ('teacher', 'second')
  )
  assert 'teachers, mean' in table.table(report)


def test_a_student_that_kept_more_costs_more():
  c = compared.settings(student=dict(name='mlp', widths=[8]))
  c.terms.soft = dict(method='simkd', layers=[('features', 'features')])
  of = build.make_experiment(c, compared.data())
  found = compared.variables(of)
  state = jax.eval_shape(
    lambda batch: states.init_state(of.networks, of.stages[-1], batch),
    build.example_batch(of, of.stages[-1]),
  )
  kept = states.variables_of(state, 'student', of.stages[-1])
  found['student'] = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), kept)
  line = roles.make_lineup(of, found)
  costs = predict.costs(of, line, found)
  assert costs['baseline']['parameters'] == 190
  assert costs['student']['parameters'] > 190
  assert costs['student']['flops'] > costs['baseline']['flops']


def lined(scheme, names, networks=('teacher', 'student', 'peer'), **options):
  """The lineup of a scheme whose networks are all finished."""
  soft = tiny.soft(teacher=names)
  cast = schemes.Cast(
    networks,
    (),
    {'hard': base_schemes.hard('student'), 'soft': soft},
    tiny.recipe(),
    tiny.recipe(seed=1),
    classes=tiny.CLASSES,
  )
  made = schemes.make_stages(scheme, cast, **options)
  of = types.SimpleNamespace(stages=made, loaded={})
  return roles.make_lineup(of, [r for s in made for r in s.kept.values()])


def test_lineup_of_a_chain_compares_with_its_top():
  line = lined('progressive', 'before', chain=['teacher', 'peer', 'student'])
  assert line.teacher == 'teacher'
  assert list(line.networks) == ['teacher', 'peer', 'baseline', 'student']
  assert line.students == {'student': 'baseline'}
  top = [['teacher', 'fourth'], 'peer', 'student']
  networks = ('teacher', 'fourth', 'peer', 'student')
  line = lined('progressive', 'before', networks, chain=top)
  assert line.teacher == roles.TEACHERS
  assert line.means == {roles.TEACHERS: ('teacher', 'fourth')}


def test_lineup_of_peers_pairs_each_with_itself_alone():
  line = lined('mutual', 'peers', peers=['peer', 'student'])
  assert line.students == {
    'student': 'baseline_student',
    'peer': 'baseline_peer',
  }
  # The run is about the first peer, whatever it is called.
  assert (next(iter(line.students)), line.teacher) == ('peer', 'student')
  assert len(line.networks) == 4


def test_lineup_of_generations_ends_at_the_one_before():
  line = lined('born_again', 'before', ('student',), generations=3)
  assert line.teacher == 'generation_1'
  assert line.students == {'student': 'baseline'}
  assert line.means == {roles.GENERATIONS: ('generation_1', 'student')}
  assert set(line.networks.values()) == {'student'}


def test_lineup_leaves_out_what_a_later_stage_goes_on_with():
  line = lined('two_phase', 'teacher', first=['soft'])
  assert list(line.networks) == ['teacher', 'baseline', 'student']


def test_lineup_of_a_student_that_teaches_itself():
  line = lined('self_ema', 'average')
  assert (line.teacher, line.students) == (None, {'student': 'baseline'})
  line = lined('online', 'teacher')
  assert (line.teacher, list(line.students)) == ('teacher', ['student'])


def test_lineup_of_a_loaded_teacher_without_a_baseline():
  of = types.SimpleNamespace(stages=[tiny.offline()], loaded={'teacher': {}})
  line = roles.make_lineup(of, ['teacher', 'student'])
  assert line.teacher == 'teacher'
  assert line.students == {'student': None}


@pytest.mark.parametrize('scheme, teacher, options', [
  ('self_ema', 'average', {}),
  ('mutual', 'peers', {'peers': ['student', 'teacher']}),
])  # fmt: skip
def test_schemes_of_another_cast_have_a_report(
  scheme, teacher, options, tmp_path
):
  c = compared.settings()
  c.scheme = dict(name=scheme, **options)
  c.terms.soft.teacher = teacher
  of = build.make_experiment(c, compared.data())
  names = {row: n for s in of.stages for n, row in s.kept.items()}
  found = compare.run(of, compared.variables(of, names), tmp_path)
  assert set(found['networks']) == set(names)
  text = table.table(found)
  assert 'None' not in text and max(map(len, text.splitlines())) <= 120
  page = pages.write(tmp_path).read_text()
  assert 'None' not in page and found['verdict']['outcome'] in page
  for row, one in list(found['verdicts'].items())[1:]:
    assert f'{row}: One run, so no verdict' in page
    assert one['text'] in text.replace('\n', ' ')


def test_layers_that_the_terms_pair_are_compared():
  c = compared.settings(student=dict(name='mlp', widths=[32]))
  c.terms.hint = dict(method='feature_mse', layers=[('hidden1', 'hidden1_pre')])
  of = build.make_experiment(c, compared.data())
  found = compared.variables(of)
  split = of.data.test()
  line = roles.make_lineup(of, found)
  pairs = predict.alike(of, line, found, split)
  hint = next(p for p in pairs if p['teacher'] == 'hidden1_pre')
  layers = [
    of.networks[name].apply(found[name], of.prepare(split.inputs))[0][layer]
    for name, layer in (('student', 'hidden1'), ('teacher', 'hidden1_pre'))
  ]
  assert hint['rows']['student'] == pytest.approx(
    fidelity.cka(*map(np.asarray, layers)), abs=1e-5
  )


def test_over_seeds_is_mean_deviation_and_a_paired_interval(many):
  _, report = many
  runs = [
    report['networks'][row]['accuracy'] for row in ('student', 'baseline')
  ]
  for found in runs:
    assert found['mean'] == pytest.approx(np.mean(found['values']))
    assert found['sd'] == pytest.approx(np.std(found['values'], ddof=1))
  change = np.subtract(runs[0]['values'], runs[1]['values'])
  assert report['verdict']['differences'] == pytest.approx(list(change))
  low, high = report['verdict']['over_seeds']
  wide = report['verdict']['interval']
  assert wide[0] < low < change.mean() < high < wide[1]
  assert report['runs'] == ['seed_0', 'seed_1']
  assert report['networks']['student']['cost']['parameters'] == 190


def test_over_seeds_of_reports_alone(one):
  _, report = one
  found = seeds.over_seeds([report, report])
  assert found['networks']['student']['accuracy']['sd'] == 0
  assert found['verdict']['examples'] is None
  assert found['seeds'] == 2


@pytest.mark.parametrize('which', ['one', 'many'])
def test_table_is_clean_and_narrow(which, request):
  text = table.table(request.getfixturevalue(which)[1])
  lines = text.splitlines()
  assert max(map(len, lines)) <= 120
  for word in (
    'teacher',
    'student alone',
    'student distilled',
    'Parameters',
    'Latency, 128',
    'KL',
    '95 % interval',
  ):
    assert word in text, word
  rule = next(i for i, line in enumerate(lines) if line.startswith('─'))
  body = lines[rule + 1 : lines.index('', rule)]
  assert len(body) > 10
  assert len({len(line) for line in body}) == 1, 'columns are not aligned'
  assert 'nan' not in text and 'None' not in text


@pytest.mark.parametrize('which', ['one', 'many'])
def test_the_verdict_comes_first_then_three_numbers(which, request):
  _, report = request.getfixturevalue(which)
  text = table.table(report)
  paragraphs = text.split('\n\n')
  assert paragraphs[0].replace('\n', ' ') == report['verdict']['text']
  numbers = paragraphs[1].splitlines()
  for line, row in zip(numbers[:3], ('teacher', 'baseline', 'student')):
    network = report['networks'][row]
    accuracy = network['accuracy']
    mean = accuracy['mean'] if which == 'many' else accuracy
    low, high = network['interval']
    assert low < mean < high
    assert f'{100 * mean:.1f} %' in line
    assert f'({100 * low:.1f} to {100 * high:.1f})' in line
  assert '301 test examples' in numbers[3]
  assert ('2 seeds' in numbers[3]) == (which == 'many')


def test_one_run_is_nowhere_said_to_have_helped_or_hurt(one):
  folder, report = one
  page = (folder / 'report.html').read_text()
  said = [table.table(report), json.dumps(report), page.split('</style>')[1]]
  for text in said:
    assert not re.search(r'\b(helped|hurt|negative transfer)\b', text)
    assert 'One run, so no verdict' in text


def test_many_networks_wrap_into_blocks(one):
  _, report = one
  own = report['networks']['student']
  wide = {
    **report,
    'networks': {
      **report['networks'],
      **{f'network_{k}': own for k in range(5)},
    },
  }
  text = table.table(wide)
  assert max(map(len, text.splitlines())) <= 120
  assert all(f'network_{k}' in text for k in range(5))


def test_command_line_prints_one_and_many(one, many, capsys):
  assert compare.main([str(one[0])]) == 0
  assert 'student distilled' in capsys.readouterr().out
  assert compare.main([str(one[0]), str(many[0])]) == 0
  text = capsys.readouterr().out
  assert max(map(len, text.splitlines()[:8])) <= 120
  assert str(many[0])[-10:] in text


def test_not_finite_becomes_null():
  found = results.finite({'a': (math.nan, np.float32(2)), 'b': np.arange(2)})
  assert found == {'a': [None, 2.0], 'b': [0, 1]}


def broken(folder, what):
  """A folder that is no finished run."""
  folder.mkdir()
  if what != 'empty':
    (folder / 'config.json').write_text('{}')
  if what == 'damaged':
    (folder / 'report.json').write_text('{"kind": ')
  return str(folder)


@pytest.mark.parametrize('what, said', [
  ('empty', 'config.json is missing'), ('unfinished', 'not finished'),
  ('damaged', 'damaged'), ('absent', 'no folder'),
])  # fmt: skip
def test_a_folder_that_is_no_finished_run(what, said, tmp_path, capsys):
  folder = tmp_path / what
  name = str(folder) if what == 'absent' else broken(folder, what)
  assert compare.main([name]) == 2
  error = capsys.readouterr().err
  assert said in error and name in error
  assert error.count('\n') == 1 and 'Traceback' not in error
