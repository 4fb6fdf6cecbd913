"""Training from cached teachers equals training with live ones."""

import pathlib

import jax
import numpy as np
import pytest

from kd_jax import (
  build,
  checkpoint,
  cli,
  config,
  errors,
  metrics,
  network_files,
  training,
)
from kd_jax.cache import store
from kd_jax.training import cached_teachers, runtime
from tests.helpers import running

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = str(ROOT / 'tests/helpers/quick.py')
SHIFT = '({"name": "shift", "pixels": 1},)'
# A term on features too, so that these are stored and read.
FEATURES = {
  'terms.hint': '{"method": "fitnet", "layers": [("hidden1", "hidden1")]}',
  'cache.outputs': '("logits", "hidden1")',
}
STORED = {'teacher_outputs': 'cache'}


def changed(changes, teacher=None) -> config.ConfigDict:
  """The quick config on one device, without augmentation and baseline."""
  c = config.read(QUICK)
  c.parallel, c.baseline, c.train.augment = 'one', False, ()
  if teacher is not None:
    c.networks.teacher = {'load': str(teacher)}
  for key, value in changes.items():
    config.change(c, key, str(value))
  return c


def experiment(changes, teacher=None) -> build.Experiment:
  return build.make_experiment(changed(changes, teacher))


def student(folder) -> str:
  """The content hash of the trained student."""
  return network_files.load_network(folder / 'networks/student')[1]['hash']


def manifest(folder, name='teacher') -> dict:
  return checkpoint.read_json(folder / 'cache' / name / store.MANIFEST)


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
  """A finished teacher."""
  whole = experiment({'teacher.steps': 10})
  folder = tmp_path_factory.mktemp('run')
  running.run(whole._replace(stages=whole.stages[:1]), folder)
  return folder / 'networks/teacher'


@pytest.fixture(scope='module')
def live(teacher, tmp_path_factory):
  """The student of the live teacher."""
  folder = tmp_path_factory.mktemp('live')
  return running.run(experiment(FEATURES, teacher), folder)


@pytest.fixture(scope='module')
def stored(teacher, tmp_path_factory):
  """The student of the stored teacher."""
  folder = tmp_path_factory.mktemp('stored')
  return running.run(experiment({**FEATURES, **STORED}, teacher), folder)


def test_in_f32_it_is_the_same_bit_for_bit(live, stored):
  """MLPs, whose outputs do not depend on an example's place in its batch."""
  assert student(stored) == student(live)
  assert metrics.read_rows(stored) == metrics.read_rows(live)


def test_augmented_views_replay_exactly(teacher, tmp_path):
  changes = {
    'train.augment': SHIFT,
    'train.views': 2,
    'train.steps': 25,
    'data.limit': 160,
  }
  hashes = [
    student(running.run(experiment(changes | more, teacher), tmp_path / name))
    for name, more in (('live', {}), ('stored', STORED))
  ]
  assert hashes[0] == hashes[1]
  index = manifest(tmp_path / 'stored')
  assert len(index['shards']) == index['identity']['views'] == 2


def test_views_are_images_that_repeat(teacher):
  changes = {'train.augment': SHIFT, 'train.views': 3, 'data.limit': 64}
  shown = experiment(changes, teacher)
  prepare = jax.jit(runtime.make_prepare(shown, shown.stages[-1].recipe))
  batch = {
    'inputs': shown.data.train.inputs[:32],
    'labels': np.arange(32),
    'index': np.arange(32),
  }
  # Two steps an epoch, so that epochs begin at 0, 2, 4, ..
  images = [np.asarray(prepare(n, batch)['inputs']) for n in range(14)]
  for n in range(14):
    same = [np.array_equal(images[n], other) for other in images]
    assert same == [n // 2 % 3 == other // 2 % 3 for other in range(14)]


@pytest.mark.parametrize(
  'changes',
  [
    {'cache.dtype': 'bfloat16'},
    {'cache.dtype': 'int8'},
    {'cache.dtype': 'int8', 'cache.top_k': 4},
  ],
)
def test_in_fewer_bits_it_is_within_the_bound(changes, teacher, tmp_path):
  cached = experiment(STORED | changes, teacher)
  stage, frozen = cached.stages[-1], cached.loaded
  prepare = runtime.make_prepare(cached, stage.recipe)
  session = training.Session(tmp_path, metrics.silent())
  teachers = cached_teachers.open_stage(cached, stage, frozen, prepare, session)
  compute = cached_teachers.make_compute(
    cached, stage, 'teacher', frozen['teacher'], prepare
  )
  index = np.random.default_rng(0).permutation(320)[:32]
  exact = compute(index, 0)['logits']
  error = np.abs(teachers.read(0, index)['teacher']['logits'] - exact)
  # Half a step of int8: the tail, a mean, is no larger than the logits.
  half = np.abs(exact).max(-1, keepdims=True) / 127 / 2
  bfloat16 = changes['cache.dtype'] == 'bfloat16'
  limit = np.abs(exact) / 256 if bfloat16 else half + 0 * exact
  top = np.argsort(-exact, -1)[:, : cached.cache.top_k or 10]
  error, limit = (np.take_along_axis(x, top, -1) for x in (error, limit))
  assert (error <= limit * (1 + 1e-4)).all()
  assert error.max() > 0


@pytest.mark.parametrize('way', ['mesh', 'pmap'])
def test_devices_share_the_stored_signals(way, teacher, tmp_path):
  """Eight devices learn from the cache what one learns from the teacher."""
  changes = {'train.steps': 4, 'networks.student.dropout': 0.0}
  one = running.run(experiment(changes, teacher), tmp_path / 'one')
  changes |= {**STORED, 'parallel': way}
  many = running.run(experiment(changes, teacher), tmp_path / way)
  for a, b in zip(
    *(
      jax.tree.leaves(network_files.load_network(f / 'networks/student')[0])
      for f in (one, many)
    ),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, atol=2e-5)


def test_every_teacher_of_an_ensemble_is_stored(teacher, tmp_path):
  changes = {
    'networks.second': {'load': str(teacher)},
    'train.steps': 6,
    'scheme': {'name': 'ensemble', 'teachers': ['teacher', 'second']},
    'terms.soft.teacher': 'ensemble',
  }
  hashes = [
    student(running.run(experiment(changes | more, teacher), tmp_path / name))
    for name, more in (('live', {}), ('stored', STORED))
  ]
  assert hashes[0] == hashes[1]
  assert manifest(tmp_path / 'stored', 'second')


def test_a_run_stopped_in_the_cache_continues(teacher, stored, tmp_path):
  cached = experiment({**FEATURES, **STORED}, teacher)
  with pytest.raises(errors.StoppedError, match='cache'):
    running.run(cached, tmp_path, stop_after=4)
  assert not list(tmp_path.glob('cache/*/manifest.json'))
  running.run(cached, tmp_path)
  assert student(tmp_path) == student(stored)


def test_a_cache_that_is_there_is_used(teacher, stored, tmp_path, monkeypatch):
  monkeypatch.setattr(store, 'build', None)
  changes = {**FEATURES, **STORED, 'cache.folder': stored / 'cache', 'seed': 3}
  running.run(experiment({**changes, 'train.steps': 2}, teacher), tmp_path)
  assert not (tmp_path / 'cache').exists()


def test_runs_with_a_shared_store_share_a_cache(teacher, tmp_path):
  """Seeds and settings do; another format has a cache of its own."""
  for more in {}, {'seed': 1}, {'cache.dtype': 'int8'}:
    cached = experiment({**STORED, **more}, teacher)
    session = training.Session(
      tmp_path, metrics.silent(), shelf=tmp_path / 'shelf'
    )
    stage = cached.stages[-1]
    prepare = runtime.make_prepare(cached, stage.recipe)
    cached_teachers.check(cached, session)
    cached_teachers.open_stage(cached, stage, cached.loaded, prepare, session)
  assert len(list((tmp_path / 'shelf/cache').iterdir())) == 2


def test_a_cache_too_large_for_memory_is_read_ahead(teacher, tmp_path):
  pytest.importorskip('grain')
  cached = experiment(STORED, teacher)
  recipe = cached.stages[-1].recipe

  def read(step, index):
    return {'teacher': {'logits': np.float32(index)[:, None] + step}}

  near, far = (
    runtime.make_feed(
      cached.data.train,
      recipe,
      cached.placement,
      cached_teachers.CachedTeachers(read, in_memory),
    )
    for in_memory in (True, False)
  )
  for step in (0, 1, 2, 9, 1):
    jax.tree.map(np.testing.assert_array_equal, near(step), far(step))


@pytest.mark.parametrize(
  'changes, what',
  [
    ({'data.limit': 310}, 'data set'),
    ({'data.mean': '(0.5,)'}, 'preprocessing'),
    ({'train.augment': SHIFT, 'train.views': 2}, 'augmentation'),
    ({'cache.dtype': 'int8'}, 'dtype'),
    ({'cache.top_k': 3}, 'top k'),
    ({}, 'outputs'),
  ],
)
def test_a_cache_of_something_else(changes, what, teacher, stored, tmp_path):
  given = {**STORED, **changes, 'cache.folder': stored / 'cache'}
  if what != 'outputs':
    given |= FEATURES
  cached = experiment(given, teacher)
  session = training.Session(tmp_path, metrics.silent())
  with pytest.raises(errors.CacheError, match=f'of another {what}: '):
    training.run(cached, session)


def test_a_cache_of_another_teacher_is_one_line(
  teacher, stored, tmp_path, capsys
):
  variables, spec = network_files.load_network(teacher)
  other = jax.tree.map(lambda x: x * 1.5, variables)
  network_files.save_network(tmp_path / 'other', other, spec)
  changes = {
    **FEATURES,
    **STORED,
    'cache.folder': stored / 'cache',
    'parallel': 'one',
    'networks.teacher.load': tmp_path / 'other',
    'train.augment': '()',
  }
  del changes['terms.hint']
  code = cli.main(
    [
      '--config',
      QUICK,
      '--workdir',
      str(tmp_path / 'run'),
      *(f'--config.{key}={value}' for key, value in changes.items()),
    ]
  )
  err = capsys.readouterr().err
  assert code == 2
  assert err.startswith('error: the cache in ')
  assert 'of another teacher: ' in err
  assert err.count('\n') == 1
  assert not (tmp_path / 'run/metrics.jsonl').exists()


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'teacher_outputs': 'cash'}, "cash.*'cache'"),
    ({'train.views': -1}, 'train.views.*-1'),
    ({'train.augment': SHIFT}, 'train.views.*not 0'),
    ({'train.augment': '("mixup",)', 'train.views': 2}, "'mixup'.*'live'"),
    ({'train.augment': '("rotations",)', 'train.views': 2}, 'four images'),
    ({'cache.dtype': 'int4'}, "int4.*'int8'"),
    ({'cache.top_k': 10}, '10 of 10'),
    ({'cache.outputs': '("logit",)'}, "'logit'.*'logits'"),
    ({'cache.outputs': '("logits", "hiden1")'}, 'hiden1.*hidden1'),
    ({'cache.outputs': '("hidden1",)'}, 'logits'),
    (
      {
        'cache.outputs': '("hidden1",)',
        'terms.soft.teacher': 'two',
        'views.two': '{"name": "mean_logits", '
        '"sources": ["teacher", "teacher"]}',
      },
      "'logits', which is not there",
    ),
  ],
)
def test_what_cannot_be_meant_is_one_line(changes, words, teacher):
  with pytest.raises(ValueError, match=words) as refused:
    experiment({**STORED, **changes}, teacher)
  assert '\n' not in str(refused.value)
