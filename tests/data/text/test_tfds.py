"""Any TFDS set of text: labels, pairs, words, names and splits of its own."""

import pytest
import tensorflow_datasets as tfds

from kd_jax import tasks
from kd_jax.data import sources
from kd_jax.data.readers import prepared

WORDS = ['good', 'bad', 'long', 'short']


class WordSet(tfds.core.GeneratorBasedBuilder):
  """Two sentences, their label, and the words of the first with tags."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    label = tfds.features.ClassLabel(names=['no', 'yes'])
    features = tfds.features.FeaturesDict(
      {
        'first': tfds.features.Text(),
        'second': tfds.features.Text(),
        'label': label,
        'words': tfds.features.Sequence(tfds.features.Text()),
        'tags': tfds.features.Sequence(
          tfds.features.ClassLabel(names=['adjective', 'other'])
        ),
      }
    )
    return tfds.core.DatasetInfo(
      builder=self, features=features, disable_shuffling=True
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {
      'train': self._generate_examples(20),
      'unseen': self._generate_examples(6),
    }

  def _generate_examples(self, size):
    for i in range(size):
      words = [WORDS[i % 4], 'film']
      yield i, {
        'first': ' '.join(words), 'second': WORDS[(i + 1) % 4],
        'label': ['no', 'yes'][i % 2], 'words': words,
        'tags': ['adjective', 'other'],
      }  # fmt: skip


@pytest.fixture(scope='module')
def make(data_dir):
  """The set, read with options."""
  prepared.prepare(WordSet, data_dir)

  def make(**options):
    return sources.make_data(
      'tfds_text', dataset='word_set', data_dir=data_dir, vocabulary=60,
      length=16, test_split='unseen', **options,
    )  # fmt: skip

  return make


def test_a_pair_and_its_label(make):
  data = make(text_key=['first', 'second'], validation=4)
  assert data.label_names == ('no', 'yes') and data.classes == 2
  sizes = [len(s.labels) for s in (data.train, data.validation, data.test())]
  assert sizes == [16, 4, 6]
  ids = data.train.inputs['input_ids'][0]
  shown = ' '.join(data.pieces(ids[:8])).replace(' ##', '')
  assert shown.startswith('[CLS] good film [SEP] bad [SEP]')
  assert data.train.inputs['token_type_ids'].max() == 1
  assert data.test().labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_words_and_tags(make):
  data = make(text_key='words', label_key='tags', task='tagging')
  assert data.label_names == ('adjective', 'other')
  counts = data.train.labels != tasks.VOID
  assert (counts.sum(1) == 2).all()


def test_a_language_needs_no_label(make):
  data = make(text_key='first', task='language', layout='whole')
  assert data.classes == data.vocabulary


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(text_key='text'), "unknown text_key 'text'"),
    (dict(text_key='first', label_key='lable'), "did you mean 'label'"),
    (dict(text_key='first', train_split='trian'), "did you mean 'train'"),
  ],
)
def test_features_that_are_not_there(make, options, message):
  with pytest.raises(ValueError, match=message):
    make(**options)
