"""A lane is the run of its own: bit for bit, or by vmap to rounding."""

import shutil

import pytest

from kd_jax import build, device, errors, metrics, parallel, runs
from kd_jax.data import sources
from kd_jax.training import halving, loop
from tests.helpers import grids, marks, tiny

pytestmark = pytest.mark.usefixtures('compiled_once')


def launched(configs, folder, plan=loop.ALONE):
  """All of it: trained, compared, reported."""
  prepared = runs.claim(runs.build_all(configs, folder), {})
  return runs.train_all(prepared, plan=plan)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The settings as runs of their own."""
  folder = tmp_path_factory.mktemp('alone')
  for name, c in grids.settings().items():
    grids.together({name: c}, folder)
  return folder


@pytest.mark.bits
@pytest.mark.parametrize(
  'strategy', ['loop', 'unrolled', pytest.param('map', marks=pytest.mark.slow)]
)
def test_a_lane_is_its_own_run_bit_for_bit(strategy, alone, tmp_path):
  grids.together(grids.settings(), tmp_path, loop.Plan(strategy))
  for name in grids.SETTINGS:
    grids.same(tmp_path / name, alone / name)
    ours, theirs = (metrics.read_rows(x / name) for x in (tmp_path, alone))
    assert [row for row in ours if row['stage'] == 'student'] == [
      row for row in theirs if row['stage'] == 'student'
    ]


@pytest.mark.slow
def test_by_vmap_it_is_its_own_run_to_rounding(alone, tmp_path):
  grids.together(grids.settings(), tmp_path, loop.Plan('vmap'))
  for name in grids.SETTINGS:
    ours, theirs = (
      grids.networks(x / name)['student'] for x in (tmp_path, alone)
    )
    assert tiny.distance(ours, theirs) < 1e-4


@pytest.mark.bits
def test_a_part_at_a_time_is_the_same(alone, tmp_path):
  grids.together(grids.settings(), tmp_path, loop.Plan('loop', lanes=2))
  for name in grids.SETTINGS:
    grids.same(tmp_path / name, alone / name)


@pytest.mark.bits
@pytest.mark.parametrize(
  'strategy', marks.slow_but(['loop', 'map', 'vmap'], ['loop'])
)
def test_a_grid_that_was_stopped_goes_on(strategy, alone, tmp_path):
  asked, plan = [], loop.Plan(strategy)

  def stop():
    asked.append(1)
    return len(asked) > 26  # in the middle of the last stage

  with pytest.raises(errors.StoppedError):
    grids.together(grids.settings(), tmp_path, plan, stop)
  # As if the kill had come between two saves: one lane is a checkpoint behind.
  saved = sorted((tmp_path / 'b/checkpoints/student').iterdir())
  assert len(saved) > 1
  shutil.rmtree(max(saved, key=lambda p: int(p.name)))
  grids.together(grids.settings(), tmp_path, plan)
  for name in grids.SETTINGS:
    if strategy != 'vmap':
      grids.same(tmp_path / name, alone / name)
    else:
      ours, theirs = (
        grids.networks(x / name)['student'] for x in (tmp_path, alone)
      )
      assert tiny.distance(ours, theirs) < 1e-4


def test_a_launch_leaves_a_run_for_every_lane(tmp_path):
  found = launched(grids.settings({'a': {}, 'b': {'alpha': '0.5'}}), tmp_path)
  for name, result in found.items():
    assert result.report['networks']['student']['accuracy'] > 0
    for file in ('report.html', 'config.json', 'metrics.jsonl', 'command.txt'):
      assert (tmp_path / name / file).exists()
  before = (tmp_path / 'a/report.json').stat().st_mtime_ns
  again = launched(grids.settings({'a': {}, 'b': {'alpha': '0.5'}}), tmp_path)
  assert (tmp_path / 'a/report.json').stat().st_mtime_ns == before
  assert set(again) == {'a', 'b'}


@pytest.mark.parametrize(
  'strategy', marks.slow_but(['loop', 'unrolled', 'vmap'], ['loop'])
)
def test_a_lane_that_diverges_stops_alone(strategy, tmp_path):
  key = 'train.optimizer.learning_rate'
  configs = grids.settings(
    {'good': {}, 'bad': {key: '1e30'}, 'fine': {'alpha': '0'}}
  )
  good, bad, fine = grids.together(configs, tmp_path, loop.Plan(strategy))
  assert isinstance(bad.failure, errors.DivergedError)
  text = str(bad.failure).replace('inf', 'nan')
  assert "term 'hard' is nan at step" in text
  assert 'student' in good.networks and 'student' in fine.networks


@pytest.mark.slow
@pytest.mark.bits
def test_seeds_of_one_config_are_lanes(tmp_path):
  c = grids.settings({'a': {'seeds': '2'}})['a']
  found = runs.launch(c, tmp_path / 'both')
  assert len(found['networks']['student']['accuracy']['values']) == 2
  grids.together({'one': grids.settings({'a': {'seed': '1'}})['a']}, tmp_path)
  grids.same(tmp_path / 'both/seed_1', tmp_path / 'one')


def test_what_does_not_stack_is_a_group_of_its_own():
  configs = grids.settings(
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
    grids.settings(
      {'a': {}, 'b': {'train.batch_size': '16'}, 'c': {'data.limit': '200'}}
    ),
    tmp_path,
  )
  found = [made.data for group in prepared.groups for _, made in group]
  assert len(read) == 2
  assert found[0] is found[1] is not found[2]


@pytest.mark.bits
def test_lanes_with_teachers_of_their_own(tmp_path):
  changes = {'a': {'teacher.seed': '5'}, 'b': {'teacher.seed': '6'}}
  grids.together(grids.settings(changes), tmp_path / 'grid')
  for name, c in grids.settings(changes).items():
    grids.together({name: c}, tmp_path)
    grids.same(tmp_path / 'grid' / name, tmp_path / name)


def test_more_lanes_than_fit_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(device, 'free', lambda: 300_000)
  with pytest.raises(ValueError, match=r'64 lanes do not fit .* --lanes \d'):
    grids.together(grids.settings(), tmp_path, loop.Plan('loop', lanes=64))


@pytest.mark.slow
def test_auto_gives_each_lane_a_device(alone, monkeypatch, tmp_path):
  spread, on_each = [], parallel.on_each

  def noted(devices):
    spread.append(len(devices))
    return on_each(devices)

  monkeypatch.setattr(parallel, 'on_each', noted)
  changes = {name: grids.SETTINGS[name] for name in 'ab'}
  grids.together(grids.settings(changes, parallel='auto'), tmp_path)
  assert spread == [2]  # of eight; stages of a single lane have all of them
  for name in changes:
    ours, theirs = (
      grids.networks(x / name)['student'] for x in (tmp_path, alone)
    )
    assert tiny.distance(ours, theirs) < 1e-4


def test_one_program_needs_lanes_on_one_device():
  made = build.make_experiment(grids.settings({'a': {'parallel': 'mesh'}})['a'])
  for name in ('unrolled', 'map', 'vmap'):
    with pytest.raises(ValueError, match="'auto' or 'one', not 'mesh'"):
      loop.check(loop.make_plan(name), made)
  with pytest.raises(ValueError, match="strategy 'vmapp'; did you mean 'vmap'"):
    loop.make_plan('vmapp')


def test_those_that_lag_are_dropped_at_rungs(tmp_path):
  rates = ['0.03', '0.01', '0.003', '1e-5']
  key = 'train.optimizer.learning_rate'
  configs = grids.settings({f'r{rate}': {key: rate} for rate in rates})
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
