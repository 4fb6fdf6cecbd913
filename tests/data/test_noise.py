"""Wrong labels: how many, which, the same for all; only training has them."""

import numpy as np
import pytest

from kd_jax.data import noise, pipeline, sources, splits, stream

_SIZE = 200


def _data(**options):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (_SIZE, 4, 4, 1), np.uint8)
  return sources.make_data(
    'arrays',
    train=(images, np.arange(_SIZE) % 4),
    validation=40,
    test=(images[:9], np.arange(9) % 4),
    **options,
  )


def test_a_share_of_the_training_labels_is_another_class():
  right, wrong = _data(), _data(wrong_labels=0.3)
  changed = right.train.labels != wrong.train.labels
  assert changed.sum() == 48 and len(changed) == 160  # round(0.3 * 160)
  assert wrong.train.labels.dtype == np.int32
  np.testing.assert_array_equal(wrong.train.inputs, right.train.inputs)
  turns = (wrong.train.labels - right.train.labels)[changed] % 4
  assert np.bincount(turns, minlength=4)[1:].min() >= 8  # of 16 expected each


def test_validation_and_test_keep_the_right_labels():
  right, wrong = _data(), _data(wrong_labels=0.9)
  for one, other in zip(
    (right.validation, right.test()), (wrong.validation, wrong.test())
  ):
    np.testing.assert_array_equal(one.inputs, other.inputs)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_the_same_seed_makes_the_same_mistakes_and_another_others():
  one, again = _data(wrong_labels=0.3), _data(wrong_labels=0.3)
  np.testing.assert_array_equal(one.train.labels, again.train.labels)
  assert one.fingerprint == again.fingerprint
  whole = _data()
  turns = [noise.wrong_labels(whole, 0.3, seed).train.labels for seed in (0, 1)]
  assert (turns[0] != turns[1]).any()


def test_another_noise_is_another_fingerprint():
  assert _data(wrong_labels=0).fingerprint == _data().fingerprint
  prints = {
    _data(**options).fingerprint
    for options in (
      {}, {'wrong_labels': 0.3}, {'wrong_labels': 0.4},
      {'wrong_labels': 0.3, 'split_seed': 1}, {'split_seed': 1},
    )
  }  # fmt: skip
  assert len(prints) == 5


def test_soft_labels_are_turned_as_hard_ones():
  hard = _data()
  soft = np.eye(4, dtype=np.float32)[hard.train.labels]
  given = hard._replace(train=splits.Split(hard.train.inputs, soft))
  one, other = (noise.wrong_labels(x, 0.5, 3).train for x in (hard, given))
  assert other.labels.dtype == np.float32
  np.testing.assert_array_equal(other.labels.argmax(-1), one.labels)


def test_a_stream_reads_the_labels_of_arrays():
  whole = _data()
  flowing = whole._replace(
    train=stream.Stream(
      *whole.train, lambda index: tuple(x[index] for x in whole.train)
    )
  )
  arrays, streamed = (noise.wrong_labels(x, 0.4, 0) for x in (whole, flowing))
  assert arrays.fingerprint == streamed.fingerprint
  index = np.array([5, 0, 77, 159])
  np.testing.assert_array_equal(
    pipeline.take(streamed.train, index)['labels'], arrays.train.labels[index]
  )


def test_the_classes_that_are_left_are_those_of_the_wrong_labels():
  wrong = _data(wrong_labels=0.3)
  part = _data(wrong_labels=0.3, train_only=[1, 2])
  kept = np.isin(wrong.train.labels, [1, 2])
  np.testing.assert_array_equal(part.train.labels, wrong.train.labels[kept])
  np.testing.assert_array_equal(part.train.inputs, wrong.train.inputs[kept])


@pytest.mark.parametrize('share', [1, 1.0, -0.1, float('nan'), '30%', True])
def test_a_share_that_cannot_be(share):
  with pytest.raises(ValueError, match='wrong_labels=.*a fraction in') as error:
    _data(wrong_labels=share)
  assert '\n' not in str(error.value)


def test_one_class_cannot_be_mistaken():
  one = _data()._replace(classes=1)
  with pytest.raises(ValueError, match='needs two classes'):
    noise.wrong_labels(one, 0.3, 0)
