"""A search by Optuna: trials are lanes, the study survives, a lag is pruned."""

import pathlib

import pytest

from kd_jax import cli, config, errors, sweep
from kd_jax.runs import search, sweep_run
from kd_jax.training import halving

QUICK = pathlib.Path(__file__).resolve().parents[1] / 'helpers/quick.py'
SPACE = {
  'temperature': sweep.uniform(1.0, 8.0),
  'train.optimizer.learning_rate': sweep.log_uniform(1e-3, 1e-1),
  'terms.soft.standardize': sweep.choice(False, True),
}
FEW = {
  'parallel': 'one',
  'baseline': 'False',
  'train.steps': '8',
  'teacher.steps': '4',
  'eval_every': '4',
}


def go(workdir, trials, plan, stop=lambda: False):
  """The search over `SPACE` with the quick config."""
  return search.run(str(QUICK), FEW, SPACE, trials, workdir, stop, plan=plan)


@pytest.mark.slow
def test_a_search_is_resumed_and_finds_trials_of_its_own(tmp_path):
  optuna = pytest.importorskip('optuna')
  from kd_jax.training import loop

  plan = loop.Plan('loop', lanes=2)
  rows = go(tmp_path, 2, plan)
  assert [row['setting'] for row in rows] == ['trial_0000', 'trial_0001']
  assert set(rows[0]['values']) == set(SPACE)
  before = (tmp_path / 'trial_0000/report.json').stat().st_mtime_ns
  # As if killed while a third was trained.
  study = search.open_study(optuna, tmp_path)
  third = study.ask()
  values = {
    key: search.propose(third, key, draw) for key, draw in SPACE.items()
  }
  rows = go(tmp_path, 3, plan)
  assert len(rows) == 3
  assert rows[2]['values']['temperature'] == values['temperature']
  assert (tmp_path / 'trial_0000/report.json').stat().st_mtime_ns == before
  done = search.open_study(optuna, tmp_path).trials
  assert [t.state.name for t in done] == ['COMPLETE'] * 3
  assert done[2].value == rows[2]['validation']


def test_the_pruner_drops_lanes(tmp_path):
  class Trial:
    """A trial of a study that has seen better."""

    def __init__(self, bad):
      self.bad, self.seen = bad, []

    def report(self, value, step):
      self.seen.append((step, value))

    def should_prune(self):
      return self.bad

  class Lane:
    """The part of a lane that a pruner reads."""

    def __init__(self, name):
      folder = tmp_path / name
      folder.mkdir()
      self.session = type('Session', (), {'folder': folder})
      self.scores, self.step = {'validation_accuracy/student': 0.5}, 4

  trials = {'trial_0000': Trial(False), 'trial_0001': Trial(True)}
  pruner = search.make_pruner(trials)
  dropped = pruner({i: Lane(name) for i, name in enumerate(trials)})
  assert set(dropped) == {1}
  assert trials['trial_0000'].seen == [(4, 0.5)]
  assert 'dropped at step 4' in halving.read(tmp_path / 'trial_0001')


def test_what_a_search_needs(monkeypatch, tmp_path):
  with pytest.raises(ValueError, match=r'has no search_space\(\)'):
    search.space_of(str(QUICK))
  file = tmp_path / 'empty.py'
  file.write_text('def get_config(): pass\ndef search_space(): return {}\n')
  with pytest.raises(ValueError, match='is empty'):
    search.space_of(str(file))
  monkeypatch.setitem(__import__('sys').modules, 'optuna', None)
  with pytest.raises(ValueError, match='pip install optuna'):
    search.require_optuna()


def test_the_config_of_a_trial_has_its_values():
  values = {'temperature': 2.5, 'terms.soft.standardize': True}
  one = sweep_run.make_one(str(QUICK), FEW, values, pathlib.Path('w/trial'))
  assert config.resolve(one.config).terms.soft.temperature == 2.5
  assert one.command[-2:] == (
    '--config.temperature=2.5',
    '--config.terms.soft.standardize=True',
  )


def test_a_study_of_another_space_is_refused(tmp_path):
  optuna = pytest.importorskip('optuna')
  search.check_study(tmp_path, SPACE)
  study = search.open_study(optuna, tmp_path)
  search.propose(study.ask(), 'temperature', SPACE['temperature'])
  # As if killed before the other keys were drawn.
  search.check_study(tmp_path, SPACE)
  with pytest.raises(ValueError, match='searches temperature,.* alpha'):
    search.check_study(tmp_path, {'alpha': sweep.uniform(0.0, 1.0)})


@pytest.mark.parametrize(
  'draw, text',
  [
    (sweep.log_uniform(1.0, 2.0), 'log_uniform 1 to 2'),
    (sweep.uniform(1e-4, 3e-2), 'uniform 0.0001 to 0.03'),
    (sweep.choice(1e-3, 1e-2), 'choice 0.001, 0.01'),
  ],
)
def test_a_study_of_other_ranges_is_refused(draw, text, tmp_path):
  optuna = pytest.importorskip('optuna')
  study = search.open_study(optuna, tmp_path)
  space = {
    'alpha': sweep.uniform(0, 1),
    'terms.soft.standardize': sweep.choice(False, True),
    'lr': sweep.log_uniform(1e-4, 3e-2),
  }
  for _ in range(2):
    trial = study.ask()
    for key, draws in space.items():
      search.propose(trial, key, draws)
    study.tell(trial, 0.5)
  search.check_study(tmp_path, space)
  words = f'draws lr as log_uniform 0.0001 to 0.03, and .* now as {text}; use'
  with pytest.raises(ValueError, match=words):
    search.check_study(tmp_path, {**space, 'lr': draw})


def test_a_trial_that_cannot_be_is_one_line(tmp_path, capsys):
  """Its values are legal each by itself, as the ends of the space are."""
  pytest.importorskip('optuna')
  file = tmp_path / 'mine.py'
  file.write_text(
    QUICK.read_text()
    + """

def search_space():
  from kd_jax import sweep
  return {
    'train.steps': sweep.choice(30, 8),
    'train.optimizer.accumulate': sweep.choice(1, 20),
  }
"""
  )
  argv = ['--config', str(file), '--workdir', str(tmp_path / 'run')]
  assert cli.main([*argv, '--search', 'optuna']) == errors.USER
  said = capsys.readouterr().err
  assert said.count('\n') == 1, said
  assert 'a trial of the search in' in said
  assert 'accumulate=20 is more than the 8 steps' in said
