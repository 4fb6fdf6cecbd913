"""A sweep whose settings are tuned: equal budgets, other seeds, no test set."""

import pathlib

import pytest

from kd_jax import checkpoint, sweep
from kd_jax.runs import search, tuned

QUICK = pathlib.Path(__file__).resolve().parents[1] / 'helpers/quick.py'
SPACE = """

def search_space(arg='4'):
  from kd_jax import sweep
  if arg == '2':
    return {'alpha': sweep.uniform(0.1, 0.2)}
  return {'alpha': sweep.uniform(0.8, 0.9)}
"""
FEW = {
  'parallel': 'one',
  'seeds': '2',
  'train.steps': '8',
  'teacher.steps': '4',
}
SETTINGS = sweep.grid('arg', '2', '4')


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(QUICK.read_text() + SPACE)
  return str(path)


def test_each_setting_has_its_own_space(file):
  spaces = tuned.spaces(file, SETTINGS)
  assert [space['alpha'].high for space in spaces.values()] == [0.2, 0.9]
  tuned.check(file, FEW, SETTINGS)


def test_a_key_is_swept_or_searched(file):
  with pytest.raises(ValueError, match="'alpha' is in the sweep and in"):
    tuned.spaces(file, sweep.grid('alpha', 0.5))


@pytest.mark.slow
def test_the_best_trial_of_each_is_trained_anew(file, tmp_path):
  pytest.importorskip('optuna')
  workdir = tmp_path / 'run'

  def go():
    return tuned.run(file, FEW, SETTINGS, 3, workdir, lambda: False)

  rows = go()
  assert (workdir / 'sweep.html').exists()
  assert [row['setting'] for row in rows] == ['arg=2', 'arg=4']
  assert {row['comparisons'] for row in rows} == {2}
  for row in rows:
    folder = workdir / tuned.TUNING / row['setting']
    study = search.open_study(search.require_optuna(), folder)
    assert [t.state.name for t in study.trials] == ['COMPLETE'] * 3
    assert row['values']['alpha'] == study.best_trial.params['alpha']
    # No trial was compared, which is what reads the test set.
    assert not list(folder.rglob('report.json'))
    assert not list((workdir / row['setting']).rglob('report.html'))
    trials = {path.name for path in folder.glob('trial_*/seed_*')}
    runs = {path.name for path in (workdir / row['setting']).glob('seed_*')}
    assert runs == {'seed_0', 'seed_1'} and trials == {'seed_2', 'seed_3'}
  # Again, after a kill before the second one: the first is not done again.
  report = workdir / 'arg=2/seed_0/report.json'
  before = report.stat().st_mtime_ns
  checkpoint.move_aside(workdir / 'arg=4')
  for new, old in zip(go(), rows, strict=True):
    assert new | {'seconds_per_step': old['seconds_per_step']} == old
  assert report.stat().st_mtime_ns == before
