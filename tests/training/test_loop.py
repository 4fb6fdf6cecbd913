"""A lane is the run of its own: bit for bit, or by vmap to rounding."""

import pathlib
import shutil

import jax
import numpy as np
import pytest

from kd_jax import (
  build,
  config,
  device,
  errors,
  metrics,
  network_files,
  runs,
  training,
)
from kd_jax.data import sources
from kd_jax.training import halving, loop, strategies
from tests.helpers import tiny

QUICK = str(pathlib.Path(__file__).resolve().parents[1] / 'helpers/quick.py')
pytestmark = pytest.mark.usefixtures('compiled_once')
SETTINGS = {
  'a': {},
  'b': {'alpha': '0.5', 'temperature': '2.0'},
  'c': {'seed': '3', 'train.optimizer.learning_rate': '0.003'},
}


def settings(changes=SETTINGS, **common) -> dict[str, config.ConfigDict]:
  """{name: quick config with keys changed}."""
  made = {}
  for name, own in changes.items():
    c = config.read(QUICK)
    c.parallel, c.train.steps, c.teacher.steps = 'one', 12, 6
    c.checkpoint_every = c.eval_every = 4
    for key, value in {**common, **own}.items():
      config.change(c, key, value)
    made[name] = c
  return made


def networks(folder) -> dict[str, dict]:
  """{network: variables} that a run left."""
  return {
    path.name: network_files.load_network(path)[0]
    for path in sorted((folder / 'networks').iterdir())
  }


def same(ours, theirs) -> None:
  """Two folders hold the very same networks."""
  ours, theirs = networks(ours), networks(theirs)
  assert set(ours) == set(theirs)
  for name, variables in ours.items():
    jax.tree.map(np.testing.assert_array_equal, variables, theirs[name])


def together(configs, folder, plan=loop.ALONE, stop=lambda: False):
  """Trains settings as lanes, without the comparison that a launch ends in."""
  places = [
    runs.Place(c, folder / name, folder / name) for name, c in configs.items()
  ]
  group = runs.make_group(places)
  sessions = []
  for place, _ in group:
    place.folder.mkdir(parents=True, exist_ok=True)
    writer = metrics.make_writer(place.folder)
    sessions.append(
      training.Session(place.folder, writer, stop, folder / 'shelf')
    )
  try:
    return training.run_all([made for _, made in group], sessions, plan)
  finally:
    for session in sessions:
      session.writer.close()


def launched(configs, folder, plan=loop.ALONE):
  """All of it: trained, compared, reported."""
  prepared = runs.claim(runs.build_all(configs, folder), {})
  return runs.train_all(prepared, plan=plan)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The settings as runs of their own."""
  folder = tmp_path_factory.mktemp('alone')
  for name, c in settings().items():
    together({name: c}, folder)
  return folder


@pytest.mark.parametrize(
  'strategy', ['loop', 'unrolled', pytest.param('map', marks=pytest.mark.slow)]
)
def test_a_lane_is_its_own_run_bit_for_bit(strategy, alone, tmp_path):
  together(settings(), tmp_path, loop.Plan(strategy))
  for name in SETTINGS:
    same(tmp_path / name, alone / name)
    ours, theirs = (metrics.read_rows(x / name) for x in (tmp_path, alone))
    assert [row for row in ours if row['stage'] == 'student'] == [
      row for row in theirs if row['stage'] == 'student'
    ]


@pytest.mark.slow
def test_by_vmap_it_is_its_own_run_to_rounding(alone, tmp_path):
  together(settings(), tmp_path, loop.Plan('vmap'))
  for name in SETTINGS:
    ours, theirs = (networks(x / name)['student'] for x in (tmp_path, alone))
    assert tiny.distance(ours, theirs) < 1e-4


def test_a_part_at_a_time_is_the_same(alone, tmp_path):
  together(settings(), tmp_path, loop.Plan('loop', lanes=2))
  for name in SETTINGS:
    same(tmp_path / name, alone / name)


@pytest.mark.parametrize(
  'strategy', ['loop', pytest.param('map', marks=pytest.mark.slow), 'vmap']
)
def test_a_grid_that_was_stopped_goes_on(strategy, alone, tmp_path):
  asked, plan = [], loop.Plan(strategy)

  def stop():
    asked.append(1)
    return len(asked) > 26  # in the middle of the last stage

  with pytest.raises(errors.StoppedError):
    together(settings(), tmp_path, plan, stop)
  # As if the kill had come between two saves: one lane is a checkpoint behind.
  saved = sorted((tmp_path / 'b/checkpoints/student').iterdir())
  assert len(saved) > 1
  shutil.rmtree(max(saved, key=lambda p: int(p.name)))
  together(settings(), tmp_path, plan)
  for name in SETTINGS:
    if strategy != 'vmap':
      same(tmp_path / name, alone / name)
    else:
      ours, theirs = (networks(x / name)['student'] for x in (tmp_path, alone))
      assert tiny.distance(ours, theirs) < 1e-4


def test_a_launch_leaves_a_run_for_every_lane(tmp_path):
  found = launched(settings({'a': {}, 'b': {'alpha': '0.5'}}), tmp_path)
  for name, result in found.items():
    assert result.report['networks']['student']['accuracy'] > 0
    for file in ('report.html', 'config.json', 'metrics.jsonl', 'command.txt'):
      assert (tmp_path / name / file).exists()
  before = (tmp_path / 'a/report.json').stat().st_mtime_ns
  again = launched(settings({'a': {}, 'b': {'alpha': '0.5'}}), tmp_path)
  assert (tmp_path / 'a/report.json').stat().st_mtime_ns == before
  assert set(again) == {'a', 'b'}


@pytest.mark.parametrize(
  'strategy', ['loop', pytest.param('unrolled', marks=pytest.mark.slow), 'vmap']
)
def test_a_lane_that_diverges_stops_alone(strategy, tmp_path):
  key = 'train.optimizer.learning_rate'
  configs = settings({'good': {}, 'bad': {key: '1e30'}, 'fine': {'alpha': '0'}})
  good, bad, fine = together(configs, tmp_path, loop.Plan(strategy))
  assert isinstance(bad.failure, errors.DivergedError)
  text = str(bad.failure).replace('inf', 'nan')
  assert "term 'hard' is nan at step" in text
  assert 'student' in good.networks and 'student' in fine.networks


@pytest.mark.slow
def test_seeds_of_one_config_are_lanes(tmp_path):
  c = settings({'a': {'seeds': '2'}})['a']
  found = runs.launch(c, tmp_path / 'both')
  assert len(found['networks']['student']['accuracy']['values']) == 2
  together({'one': settings({'a': {'seed': '1'}})['a']}, tmp_path)
  same(tmp_path / 'both/seed_1', tmp_path / 'one')


def test_what_does_not_stack_is_a_group_of_its_own():
  configs = settings(
    {
      'a': {},
      'b': {'terms.soft.temperature': '8.0'},
      'c': {'networks.student.widths': '[4]'},
      'd': {'beta': '1.0'},
      'e': {'train.batch_size': '16'},
      'f': {'teacher.seed': '1'},
    }
  )
  assert runs.groups_of(configs) == [
    (None, ['a', 'b', 'd', 'f']),
    ('networks.student.widths', ['c']),
    ('train.batch_size', ['e']),
  ]


def test_groups_share_what_is_read(tmp_path, monkeypatch):
  read, make = [], sources.make_data

  def counted(*args, **options):
    read.append(options)
    return make(*args, **options)

  monkeypatch.setattr(sources, 'make_data', counted)
  prepared = runs.build_all(
    settings(
      {'a': {}, 'b': {'train.batch_size': '16'}, 'c': {'data.limit': '200'}}
    ),
    tmp_path,
  )
  found = [made.data for group in prepared.groups for _, made in group]
  assert len(read) == 2
  assert found[0] is found[1] is not found[2]


def test_lanes_with_teachers_of_their_own(tmp_path):
  changes = {'a': {'teacher.seed': '5'}, 'b': {'teacher.seed': '6'}}
  together(settings(changes), tmp_path / 'grid')
  for name, c in settings(changes).items():
    together({name: c}, tmp_path)
    same(tmp_path / 'grid' / name, tmp_path / name)


def test_more_lanes_than_fit_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(device, 'free', lambda: 300_000)
  with pytest.raises(ValueError, match=r'64 lanes do not fit .* --lanes \d'):
    together(settings(), tmp_path, loop.Plan('loop', lanes=64))


def test_one_program_needs_lanes_on_one_device():
  made = build.make_experiment(settings({'a': {'parallel': 'mesh'}})['a'])
  for name in ('unrolled', 'map', 'vmap'):
    with pytest.raises(ValueError, match="needs parallel='one', not 'mesh'"):
      strategies.choose(name, made.placement, 2)
  with pytest.raises(ValueError, match="strategy 'vmapp'; did you mean 'vmap'"):
    loop.make_plan('vmapp')


def test_those_that_lag_are_dropped_at_rungs(tmp_path):
  rates = ['0.03', '0.01', '0.003', '1e-5']
  key = 'train.optimizer.learning_rate'
  configs = settings({f'r{rate}': {key: rate} for rate in rates})
  plan = loop.Plan('loop', halving=2)
  found = launched(configs, tmp_path, plan=plan)
  steps = {
    name: max(
      r['step']
      for r in metrics.read_rows(tmp_path / name)
      if r['stage'] == 'student'
    )
    for name in configs
  }
  # Rungs at steps 3 and 6 of 12, looked at when next validated: 4 and 8.
  assert sorted(steps.values()) == [4, 4, 8, 12]
  assert steps['r1e-5'] == 4
  dropped = [
    x for x in found.values() if isinstance(x.failure, errors.DroppedError)
  ]
  assert len(dropped) == 3
  assert not list(tmp_path.rglob('failed.txt'))
  # The same command again drops nothing else and trains nothing.
  again = launched(configs, tmp_path, plan=plan)
  assert {k: str(v.failure) for k, v in again.items()} == {
    k: str(v.failure) for k, v in found.items()
  }


def test_rungs():
  assert halving.rungs(9, 90, 3) == [(10, 3), (30, 1)]
  assert halving.rungs(8, 80, 2) == [(10, 4), (20, 2), (40, 1)]
  assert halving.rungs(1, 80, 2) == []
  with pytest.raises(ValueError, match='at least 2, not 1'):
    loop.make_plan('auto', 0, 1)
