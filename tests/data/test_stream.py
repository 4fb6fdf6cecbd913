"""Data on disk: the batches of arrays, without the arrays."""

import sys
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kd_jax.data import pipeline, sources, stream
from kd_jax.data.readers import sizes

pytest.importorskip('grain')

_SIZE = 300


class LargeSet(tfds.core.GeneratorBasedBuilder):
  """300 images of 16x16x3: 230 kB, for a limit of 100 kB."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Tensor(shape=(16, 16, 3), dtype=np.uint8),
          'tall': tfds.features.Tensor(shape=(None, 4, 1), dtype=np.uint8),
          'label': tfds.features.ClassLabel(num_classes=5),
          'number': np.int64,
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples(_SIZE, 0),
            'test': self._generate_examples(30, 1)}  # fmt: skip

  def _generate_examples(self, size, seed):
    rng = np.random.default_rng(seed)
    for i in range(size):
      image = rng.integers(0, 256, (16, 16, 3), np.uint8)
      image[0, 0] = i % 5
      tall = np.full((8 + i % 2, 4, 1), i % 5, np.uint8)
      yield i, {'image': image, 'tall': tall, 'label': i % 5, 'number': i}


@pytest.fixture(scope='module')
def options(tmp_path_factory) -> dict:
  """What opens the set; with the limit, as streams."""
  folder = str(tmp_path_factory.mktemp('large'))
  LargeSet(data_dir=folder, file_format='array_record').download_and_prepare()
  return {'dataset': 'large_set', 'data_dir': folder}


def _stream(options, **changes):
  return sources.make_data(
    'tfds', **{**options, 'memory_limit': 0.1, **changes}
  )


def test_what_exceeds_the_limit_is_streamed(options):
  large = _stream(options)
  assert isinstance(large.train, stream.Stream)
  assert isinstance(large.validation, stream.Stream)
  assert isinstance(large.test(), stream.Stream)
  assert large.train.inputs.shape == (270, 16, 16, 3)
  assert len(large.validation.labels) == 30 and large.classes == 5
  small = sources.make_data('tfds', memory_limit=0.3, **options)
  assert isinstance(small.train.inputs, np.ndarray)


def test_batches_are_those_of_arrays(options):
  large = _stream(options, validation=0)
  small = sources.make_data('tfds', validation=0, **options)
  for step in (0, 3, 20):
    index = pipeline.indices(1, step, _SIZE, 32)
    one, other = (
      pipeline.take(large.train, index),
      pipeline.take(small.train, index),
    )
    assert one.keys() == other.keys()
    for key in one:
      assert one[key].dtype == other[key].dtype
      np.testing.assert_array_equal(one[key], other[key])
  np.testing.assert_allclose(large.mean, small.mean)
  np.testing.assert_allclose(large.std, small.std)


def test_evaluation_and_device(options):
  test = pipeline.to_device(_stream(options).test())
  batches = list(pipeline.eval_batches(test, 16))
  assert [b['mask'].sum() for b in batches] == [16, 14]
  np.testing.assert_array_equal(
    np.concatenate([b['inputs'] for b in batches])[:, 0, 0, 0],
    np.concatenate([b['labels'] for b in batches]),
  )
  some = pipeline.head(test, 7)
  np.testing.assert_array_equal(some.inputs, batches[0]['inputs'][:7])


def test_the_cut_is_exact_and_the_fingerprint_knows_it(options):
  large = _stream(options, split_seed=3, limit=100)
  assert len(large.train.labels) == 100
  whole = _stream(options, split_seed=3)
  images = [pipeline.take(part, np.arange(len(part.labels)))['inputs']
            for part in (whole.train, whole.validation)]  # fmt: skip
  assert len(set(map(bytes, np.concatenate(images)))) == _SIZE
  np.testing.assert_array_equal(large.train.read(np.arange(100))[0],
                                images[0][:100])  # fmt: skip
  prints = {
    _stream(options, **change).fingerprint
    for change in ({}, {'split_seed': 3}, {'limit': 100}, {'validation': 40},
                   {'label_key': 'number', 'classes': _SIZE}, {'size': 8})
  }  # fmt: skip
  assert len(prints) == 6
  assert _stream(options).fingerprint in prints


def test_reading_ahead_gives_the_same_batches_in_any_order(options):
  train = _stream(options).train
  asked = []

  def feed(step):
    asked.append(step)
    return pipeline.take(train, pipeline.indices(0, step, 270, 16))

  ahead = stream.ahead(feed, stop=40, threads=2, batches=3)
  for step in (0, 1, 2, 7, 8, 3, 39, 40):
    found, expected = ahead(step), feed(step)
    for key in expected:
      np.testing.assert_array_equal(found[key], expected[key])
  assert max(asked) == 40
  # Ahead of the one step that was asked for.
  own = stream.ahead(lambda step: asked.append(step) or step, 40, 2, 3)
  asked.clear()
  assert own(5) == 5 and own(6) == 6 and len(asked) > 2


def test_two_batches_wait_on_the_devices_and_errors_keep_their_step():
  asked = []

  def feed(step):
    asked.append(step)
    if step == 4:
      raise OSError('step 4')
    return step

  ahead = stream.ahead_on_device(stream.Feed(feed), lambda n: 10 * n, stop=7)
  assert [ahead(n) for n in range(4)] == [0, 10, 20, 30]
  with pytest.raises(OSError, match='step 4'):
    ahead(4)
  assert [ahead(n) for n in (5, 6)] == [50, 60]
  assert asked == list(range(7))  # in order, once, and none beyond the last
  assert ahead(2) == 20
  ahead.close()
  assert len(asked) <= 7 + 1 + stream.AHEAD
  assert not [t for t in threading.enumerate() if t.name.startswith('ahead')]
  assert ahead(8) == 80
  ahead.close()


def test_grains_threads_end_with_the_feed():
  ahead = stream.ahead(lambda step: step, stop=40)
  assert [ahead(n) for n in (0, 1, 9)] == [0, 1, 9]
  threads = [t for t in threading.enumerate() if t.name.startswith('grain')]
  ahead.close()
  for thread in threads:
    thread.join(5)
  assert threads and not any(t.is_alive() for t in threads)
  assert ahead(10) == 10
  ahead.close()


def test_images_of_many_sizes_are_brought_to_one(options):
  pytest.importorskip('PIL')
  wanted = {'image_key': 'tall', 'size': 4}
  for limit in (0, 1):
    data = _stream(options, memory_limit=limit, **wanted)
    batch = pipeline.take(data.train, np.arange(50))
    assert batch['inputs'].shape == (50, 4, 4, 1)
    np.testing.assert_array_equal(batch['inputs'][:, 2, 1, 0], batch['labels'])
  with pytest.raises(ValueError, match="differ in shape; give 'size'"):
    _stream(options, image_key='tall', memory_limit=0)


def test_fit_scales_the_shorter_side_and_cuts_the_middle():
  pytest.importorskip('PIL')
  image = np.zeros((6, 12, 3), np.uint8)
  image[:, 4:8] = 200
  found = sizes.fit(image, 3)
  assert found.shape == (3, 3, 3) and found[:, 1].min() > 150
  assert sizes.fit(image, 0) is image
  with pytest.raises(ValueError, match='legal: uint8'):
    sizes.fit(image.astype(np.float32), 3)


def test_labels_are_checked_as_they_are_read(options):
  data = _stream(
    options, label_key='number', classes=_SIZE - 1, mean=[0.5] * 3,
    std=[0.5] * 3,
  )  # fmt: skip
  with pytest.raises(ValueError, match='out of range, the first is 299'):
    for part in (data.train, data.validation):
      part.read(np.arange(len(part.labels)))


def test_without_grain_the_remedy_is_named(options, monkeypatch):
  monkeypatch.setitem(sys.modules, 'grain', None)
  with pytest.raises(ValueError, match='pip install grain, or raise memory'):
    _stream(options)


@pytest.mark.parametrize('limit', [-1, True, '4GB', float('nan')])
def test_bad_limits(options, limit):
  with pytest.raises(ValueError, match=r'memory_limit=.*legal: MB >= 0'):
    _stream(options, memory_limit=limit)


def test_a_test_set_on_disk_is_not_enlarged(options):
  with pytest.raises(ValueError, match='more_test .* needs images in memory'):
    _stream(options, more_test=30)
  assert len(_stream(options, more_test=0).train.labels) == 270


def test_wrong_labels_are_those_of_arrays(options):
  index = np.arange(_SIZE)
  whole = {'validation': 0, 'wrong_labels': 0.3}
  small = sources.make_data('tfds', **whole, **options)
  one, other = (
    pipeline.take(data.train, index)['labels']
    for data in (_stream(options, **whole), small)
  )
  np.testing.assert_array_equal(one, other)
  right = sources.make_data('tfds', validation=0, **options).train.labels
  assert (one != right).sum() == 90
