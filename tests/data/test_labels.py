"""Few labels and none: which examples keep theirs, what is left of others."""

import inspect

import jax
import numpy as np
import pytest

from kd_jax.data import augment, labels, pipeline, sources, splits, stream


def _data(**options):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (60, 4, 4, 1), np.uint8)
  classes = np.repeat([0, 1, 2], [30, 20, 10])
  return sources.make_data(
    'arrays',
    train=(images, classes),
    test=(images[:9], classes[:9]),
    validation=(images[:6], classes[:6]),
    **options,
  )


def test_few_labels_are_in_proportion_and_nested():
  whole, many, few = _data(), _data(labels=0.5), _data(labels=6)
  for part, counts in ((many, [15, 10, 5]), (few, [3, 2, 1])):
    kept = part.train.labelled
    np.testing.assert_array_equal(np.bincount(whole.train.labels[kept]), counts)
    np.testing.assert_array_equal(
      part.train.labels, np.where(kept, whole.train.labels, 0)
    )
    np.testing.assert_array_equal(part.train.inputs, whole.train.inputs)
  assert (many.train.labelled >= few.train.labelled).all()
  assert not _data(labels='none').train.labelled.any()
  np.testing.assert_array_equal(few.validation.labels, whole.validation.labels)
  np.testing.assert_array_equal(few.test().labels, whole.test().labels)


def test_other_labels_are_another_fingerprint():
  known = ('none', 6, 7, 0.5, 'all')
  prints = [_data(labels=x).fingerprint for x in known]
  assert len({*prints}) == len(known)
  assert prints[-1] == _data().fingerprint
  assert _data(labels=6).fingerprint == prints[1]
  assert _data(labels=6, split_seed=1).fingerprint != prints[1]


def test_a_batch_says_which_examples_have_a_label():
  part = _data(labels=6)
  index = np.array([59, 0, 30])
  expected = part.train.labelled[index].astype(np.float32)
  for split in (part.train, pipeline.to_device(part.train)):
    batch = pipeline.take(split, index)
    np.testing.assert_array_equal(batch['labelled'], expected)
    np.testing.assert_array_equal(batch['mask'], 1.0)
  assert 'labelled' not in pipeline.take(_data().train, index)


def test_mixed_examples_have_a_label_where_both_do():
  part = _data(labels=30)
  batch = pipeline.take(pipeline.to_device(part.train), np.arange(20, 40))
  mix = augment.make_augment(['mixup'], 3)
  mixed = mix(jax.random.key(0), batch)
  pairs = np.asarray(batch['labelled']).reshape(-1, 2).prod(1)
  np.testing.assert_array_equal(mixed['labelled'], np.repeat(pairs, 2))
  assert 0 < pairs.sum() < 10


def test_soft_labels_and_maps_are_taken_out_too():
  soft = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
  given = _data()._replace(train=splits.Split(np.zeros((60, 4, 4, 1)), soft))
  part = labels.few(given, 3, 0).train
  assert part.labelled.sum() == 3
  np.testing.assert_array_equal(part.labels[part.labelled].max(1), 1)
  np.testing.assert_allclose(part.labels[~part.labelled], 1 / 3)
  maps = splits.Split(np.zeros((60, 4, 4, 1)), np.full((60, 4, 4), -1))
  part = labels.few(given._replace(train=maps, task='segmentation'), 3, 0).train
  assert not part.labels[~part.labelled].any()
  mask = pipeline.take(part, np.arange(60))['mask'].reshape(60, -1)
  np.testing.assert_array_equal(mask.max(1), ~part.labelled)


@pytest.mark.parametrize('value', [2, 61, 0.0, 1.0, 0.01, True, 'some', -1])
def test_a_number_of_labels_that_cannot_be(value):
  with pytest.raises(ValueError, match="'all', 'none', a number of examples"):
    _data(labels=value)


def test_a_stream_is_refused():
  whole = _data()
  flowing = stream.Stream(*whole.train, read=None)
  with pytest.raises(ValueError, match='memory_limit'):
    labels.few(whole._replace(train=flowing), 'none', 0)


def test_no_data_set_has_an_option_of_its_own_of_that_name():
  """It would be taken away before the data set saw it."""
  for name, maker in sources.SOURCES.items():
    own = inspect.signature(maker).parameters
    assert not {'labels', 'wrong_labels', 'train_only'} & set(own), name
