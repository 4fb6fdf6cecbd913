"""CIFAR: two official archives, one data set; nothing is unpickled."""

import functools
import hashlib
import io
import struct
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from kd_jax.data import sources
from kd_jax.data.readers import cifar, cifar_raw, download
from tests.helpers import shared

_RNG = np.random.default_rng(0)
_PLANES = {
  'train': _RNG.integers(0, 256, (50, 3072), np.uint8),
  'test': _RNG.integers(0, 256, (20, 3072), np.uint8),
}
_IMAGES = {k: v.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
           for k, v in _PLANES.items()}  # fmt: skip
_FINE = {k: np.arange(len(v)) % 10 for k, v in _PLANES.items()}
_COARSE = {k: np.arange(len(v)) // 5 % 20 for k, v in _PLANES.items()}


def _binary(split, rows, hundred):
  heads = [_COARSE[split], _FINE[split]] if hundred else [_FINE[split]]
  table = np.concatenate(
    [*(h[:, None].astype(np.uint8) for h in heads), _PLANES[split]], axis=1
  )
  return table[rows].tobytes()


def _text(value):
  """A Python 2 string, as protocol 2 writes it."""
  if len(value) < 256:
    return b'U' + bytes([len(value)]) + value
  return b'T' + struct.pack('<i', len(value)) + value


def _numbers(values):
  """A list in batches, with marks and memos, as protocol 2 writes it."""
  body = b']q\x07'
  for start in range(0, len(values), 8):
    some = values[start : start + 8]
    body += b'(' + b''.join(b'K' + bytes([int(v)]) for v in some) + b'e'
  return body


def _pickled(split, rows, hundred, columns=False):
  """A batch of the Python archive, opcode by opcode as Python 2 wrote it."""
  planes = _PLANES[split][rows]
  body = planes.tobytes(order='F' if columns else 'C')
  array = (
    b'cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00'
    b'\x85U\x01b\x87Rq\x03(K\x01' + b'M' + struct.pack('<H', len(planes))
    + b'M\x00\x0c\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03'
    b'U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    + (b'\x88' if columns else b'\x89') + _text(body) + b'tb'
  )  # fmt: skip
  labels = {b'fine_labels': _FINE, b'coarse_labels': _COARSE}
  if not hundred:
    labels = {b'labels': _FINE}
  items = [_text(b'batch_label') + _text(b'training batch 1 of 5')]
  items += [_text(k) + _numbers(v[split][rows]) for k, v in labels.items()]
  items += [_text(b'data') + array]
  return b'\x80\x02}q\x00(' + b''.join(items) + b'u.'


def _archive(path, hundred, kind, **options):
  """A small archive with the members of an official one."""
  write = _binary if kind == 'binary' else _pickled
  end = '.bin' if kind == 'binary' else ''
  if hundred:
    members = {f'train{end}': ('train', slice(None)),
               f'test{end}': ('test', slice(None))}  # fmt: skip
    folder = f'cifar-100-{kind}'
  else:
    members = {f'data_batch_{i + 1}{end}': ('train', slice(10 * i, 10 * i + 10))
               for i in range(5)}  # fmt: skip
    members[f'test_batch{end}'] = ('test', slice(None))
    folder = 'cifar-10-batches-' + ('bin' if kind == 'binary' else 'py')
  with tarfile.open(path, 'w:gz') as tar:
    tar.addfile(tarfile.TarInfo(f'{folder}/readme.html'))
    for name, (split, rows) in members.items():
      body = write(split, rows, hundred, **options)
      head = tarfile.TarInfo(f'{folder}/{name}')
      head.size = len(body)
      tar.addfile(head, io.BytesIO(body))
  return path


@pytest.mark.parametrize('hundred', [False, True])
@pytest.mark.parametrize('kind', ['binary', 'python'])
def test_archives(tmp_path, hundred, kind):
  splits = cifar_raw.archive(_archive(tmp_path / 'a.tar.gz', hundred, kind))
  for name, split in splits.items():
    np.testing.assert_array_equal(split['image'], _IMAGES[name])
    np.testing.assert_array_equal(split['label'], _FINE[name])
    if hundred:
      np.testing.assert_array_equal(split['coarse_label'], _COARSE[name])
    assert ('coarse_label' in split) == hundred


def test_an_array_in_column_order():
  split = cifar_raw.python(_pickled('test', slice(None), True, columns=True))
  np.testing.assert_array_equal(split['image'], _IMAGES['test'])


def test_pickles_are_never_run():
  evil = b'cos\nsystem\n(U\x04exittR' + _pickled('test', slice(None), True)[2:]
  split = cifar_raw.python(b'\x80\x02' + evil)
  np.testing.assert_array_equal(split['label'], _FINE['test'])


def test_damaged_batches(tmp_path):
  with pytest.raises(ValueError, match='not whole records'):
    cifar_raw.records(b'12345', hundred=False)
  with pytest.raises(ValueError, match='as many labels as images'):
    cifar_raw.python(b'\x80\x02U\x06labels]K\x01a.')
  with tarfile.open(tmp_path / 'a.tar.gz', 'w:gz'):
    pass
  with pytest.raises(ValueError, match='batches are missing'):
    cifar_raw.archive(tmp_path / 'a.tar.gz')


@pytest.mark.parametrize(
  ('name', 'kind', 'classes'),
  [('cifar10', 'python', 10), ('cifar100', 'binary', 100)],
)
def test_builders_take_either_archive(
  tmp_path, monkeypatch, name, kind, classes
):
  hundred = classes == 100
  file = f'cifar-{classes}-{kind}.tar.gz'
  path = _archive(tmp_path / file, hundred, kind)
  choices = cifar.MD5_100 if hundred else cifar.MD5_10
  choice = next(c for c in choices if file in c)
  monkeypatch.setitem(choice, file, hashlib.md5(path.read_bytes()).hexdigest())
  data = sources.make_data(
    name, raw_dir=str(tmp_path), data_dir=str(tmp_path), validation=0
  )
  np.testing.assert_array_equal(data.train.inputs, _IMAGES['train'])
  np.testing.assert_array_equal(data.test().labels, _FINE['test'])
  assert data.classes == len(data.label_names) == classes
  assert data.mean[0] in (0.4914, 0.5071)
  own = sources.make_data(
    name, data_dir=str(tmp_path), validation=0, mean=[0.5] * 3
  )
  assert own.mean == (0.5,) * 3 and own.std == data.std


def test_an_archive_that_is_not_the_official_one(tmp_path):
  _archive(tmp_path / 'cifar-10-binary.tar.gz', False, 'binary')
  with pytest.raises(ValueError, match='has md5'):
    sources.make_data('cifar10', raw_dir=str(tmp_path), data_dir=str(tmp_path))


def test_an_archive_that_was_packed_anew_is_taken(tmp_path, monkeypatch):
  path = _archive(tmp_path / 'cifar-100-binary.tar.gz', True, 'binary')
  make = functools.partial(
    sources.make_data, 'cifar100', raw_dir=str(tmp_path), validation=0
  )
  with pytest.raises(ValueError, match='has md5'):
    make(data_dir=str(tmp_path / 'before'))
  monkeypatch.setattr(cifar, 'SHA256_100', cifar_raw.digests(path))
  data = make(data_dir=str(tmp_path / 'after'))
  np.testing.assert_array_equal(data.train.inputs, _IMAGES['train'])


def test_the_groups_of_cifar100(tmp_path, monkeypatch):
  path = _archive(tmp_path / 'cifar-100-binary.tar.gz', True, 'binary')
  md5 = hashlib.md5(path.read_bytes()).hexdigest()
  monkeypatch.setitem(cifar.MD5_100[0], path.name, md5)
  monkeypatch.setenv(download.VARIABLE, str(tmp_path))
  data = sources.make_data(
    'cifar100',
    label_key='coarse_label',
    data_dir=str(tmp_path / 'tfds'),
    validation=0,
  )
  np.testing.assert_array_equal(data.train.labels, _COARSE['train'])
  assert data.label_names[::19] == ('aquatic_mammals', 'vehicles_2')
  assert data.classes == len(data.label_names) == 20
  small = sources.make_data(
    'cifar100', size=16, data_dir=str(tmp_path / 'tfds'), validation=0
  )
  assert (
    small.train.inputs.shape[1:] == small.test()[0].shape[1:] == (16, 16, 3)
  )
  halves = data.train.inputs.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4))
  assert np.corrcoef(small.train.inputs.ravel(), halves.ravel())[0, 1] > 0.9


@pytest.mark.slow
def test_the_archive_of_all_of_cifar100(tmp_path):
  """The real images, written as the official archive by the script there."""
  folder = shared.need('data', 'cifar100')
  subprocess.run([sys.executable, folder / 'unpack.py', tmp_path], check=True)
  assert cifar.packed_anew(tmp_path / 'cifar-100-binary.tar.gz')
  splits = cifar_raw.archive(tmp_path / 'cifar-100-binary.tar.gz')
  # Given with the folder.
  expected = {
    'train': '7cde21eef05aa9d694b569c591940856efee8c248ac4bf3e46a34fad8e6d31ec',
    'test': '3261dfc4c2f617671a073cb4b1223481095d543458a70160b63630ab4e8319a3',
  }
  with np.load(folder / 'labels.npz') as labels:
    for name, digest in expected.items():
      images = splits[name]['image']
      assert hashlib.sha256(images.tobytes()).hexdigest() == digest
      for key, kind in (('label', 'fine'), ('coarse_label', 'coarse')):
        np.testing.assert_array_equal(
          splits[name][key], labels[f'{name}_{kind}']
        )
    assert labels['fine_names'].tolist() == cifar.NAMES_100.split()
  assert np.bincount(splits['train']['label']).tolist() == [500] * 100
