"""Chunks of steps: the same run wherever it is cut, resumed in its own way."""

import jax
import numpy as np
import pytest

from kd_jax import checkpoint, errors, metrics, network_files, runs, training
from kd_jax.training import chunks, loop
from tests.helpers import marks, quick, running


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run in chunks that nothing interrupted."""
  folder = tmp_path_factory.mktemp('chunks')
  return running.run(running.experiment(steps_at_once=100), folder)


def test_chunks_of_any_length_are_the_same_run(whole, tmp_path):
  for size in (2, 7):
    folder = tmp_path / str(size)
    running.run(
      running.experiment(steps_at_once=size, checkpoint_every=30), folder
    )
    assert running.hashes(folder) == running.hashes(whole)
    assert metrics.read_rows(folder) == metrics.read_rows(whole)


def test_a_stopped_run_continues_bit_for_bit(whole, tmp_path):
  for times in (3, 4, 6):
    with pytest.raises(errors.StoppedError, match='step'):
      running.run(
        running.experiment(steps_at_once=100), tmp_path, stop_after=times
      )
  running.run(running.experiment(steps_at_once=100), tmp_path)
  assert running.hashes(tmp_path) == running.hashes(whole)
  assert metrics.read_rows(tmp_path) == metrics.read_rows(whole)


def prefer(monkeypatch, way: str) -> None:
  """Lets every trial find this way to be the faster."""
  monkeypatch.setattr(chunks, 'WORTH', 1)
  monkeypatch.setattr(
    chunks, 'seconds', lambda function: float(function.__name__ != way)
  )


@pytest.mark.parametrize(
  'first, then', [('by_chunk', 'by_step'), ('by_step', 'by_chunk')]
)
def test_a_resumed_stage_keeps_its_way(first, then, tmp_path, monkeypatch):
  prefer(monkeypatch, first)
  with pytest.raises(errors.StoppedError):
    running.run(running.experiment(), tmp_path, stop_after=2)
  prefer(monkeypatch, then)
  running.run(running.experiment(), tmp_path)
  ways = {
    stage: checkpoint.read_json(
      tmp_path / 'checkpoints' / stage / '30/meta/metadata'
    )['way']
    for stage in ('teacher', 'student')
  }
  kinds = {'by_chunk': chunks.CHUNK, 'by_step': chunks.SINGLE}
  assert ways == {'teacher': kinds[first], 'student': kinds[then]}


def test_another_number_is_another_run(whole):
  with pytest.raises(ValueError, match='steps_at_once is 7 now and 100 there'):
    running.run(running.experiment(steps_at_once=7), whole)


def test_chunks_are_single_steps_to_rounding(whole, tmp_path):
  single = running.run(running.experiment(steps_at_once=1), tmp_path / 'single')
  for ours, theirs in zip(metrics.read_rows(whole), metrics.read_rows(single)):
    assert ours.pop('stage') == theirs.pop('stage')
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
  'strategy',
  [
    'loop',
    pytest.param('unrolled', marks=pytest.mark.slow),
    pytest.param('map', marks=pytest.mark.slow),
    pytest.param('vmap', marks=pytest.mark.slow),
  ],
)
def test_lanes_in_chunks_are_single_runs_in_chunks(strategy, tmp_path):
  def launch(names, folder):
    c = {n: quick.get_config(n) for n in names}
    for one in c.values():
      one.parallel, one.steps_at_once, one.baseline = 'one', 10, False
    prepared = runs.claim(runs.build_all(c, folder), {})
    runs.train_all(prepared, plan=training.Plan(strategy))

  launch(['2', '4'], tmp_path / 'both')
  for name in ('2', '4'):
    launch([name], tmp_path / name)
    place = f'{name}/networks/student'
    both, _ = network_files.load_network(tmp_path / 'both' / place)
    alone, _ = network_files.load_network(tmp_path / name / place)
    check = (
      np.testing.assert_array_equal
      if strategy != 'vmap'
      else lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    )
    jax.tree.map(check, both, alone)


def test_a_nan_names_its_step_inside_a_chunk(tmp_path):
  made = [
    running.experiment(train__optimizer__learning_rate=1e30, steps_at_once=n)
    for n in (1, 30)
  ]
  said = []
  for i, broken in enumerate(made):
    with pytest.raises(errors.DivergedError) as diverged:
      running.run(broken, tmp_path / str(i))
    said.append(str(diverged.value))
  assert said[0] == said[1]
  assert 'at step' in said[0]


def test_cached_teachers_in_chunks(tmp_path):
  """Read into a chunk, they give what they give step by step."""
  options = dict(teacher_outputs='cache', train__views=2)
  for size in (1, 6):
    made = running.experiment(steps_at_once=size, **options)
    running.run(made, tmp_path / str(size))
  ours, theirs = (metrics.read_rows(tmp_path / n) for n in ('6', '1'))
  for row, other in zip(ours, theirs, strict=True):
    assert row.pop('stage') == other.pop('stage')
    assert row == pytest.approx(other, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize('way', marks.slow_but(['mesh', 'pmap'], ['mesh']))
def test_several_devices_take_chunks(way, tmp_path, capsys):
  """Cut and stopped anywhere they are the same run, near that of one device."""

  def made(**changes):
    options = dict(parallel=way, baseline=False, steps_at_once=10)
    changes = {**options, 'networks__student__dropout': 0.0, **changes}
    return running.experiment(**changes)

  whole = running.run(made(), tmp_path / 'whole')
  assert 'student: 10 steps in one program' in capsys.readouterr().err
  for times in (2, 5):
    with pytest.raises(errors.StoppedError, match='step'):
      running.run(made(checkpoint_every=4), tmp_path / 'cut', stop_after=times)
  cut = running.run(made(checkpoint_every=4), tmp_path / 'cut')
  assert running.hashes(cut) == running.hashes(whole)
  assert metrics.read_rows(cut) == metrics.read_rows(whole)
  one = running.run(made(parallel='one'), tmp_path / 'one')
  single = running.run(made(steps_at_once=1), tmp_path / 'single')
  for row, *others in zip(*map(metrics.read_rows, (whole, one, single))):
    stage = row.pop('stage')
    for other in others:
      assert stage == other.pop('stage')
      assert row == pytest.approx(other, rel=1e-3, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('way', ['mesh', 'pmap'])
def test_stored_teachers_in_chunks_on_several_devices(way, tmp_path):
  runs = []
  for parallel in ('one', way):
    made = running.experiment(
      parallel=parallel,
      steps_at_once=6,
      teacher_outputs='cache',
      train__views=2,
      baseline=False,
      networks__student__dropout=0.0,
    )
    runs.append(running.run(made, tmp_path / parallel))
  for ours, theirs in zip(*map(metrics.read_rows, runs), strict=True):
    assert ours.pop('stage') == theirs.pop('stage')
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


def test_a_trial_keeps_the_faster(monkeypatch, capsys, tmp_path):
  for faster in ('by_chunk', 'by_step'):
    prefer(monkeypatch, faster)
    running.run(running.experiment(), tmp_path / faster)
    said = 'steps in one program' in capsys.readouterr().err
    assert said == (faster == 'by_chunk')
    meta = tmp_path / faster / 'checkpoints/student/30/meta/metadata'
    way = checkpoint.read_json(meta)['way']
    assert way == (chunks.CHUNK if said else chunks.SINGLE)


def test_the_real_trial_runs(monkeypatch, tmp_path):
  monkeypatch.setattr(chunks, 'WORTH', 1)
  running.run(running.experiment(), tmp_path)
  assert running.hashes(tmp_path)['student']


def test_a_boundary_stops_a_chunk():
  member = loop.lane.Lane(None, None, None, 12, None, {})
  moving = loop._Moving((member, member._replace(step=0)))
  runtime = type('R', (), {'eval_every': 10, 'save_every': 25})
  for n, end in ((0, 10), (10, 12), (12, 20), (20, 25), (25, 30)):
    assert loop._boundary(moving, n, runtime, 30) == end
