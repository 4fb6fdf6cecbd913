"""Checkpoints and networks on disk: nothing foreign is read or deleted."""

import numpy as np
import pytest

from kd_jax import checkpoint, errors

TREE = {'a': np.arange(3.0, dtype='f4'), 'b': {'c': np.ones((2, 2), 'f4')}}
IDENTITY = {'config': {'temperature': 4.0}, 'seed': 0}


@pytest.fixture
def manager(tmp_path):
  """Two whole checkpoints of a stage, at steps 4 and 8."""
  manager = checkpoint.make_manager(tmp_path / 'run/checkpoints/student', 3)
  for step in (4, 8):
    meta = {'count': step, 'identity': IDENTITY}
    checkpoint.save(manager, step, TREE, meta)
  checkpoint.finish(manager)
  yield manager
  manager.close()


def steps(manager) -> list[str]:
  return sorted(p.name for p in manager.directory.iterdir())


def test_the_newest_is_read(manager):
  step, tree, meta = checkpoint.restore(manager, TREE, IDENTITY)
  assert (step, meta) == (8, {'count': 8})
  assert checkpoint.content_hash(tree) == checkpoint.content_hash(TREE)


def test_another_identity_is_refused_and_stays(manager):
  other = {'config': {'temperature': 2.0}, 'seed': 0}
  with pytest.raises(ValueError, match='temperature is 2.0 now and 4.0 there'):
    checkpoint.restore(manager, TREE, other)
  assert steps(manager) == ['4', '8']


@pytest.mark.parametrize(
  'target, words',
  [
    ({**TREE, 'd': np.zeros(1, 'f4')}, r'd is missing there and float32\[1\]'),
    ({'a': TREE['a']}, r'b/c is float32\[2,2\] there and missing now'),
    ({**TREE, 'a': np.zeros(4, 'f4')}, r'a is float32\[3\] there'),
    ({**TREE, 'a': np.zeros(3, 'i4')}, r'float32\[3\] there and int32\[3\]'),
  ],
)
def test_another_structure_is_refused_and_stays(target, words, manager):
  with pytest.raises(ValueError, match=words) as refused:
    checkpoint.restore(manager, target, IDENTITY)
  assert 'it was written with jax ' in str(refused.value)
  assert steps(manager) == ['4', '8']


def test_a_damaged_one_is_moved_aside(manager, caplog):
  path = manager.directory / '8/meta/metadata'
  path.write_text('{"hash": ')
  step, _, _ = checkpoint.restore(manager, TREE, IDENTITY)
  assert step == 4
  assert steps(manager) == ['4']
  moved = manager.directory.parent.parent / 'damaged/student/8'
  assert (moved / 'meta/metadata').read_text() == '{"hash": '
  assert str(moved) in caplog.text


def test_what_is_no_damage_is_an_error(manager, monkeypatch):
  """Memory and permissions: the checkpoints stay where they are."""
  for error, kind in (
    (MemoryError('out of memory'), MemoryError),
    (PermissionError('no'), OSError),
    (ValueError('RESOURCE_EXHAUSTED: 1 TB'), OSError),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(type(manager), 'restore', _raise(error))
      with pytest.raises(kind) as raised:
        checkpoint.restore(manager, TREE, IDENTITY)
      assert not isinstance(raised.value, errors.DamagedError)
  assert steps(manager) == ['4', '8']


def _raise(error):
  def restore(*args, **options):
    raise error

  return restore


def test_one_of_the_version_before_is_refused(manager):
  path = manager.directory / '8/meta/metadata'
  path.write_text('{"hash": "x", "sums": {}, "count": 0}')
  with pytest.raises(ValueError, match='before 0.2'):
    checkpoint.restore(manager, TREE, IDENTITY)
  assert steps(manager) == ['4', '8']


def test_what_is_moved_aside_takes_no_place(tmp_path):
  for number in range(3):
    (tmp_path / 'x').write_text(str(number))
    checkpoint.move_aside(tmp_path / 'x')
  names = 'x.replaced', 'x.replaced-2', 'x.replaced-3'
  assert [(tmp_path / n).read_text() for n in names] == ['0', '1', '2']


def test_a_full_disk_gives_the_advice_of_a_full_disk():
  full = OSError(28, 'No space left on device')
  assert 'free some space' in checkpoint._short('/x', full)
  assert 'free some space' not in checkpoint._short('/x', OSError('read-only'))
