"""Where a score is not defined a run has its report all the same."""

import jax
import numpy as np
import pytest

from kd_jax import build, checkpoint, compare, config, report, tasks
from kd_jax.compare import family, results, schema, seeds, table, verdict
from kd_jax.data import sources
from kd_jax.report import swept
from kd_jax.runs import sweep_run

pytestmark = pytest.mark.slow
ROWS = {'teacher': 'teacher', 'baseline': 'student', 'student': 'student'}


def experiment(constant: bool = False) -> build.Experiment:
  """Regression of vectors; the labels that test are constant if asked."""
  x = np.random.default_rng(0).normal(size=(40, 3))
  y = x.sum(-1)
  c = config.default()
  c.task = 'regression'
  c.networks.teacher = dict(name='mlp', widths=[4])
  c.networks.student = dict(name='mlp', widths=[2])
  c.terms.hard = dict(method='squared_error', weight=0.5)
  c.terms.soft = dict(method='logit_mse', weight=0.5)
  c.train.batch_size = c.teacher.batch_size = 8
  c.parallel = 'one'
  return build.make_experiment(
    c,
    sources.make_data(
      'arrays',
      train=(x, y),
      test=(x[:20], 0 * y[:20] + 0.3 if constant else y[:20]),
      task='regression',
    ),
  )


def run(folder, of: build.Experiment, seed: int, collapsed: bool) -> None:
  """Compares networks that never trained; the student's outputs are 0."""
  folder.mkdir()
  checkpoint.write_json(folder / 'config.json', {})
  inputs = build.example_inputs(of.data)
  variables = {
    row: jax.device_get(
      of.networks[name].init(jax.random.key(seed + k), inputs)
    )
    for k, (row, name) in enumerate(ROWS.items())
  }
  if collapsed:
    variables['student'] = jax.tree.map(np.zeros_like, variables['student'])
  place = folder / 'networks/student'
  place.mkdir(parents=True)
  cost = {'seconds_per_step': 1.0, 'extra_parameters': 0, 'extra_bytes': 0}
  spec = {'validation': {'last': 0.5}, 'select': 'last', 'cost': cost}
  checkpoint.write_json(place / 'network.json', spec)
  compare.run(of, variables, folder)


@pytest.fixture(scope='module', params=['student', 'labels'])
def folders(request, tmp_path_factory):
  """A run, and two seeds, of which one student or all labels are constant."""
  whole = tmp_path_factory.mktemp('undefined')
  of, single = experiment(request.param == 'labels'), whole / 'seed_0'
  run(single, of, 0, request.param == 'student')
  run(whole / 'seed_1', of, 10, False)
  seeds.combine(whole, [single, whole / 'seed_1'])
  return request.param, single, whole


def test_the_verdict_says_that_there_is_no_score(folders):
  what, single, whole = folders
  for folder in (single, whole):
    judged = results.read_report(folder)['verdict']
    assert judged['outcome'] == verdict.UNDEFINED
    assert judged['difference'] is judged['interval'] is judged['p'] is None
    assert judged['text'].startswith('No score, so no verdict: test Pearson')
    assert 'all predictions or all labels are the same' in judged['text']
    both = 'the distilled student and the student alone' in judged['text']
    assert both == (what == 'labels')
  assert f'in {1 + (what == "labels")} of 2 seeds' in judged['text']


def test_a_report_that_lacks_more_is_refused(folders):
  stored = results.read_report(folders[1])
  told = {**stored['verdict'], 'outcome': verdict.SAME}
  mistake = schema.first_mistake({**stored, 'verdict': told})
  assert mistake == 'verdict.difference is missing'


def test_tables_and_pages_show_it(folders, tmp_path):
  what, single, whole = folders
  out = tmp_path / 'all.html'
  assert report.main([str(single), str(whole), '--out', str(out)]) == 0
  assert '2 comparisons have no score' in out.read_text()
  for folder in (single, whole):
    stored = results.read_report(folder)
    text = table.table(stored) + table.overview({'a': stored, 'b': stored})
    page = (folder / 'report.html').read_text().split('</style>', 1)[1]
    for shown in (text, page):
      assert 'not defined' in shown and 'nan' not in shown
      assert 'Distillation' not in shown and 'None' not in shown
    assert 'too close' not in text and '2 comparisons have no score' in text
    # No picture is empty.
    assert ('<svg' in page) == ('What Pearson' in page) == (what == 'student')
    # What is known beside it is shown.
    assert stored['networks']['student']['mse'] is not None


def test_a_sweep_shows_it(folders, tmp_path):
  _, single, whole = folders
  reports = {str(f): results.read_report(f) for f in (single, whole)}
  judged = family.correct({k: r['verdict'] for k, r in reports.items()})
  rows = [
    sweep_run.row_of(k, whole / k, report, judged[k]) | {'values': {}}
    for k, report in reports.items()
  ]
  sweep_run.write(tmp_path, rows)
  page = swept.write(tmp_path, rows, None, task=tasks.REGRESSION).read_text()
  text = sweep_run.table(rows, tasks.REGRESSION)
  best = swept.best_in_words(rows, tasks.REGRESSION)
  assert '(test not defined;' in best and best in page
  assert text.count('| - | - | - |') == 2 and 'nan' not in text
