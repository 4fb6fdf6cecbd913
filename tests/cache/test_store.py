"""A cache folder is complete, continued, or refused by its identity."""

import json

import numpy as np
import pytest

from kd_jax import checkpoint, errors, network_files
from kd_jax.cache import encoding, shards, store

SIZE, VIEWS, BATCH = 20_000, 2, 1000
LAYOUT = encoding.Layout({'logits': (5,)})
IDENTITY = {
  'teacher': 'a' * 64,
  'network': {'name': 'mlp', 'widths': (32,)},
  'outputs': ['logits'],
  'data_set': 'b' * 64,
  'augmentation': [{'name': 'shift', 'pixels': 1}],
  'views': VIEWS,
  'data_seed': 0,
  'preprocessing': {'mean': (0.5,), 'std': (0.25,)},
  'top_k': 0,
  'dtype': 'float32',
}


def teacher(index, view) -> dict:
  """Outputs that show their example and view."""
  numbers = np.float32(index)[:, None] + np.arange(5, dtype=np.float32) / 8
  return {'logits': numbers + 100_000 * view}


def build(folder, compute=teacher, tick=lambda done, total: None):
  store.build(folder, IDENTITY, LAYOUT, SIZE, compute, BATCH, tick)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A cache that nothing interrupted."""
  folder = tmp_path_factory.mktemp('cache') / 'teacher'
  build(folder)
  return folder


@pytest.mark.parametrize('memory', [store.MEMORY, 0])
def test_a_record_is_that_of_the_example_and_view(memory, whole):
  opened = store.open_cache(whole, IDENTITY, memory)
  assert opened.in_memory == (memory > 0)
  index = np.random.default_rng(0).integers(0, SIZE, 300)
  index[:4] = 0, SIZE - 1, 8191, 8192  # ends of shards
  for view in range(VIEWS):
    logits = opened.read(index, view)['logits']
    np.testing.assert_array_equal(logits, teacher(index, view)['logits'])


def test_the_index_says_what_is_where(whole):
  manifest = json.loads((whole / store.MANIFEST).read_text())
  files = {path.name for path in whole.iterdir()} - {store.MANIFEST}
  assert {shard['file'] for shard in manifest['shards']} == files
  assert len(files) == 2 * 3
  assert manifest['record_bytes'] == 20


class Enough(Exception):  # noqa: N818
  """Stops a build."""


def test_an_interrupted_build_continues_at_the_last_whole_shard(
  whole, tmp_path
):
  folder, ticks = tmp_path / 'teacher', []

  def stop_at(last):
    def tick(done, total):
      assert total == 44
      ticks.append(done)
      if done == last:
        raise Enough

    return tick

  with pytest.raises(Enough):
    build(folder, tick=stop_at(12))
  assert [p.name for p in folder.glob('*.array_record')] == [
    '00000-000000000.array_record'
  ]
  assert not (folder / store.MANIFEST).exists()
  with pytest.raises(errors.CacheError, match='no complete cache'):
    store.open_cache(folder, IDENTITY)
  with pytest.raises(Enough):
    build(folder, tick=stop_at(30))
  build(folder, tick=stop_at(None))
  # Shards have 9, 9 and 4 batches: they end at 9, 18, 22, 31, 40 and 44.
  assert ticks == [*range(1, 13), *range(10, 31), *range(23, 45)]
  for path in whole.iterdir():
    assert path.read_bytes() == (folder / path.name).read_bytes()
  assert not [p for p in folder.iterdir() if p.name.startswith('.')]


def test_a_complete_cache_is_not_built_again(whole):
  assert store.check(whole, IDENTITY)
  assert not store.check(whole / 'nowhere', IDENTITY)


CHANGES = {
  'teacher': 'c' * 64,
  'network': {'name': 'mlp', 'widths': (64,)},
  'outputs': ['logits', 'hidden1'],
  'data_set': 'c' * 64,
  'augmentation': [{'name': 'shift', 'pixels': 2}],
  'views': 3,
  'data_seed': 1,
  'preprocessing': {'mean': (0.5,), 'std': (0.5,)},
  'top_k': 2,
  'dtype': 'int8',
}


@pytest.mark.parametrize('key', CHANGES)
@pytest.mark.parametrize('state', ['whole', 'begun'])
def test_another_identity_is_refused_by_its_entry(key, state, whole, tmp_path):
  folder = whole
  if state == 'begun':
    folder = tmp_path
    checkpoint.write_json(folder / store.BEGUN, {'identity': IDENTITY})
  other = {**IDENTITY, key: CHANGES[key]}
  with pytest.raises(errors.CacheError) as refused:
    store.check(folder, other)
  line = str(refused.value)
  assert f'another {key.replace("_", " ")}:' in line
  assert str(folder) in line
  assert '\n' not in line
  # An entry that is not known yet is not compared.
  del other[key]
  assert store.check(folder, other) == (state == 'whole')


def damaged(folder, how):
  """Changes the second shard of a cache."""
  path = sorted(folder.glob('*.array_record'))[1]
  data = bytearray(path.read_bytes())
  if how == 'missing':
    path.unlink()
    return
  if how == 'truncated':
    data = data[: len(data) // 2]
  elif how == 'corrupted':
    for i in range(len(data) // 3, len(data) // 3 + 64):
      data[i] ^= 0xFF
  else:
    data = bytearray()
  path.write_bytes(bytes(data))


@pytest.mark.parametrize('how', ['missing', 'truncated', 'corrupted', 'empty'])
def test_a_damaged_shard_is_named(how, whole, tmp_path):
  network_files.copy_folder(whole, tmp_path / 'copy')
  damaged(tmp_path / 'copy', how)
  name = r'00000-000008192\.array_record'
  with pytest.raises(errors.CacheError, match=f'damaged.*{name}') as refused:
    store.open_cache(tmp_path / 'copy', IDENTITY)
  assert '\n' not in str(refused.value)


def test_a_damaged_record_on_disk_is_named_when_read(whole, tmp_path):
  network_files.copy_folder(whole, tmp_path / 'copy')
  damaged(tmp_path / 'copy', 'corrupted')
  opened = store.open_cache(tmp_path / 'copy', IDENTITY, memory=0)
  assert opened.read(np.arange(8), 0)
  with pytest.raises(errors.CacheError, match='damaged.*00000-000008192'):
    opened.read(np.arange(8192, 16384), 0)


def test_a_damaged_index_is_refused(tmp_path):
  (tmp_path / store.MANIFEST).write_text('{"identity": ')
  with pytest.raises(errors.CacheError, match='damaged'):
    store.check(tmp_path, IDENTITY)


def test_shards_are_of_some_64_mb():
  assert [s.size for s in shards.plan(40, 10_000, 1)] == [8192, 1808]
  assert [s.size for s in shards.plan(32 << 10, 3000, 1)] == [2048, 952]
  assert [s.size for s in shards.plan(1 << 20, 3000, 1)] == [1024, 1024, 952]


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('no folder')
  with pytest.raises(OSError):
    build(tmp_path / 'file' / 'teacher')
