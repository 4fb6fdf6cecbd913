"""The one door: options, arrays from Python, prepared TFDS sets, bad input."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kd_jax.data import checks, sources


def _images(size, channels=1, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (size, 4, 4, channels), np.uint8)


def _arrays(**changes):
  """A small data set of three classes, with what `changes` names changed."""
  options = {
    'train': (_images(60), np.arange(60) % 3),
    'test': (_images(9, seed=1), np.arange(9) % 3),
  }
  return sources.make_data('arrays', **{**options, **changes})


def test_arrays_come_through_the_same_door():
  data = _arrays()
  assert data.classes == 3 and len(data.validation.labels) == 6
  assert data.train.labels.dtype == np.int32
  np.testing.assert_array_equal(data.test().inputs, _images(9, seed=1))
  together = np.concatenate([data.train.inputs, data.validation.inputs])
  assert sorted(map(bytes, together)) == sorted(map(bytes, _images(60)))


def test_a_validation_set_of_ones_own_is_taken_as_it_is():
  own = (_images(5, seed=2), np.zeros(5, int))
  data = _arrays(validation=own)
  assert len(data.train.labels) == 60
  np.testing.assert_array_equal(data.validation.inputs, own[0])


def test_holding_out_none_is_a_choice():
  data = _arrays(validation=0)
  assert len(data.train.labels) == 60
  assert data.validation.inputs.shape == (0, 4, 4, 1)


def test_more_is_tested_on_than_the_test_set():
  data = _arrays(more_test=12, validation=6)
  test = data.test()
  assert [len(data.train.labels), len(data.validation.labels)] == [42, 6]
  np.testing.assert_array_equal(test.inputs[:9], _images(9, seed=1))
  assert np.bincount(test.labels[9:]).tolist() == [4, 4, 4]
  parts = [data.train.inputs, data.validation.inputs, test.inputs[9:]]
  together = np.concatenate(parts)
  assert sorted(map(bytes, together)) == sorted(map(bytes, _images(60)))
  assert data.mean == checks.statistics(np.concatenate(parts[:2]))[0]


def test_more_to_test_on_is_another_fingerprint():
  assert _arrays(more_test=0).fingerprint == _arrays().fingerprint
  cuts = [{}, {'more_test': 12}, {'more_test': 0.4},
          {'more_test': 12, 'split_seed': 1}]  # fmt: skip
  assert len({_arrays(**cut).fingerprint for cut in cuts}) == 4
  assert len(_arrays(more_test=0.4).test().labels) == 9 + 24


def test_soft_labels_join_no_integers():
  data = _arrays(train=(_images(60), np.full((60, 3), 1 / 3)), more_test=6)
  with pytest.raises(ValueError, match='more_test joins soft labels'):
    data.test()


def test_soft_labels_and_floats():
  soft = np.full((60, 3), 1 / 3)
  data = _arrays(
    train=(np.full((60, 4, 4, 2), 3.0), soft),
    test=lambda: (np.ones((2, 4, 4, 2)), np.eye(3)[:2]),
  )
  assert data.train.inputs.dtype == data.train.labels.dtype == np.float32
  assert data.train.labels.shape == (54, 3) and data.test().labels.shape[1] == 3
  # Floats come as they are; a constant channel is not divided by 0.
  assert data.mean == (3.0, 3.0) and data.std == (1.0, 1.0)


def test_statistics_are_numpys(monkeypatch):
  monkeypatch.setattr(checks, '_CHUNK', 7)
  images = _images(10, channels=3)
  mean, std = checks.statistics(images)
  np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)))
  np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)))


def test_mean_and_std_can_be_given():
  assert _arrays(mean=[0.5], std=(2,))[5:7] == ((0.5,), (2.0,))
  assert _arrays(std=[2])[5] == _arrays()[5]


def test_stratified_halves_are_exact_and_in_proportion():
  labels = np.repeat([0, 1, 2], [50, 30, 20])
  kept, held = checks.stratify(labels, 37, seed=3)
  np.testing.assert_array_equal(np.sort([*kept, *held]), np.arange(100))
  counts = np.bincount(labels[held])
  assert counts.sum() == 37
  assert (abs(counts - np.array([18.5, 11.1, 7.4])) < 1).all()
  assert (checks.stratify(labels, 37, seed=4)[1] != held).any()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train': (_images(6)[..., 0], np.arange(6))}, r'rank 3.*\[\.\.\., None'),
    ({'train': (_images(6), np.arange(5))}, '6 images but 5 labels'),
    ({'train': (_images(0), np.arange(0))}, 'empty'),
    ({'train': _images(6)}, 'ndarray; legal: a pair'),
    ({'train': (_images(6).astype(int), np.arange(6))}, 'int64; legal: uint8'),
    ({'train': (np.full((6, 4, 4, 1), np.nan), np.arange(6))}, 'NaN'),
    ({'classes': 2}, r'20 labels .* first is 2; legal: 0\.\.1'),
    ({'train': (_images(6), np.arange(6) - 1)}, 'first is -1'),
    ({'train': (_images(6), np.arange(6) / 6)}, 'float64.*legal: integers'),
    ({'train': (_images(6), np.ones((6, 3)))}, 'rows that sum to 1'),
    ({'train': (_images(2), np.eye(2)), 'classes': 3}, '2 columns; legal: 3'),
    ({'test': (_images(6)[0], np.arange(4))}, 'test have rank 3'),
    ({'classes': True}, "'classes' .* type int; got bool True"),
    ({'validation': 1.0}, r'validation=1\.0.*\[0, 1\)'),
    ({'validation': 60}, r'validation=60.*0\.\.59'),
    ({'validation': -1}, 'validation=-1'),
    ({'validation': 0.005}, 'validation=0.005.* 0 examples of 3 classes'),
    ({'validation': 0.04}, 'validation=0.04 .* 2 examples of 3 classes'),
    (
      {'validation': 0.005, 'task': 'regression', 'classes': 1},
      'holds out 0 examples; legal: 0 .none., or at least 1',
    ),
    ({'validation': '10%'}, "validation='10%'"),
    ({'more_test': 60}, r'more_test=60.*0\.\.59'),
    ({'more_test': 1.5}, r'more_test=1\.5.*\[0, 1\)'),
    ({'limit': -1}, 'limit=-1'),
    ({'split_seed': 0.5}, r'split_seed=0\.5'),
    ({'mean': [0.1, 0.2]}, '1 numbers each'),
    ({'std': [0]}, 'std > 0'),
    ({'validation': (_images(3, channels=3), [0, 1, 2])}, 'as in training'),
    ({'vaildation': 0.1}, "did you mean 'validation'"),
  ],
)
def test_bad_input_is_one_line(changes, message):
  with pytest.raises(ValueError, match=message) as error:
    _arrays(**changes)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('test', 'message'),
  [
    ((_images(3), [0, 1, 3]), 'test are out of range, the first is 3'),
    ((_images(3, channels=3), [0, 1, 2]), 'as in training'),
  ],
)
def test_the_test_set_is_checked_when_it_is_read(test, message):
  data = _arrays(test=test)
  with pytest.raises(ValueError, match=message):
    data.test()


def test_unknown_names_and_missing_options():
  with pytest.raises(ValueError, match="did you mean 'mnist'"):
    sources.make_data('mnits')
  with pytest.raises(ValueError, match="needs the option 'train'"):
    sources.make_data('arrays')
  with pytest.raises(ValueError, match="needs the option 'dataset'"):
    sources.make_data('tfds')


class ForeignSet(tfds.core.GeneratorBasedBuilder):
  """A data set as some other project may have prepared it."""

  VERSION = tfds.core.Version('2.1.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'photo': tfds.features.Tensor(shape=(4, 4, 3), dtype=np.uint8),
          'ragged': tfds.features.Tensor(shape=(None, 4, 3), dtype=np.uint8),
          'kind': tfds.features.ClassLabel(names=['cat', 'dog']),
          'age': np.int64,
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'learn': self._generate(40), 'exam': self._generate(10)}

  def _generate(self, size):
    for i, image in enumerate(_images(size, channels=3)):
      yield i, {'photo': image, 'ragged': image[: 1 + i % 2], 'kind': i % 2,
                'age': i % 7}  # fmt: skip

  _generate_examples = _generate


@pytest.fixture(scope='module')
def foreign(tmp_path_factory) -> dict:
  """Options of a prepared TFDS set with names of its own."""
  folder = str(tmp_path_factory.mktemp('foreign'))
  ForeignSet(data_dir=folder, file_format='array_record').download_and_prepare()
  return {
    'dataset': 'foreign_set', 'data_dir': folder, 'image_key': 'photo',
    'label_key': 'kind', 'train_split': 'learn', 'test_split': 'exam',
  }  # fmt: skip


def test_any_prepared_tfds_set(foreign):
  data = sources.make_data('tfds', **foreign)
  assert data.label_names == ('cat', 'dog') and data.classes == 2
  assert data.train.inputs.shape == (36, 4, 4, 3)
  assert np.bincount(data.test().labels).tolist() == [5, 5]


def test_tfds_splits_versions_and_plain_labels(foreign):
  data = sources.make_data('tfds', **{
    **foreign, 'dataset': 'foreign_set:2.1.0', 'train_split': 'learn[:50%]',
    'validation_split': 'learn[50%:]', 'label_key': 'age', 'classes': 7,
  })  # fmt: skip
  assert len(data.train.labels) == len(data.validation.labels) == 20
  assert data.label_names == () and data.classes == 7


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'dataset': 'foriegn'}, r'there: foreign_set\); prepare it with: python'),
    ({'image_key': 'foto'}, "image_key 'foto'; did you mean 'photo'"),
    ({'label_key': 'knid'}, "did you mean 'kind'"),
    ({'label_key': 'age'}, "give 'classes'"),
    ({'image_key': 'ragged'}, 'differ in shape'),
    ({'train_split': 'lern'}, "split 'lern'; did you mean 'learn'"),
    ({'test_split': 'exam[x:]'}, r'exam\[x:\]'),
  ],
)
def test_bad_tfds_options(foreign, changes, message):
  with pytest.raises(ValueError, match=message) as error:
    sources.make_data('tfds', **{**foreign, **changes})
  assert '\n' not in str(error.value)


def test_a_tfds_set_in_another_format_says_how_to_prepare_it(
  foreign, monkeypatch
):
  monkeypatch.setattr(
    tfds.core.DatasetInfo, 'file_format', tfds.core.FileFormat.TFRECORD
  )
  with pytest.raises(ValueError, match='is tfrecord; legal: array_record'):
    sources.make_data('tfds', **foreign)
