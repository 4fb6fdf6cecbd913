"""The digits: the builder, the three splits, and what the disk then holds."""

import subprocess
import sys

import numpy as np
import pytest

from kd_jax.data import sources
from kd_jax.data.readers import prepared, records

_FINGERPRINT = (
  '6298b4d10d88d0486f6edc13d06510366501987796e8bdb149e3e12a4f340c04'
)


def test_images_are_those_of_scikit_learn(digits):
  from sklearn import datasets  # slow to import, where no test needs it

  original = datasets.load_digits()
  ink = (original.images * 255 / 16).round().astype(np.uint8)
  known = {
    (image.tobytes(), label) for image, label in zip(ink, original.target)
  }
  splits = [digits.train, digits.validation, digits.test()]
  found = [
    (image.tobytes(), label)
    for split in splits
    for image, label in zip(split.inputs, split.labels)
  ]
  assert len(found) == 1797 and set(found) == known


def test_splits_have_every_digit_in_proportion(digits):
  sizes = [len(s.labels) for s in (digits.train, digits.validation)]
  assert sizes == [1293, 144]
  assert digits.test().inputs.shape == (360, 8, 8, 1)
  counts = np.bincount(digits.validation.labels, minlength=10)
  assert counts.min() >= 14 and counts.max() <= 15
  assert digits.classes == 10 and digits.label_names == tuple('0123456789')


def test_mean_and_std_are_those_of_the_whole_training_set(digits, data_dir):
  pixels = np.concatenate([digits.train.inputs, digits.validation.inputs]) / 255
  np.testing.assert_allclose(digits.mean, pixels.mean(), rtol=1e-9)
  np.testing.assert_allclose(digits.std, pixels.std(), rtol=1e-9)
  short = sources.make_data('digits', data_dir=data_dir, limit=50)
  assert short.mean == digits.mean and len(short.train.labels) == 50
  np.testing.assert_array_equal(short.train.inputs, digits.train.inputs[:50])
  np.testing.assert_array_equal(
    short.validation.inputs, digits.validation.inputs
  )


def test_fingerprint_is_the_same_everywhere_and_knows_the_cut(digits, data_dir):
  assert digits.fingerprint == _FINGERPRINT
  others = [
    {'split_seed': 1}, {'validation': 100}, {'limit': 50}, {'more_test': 240},
    {'wrong_labels': 0.3},
  ]  # fmt: skip
  prints = {
    sources.make_data('digits', data_dir=data_dir, **o).fingerprint
    for o in others
  }
  assert len(prints | {_FINGERPRINT}) == 6


def test_the_test_set_may_be_larger(digits, data_dir):
  data = sources.make_data('digits', data_dir=data_dir, more_test=240)
  test = data.test()
  assert test.inputs.shape == (600, 8, 8, 1)
  np.testing.assert_array_equal(test.inputs[:360], digits.test().inputs)
  counts = np.bincount(test.labels, minlength=10)
  assert counts.min() >= 57 and counts.max() <= 63
  assert len(data.train.labels) + len(data.validation.labels) == 1197


def test_test_is_read_only_when_asked_for(digits, monkeypatch, data_dir):
  read = []
  original = records.read
  monkeypatch.setattr(
    records, 'read',
    lambda *a, split, **k: read.append(split) or original(*a, split, **k),
  )  # fmt: skip
  data = sources.make_data('digits', data_dir=data_dir)
  assert read == ['train']
  data.test()
  assert read == ['train', 'test']


def test_plain_records_are_read_as_tfds_reads_them(
  digits, data_dir, monkeypatch
):
  read = []
  parse = records._parse
  monkeypatch.setattr(
    records, '_parse', lambda *a: read.append(len(a[0])) or parse(*a)
  )
  sources.make_data('digits', data_dir=data_dir)
  assert read == [1437]
  monkeypatch.setattr(records, '_is_plain', lambda image, label: False)
  slowly = sources.make_data('digits', data_dir=data_dir)
  assert read == [1437] and slowly.fingerprint == digits.fingerprint


@pytest.mark.slow
def test_several_processes_may_prepare_at_once(tmp_path):
  code = (
    'from kd_jax.data import sources; '
    f"d = sources.make_data('digits', data_dir={str(tmp_path)!r}); "
    'print(d.fingerprint)'
  )
  runs = [
    subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    for _ in range(2)
  ]
  outputs = [run.communicate(timeout=120)[0].decode().strip() for run in runs]
  assert outputs == [_FINGERPRINT] * 2
  assert not list(tmp_path.glob('.preparing-*'))


def test_a_lost_race_keeps_what_was_there(tmp_path):
  made, final = tmp_path / 'made', tmp_path / 'final'
  for folder, text in ((made, 'ours'), (final, 'theirs')):
    folder.mkdir()
    (folder / 'file').write_text(text)
  prepared._publish(made, final)
  assert (final / 'file').read_text() == 'theirs'
  with pytest.raises(OSError):
    prepared._publish(tmp_path / 'absent', tmp_path / 'nowhere')


def test_a_folder_that_cannot_be_written(tmp_path):
  blocked = tmp_path / 'file'
  blocked.write_text('')
  with pytest.raises(ValueError, match='cannot write the data folder'):
    sources.make_data('digits', data_dir=str(blocked))


def test_importing_the_sources_imports_no_tfds():
  code = (
    'import sys; import kd_jax.data.sources, kd_jax.data.pipeline; '
    "sys.exit('tensorflow_datasets' in sys.modules)"
  )
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0
