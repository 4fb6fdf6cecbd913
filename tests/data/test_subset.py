"""A transfer set without some classes; all else keeps every class."""

import numpy as np
import pytest

from kd_jax.data import sources, splits, stream, subset


def _data(**options):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (60, 4, 4, 1), np.uint8)
  return sources.make_data(
    'arrays',
    train=(images, np.arange(60) % 3),
    test=(images[:9], np.arange(9) % 3),
    **options,
  )


def test_only_the_training_examples_are_fewer():
  whole, part = _data(), _data(train_only=[2, 0])
  kept = whole.train.labels != 1
  np.testing.assert_array_equal(part.train.inputs, whole.train.inputs[kept])
  assert sorted({*part.train.labels.tolist()}) == [0, 2]
  assert part.classes == 3 and part.mean == whole.mean
  np.testing.assert_array_equal(part.validation.labels, whole.validation.labels)
  assert {*part.test().labels.tolist()} == {0, 1, 2}


def test_another_set_is_another_fingerprint():
  prints = {
    _data(train_only=classes).fingerprint for classes in ((), [0], [1], [0, 1])
  }
  assert len(prints) == 4
  assert _data(train_only=()).fingerprint == _data().fingerprint
  assert (
    _data(train_only=[1, 0]).fingerprint == _data(train_only=[0, 1]).fingerprint
  )


def test_soft_labels_count_by_their_largest():
  labels = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
  part = _data()._replace(train=splits.Split(np.zeros((60, 4, 4, 1)), labels))
  assert len(subset.only(part, [1]).train.labels) == 20


@pytest.mark.parametrize(
  'classes, message',
  [
    ([3], 'class 3; legal: 0..2'),
    ([-1], 'class=-1'),
    (['a'], "'train_only'.*type int; got str 'a'"),
  ],
)
def test_a_class_that_cannot_be(classes, message):
  with pytest.raises(ValueError, match=message):
    _data(train_only=classes)


def test_a_class_without_examples_and_a_stream_are_refused():
  whole = _data()
  few = whole._replace(train=splits.Split(*(a[:1] for a in whole.train)))
  with pytest.raises(ValueError, match='no training example'):
    subset.only(few, [0, 1, 2])
  flowing = stream.Stream(*whole.train, read=None)
  with pytest.raises(ValueError, match='memory_limit'):
    subset.only(whole._replace(train=flowing), [0])
