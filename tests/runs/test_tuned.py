"""A sweep whose settings are tuned: equal budgets, other seeds, no test set."""

import pathlib

import pytest

from kd_jax import checkpoint, cli, config, errors, runs, sweep
from kd_jax.runs import folders, search, sweep_run, tuned

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


@pytest.mark.parametrize('seeds, weights', [(1, 'hard'), (2, 'soft')])
def test_a_run_of_other_values_is_moved_aside(
  seeds, weights, file, tmp_path, monkeypatch, capsys
):
  best, workdir = [0.8, 0.8, 0.9], tmp_path / 'run'
  few = {**FEW, 'seeds': str(seeds), 'alpha_weights': weights}
  done = {'arg=4': runs.Result({})}
  monkeypatch.setattr(tuned, 'tune', lambda *_: {'alpha': best.pop(0)})
  monkeypatch.setattr(runs, 'train_all', lambda *_, **__: done)
  monkeypatch.setattr(sweep_run, 'collect', lambda *_: [])
  for again in (False, True, True):
    tuned.run(file, few, SETTINGS[1:], 3, workdir, lambda: False)
    assert (workdir / 'arg=4/mine').exists() == (again and len(best) == 1)
    (workdir / 'arg=4/mine').touch()
  said = capsys.readouterr().err
  assert 'arg=4 is trained anew: alpha is ' in said and 'moved' in said
  assert (workdir / 'arg=4.replaced/mine').exists()


def test_a_study_of_another_space_is_refused(file, tmp_path, capsys):
  optuna = pytest.importorskip('optuna')
  folders.claim_sweep(tmp_path / 'run', config.to_json(config.read(file)))
  study = search.open_study(optuna, tmp_path / 'run/tuning/arg=2')
  search.propose(study.ask(), 'alpha', sweep.uniform(0.1, 0.3))
  argv = ['--config', file, '--workdir', str(tmp_path / 'run')]
  argv += ['--search', 'optuna', '--sweep', 'arg=2,4', '--trials', '1']
  assert cli.main(argv) == errors.USER
  said = capsys.readouterr().err
  assert 'draws alpha as uniform 0.1 to 0.3, and' in said
  assert 'now as uniform 0.1 to 0.2; use another' in said


@pytest.mark.slow
def test_the_best_trial_of_each_is_trained_anew(file, tmp_path):
  optuna = pytest.importorskip('optuna')
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
  # More trials find better values for the second one.
  better = optuna.trial.create_trial(
    params={'alpha': 0.85}, distributions=study.trials[0].distributions, value=2
  )
  study.add_trial(better)
  first, second = go()
  assert second['values']['alpha'] == 0.85 != rows[1]['values']['alpha']
  assert first['values'] == rows[0]['values']
  assert report.stat().st_mtime_ns == before
  assert (workdir / 'arg=4.replaced/report.json').exists()
