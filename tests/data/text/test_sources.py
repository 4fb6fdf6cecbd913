"""Data sets of text by name: what is held out, what each task is given."""

import json

import numpy as np
import pytest

from kd_jax import tasks
from kd_jax.data import sources
from kd_jax.data.text import rows
from tests.helpers import shared

VOID = tasks.VOID
RAW = ('data', 'text')
SENTENCES = [f'{a} {b} it' for a in ('good', 'bad') for b in 'abcdefghij']


def table(path, **columns) -> str:
  lines = [
    json.dumps(dict(zip(columns, row))) for row in zip(*columns.values())
  ]
  path.write_text('\n'.join(lines))
  return str(path)


def spelled(data, split) -> str:
  """The real tokens of a split, one row after another."""
  ids = split.inputs['input_ids'][split.inputs['attention_mask'] == 1]
  return ''.join(data.pieces(ids))


def test_pydoc_is_cut_within_its_topics():
  import pydoc_data.topics

  whole = pydoc_data.topics.topics
  data = sources.make_data('pydoc', length=64)
  test = data.test()
  assert (data.task, data.classes, data.vocabulary) == ('language', 256, 256)
  assert data.bytes_per_token == 1 and data.mean == ()
  parts = [
    s.inputs['attention_mask'].sum()
    for s in (data.train, data.validation, test)
  ]
  assert sum(parts) == sum(len(text.encode()) for text in whole.values())
  assert abs(parts[2] / sum(parts) - 0.1) < 0.01
  first = whole[min(whole)]
  assert spelled(data, data.train).startswith(first[: int(0.7 * len(first))])
  assert spelled(data, test).startswith(first[round(0.9 * len(first)) :][:50])
  assert json.loads(data.tokenizer)['model']['type'] == 'BPE'


def test_the_same_options_give_the_same_data():
  make = lambda **o: sources.make_data('pydoc', **o).fingerprint  # noqa: E731
  assert make() == make()
  others = [
    make(length=64), make(layout='whole'), make(tokenizer='characters'),
    make(validation=0.2), make(limit=10),
  ]  # fmt: skip
  assert len({make(), *others}) == 6


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(layout='pack'), "unknown layout 'pack'; did you mean 'packed'"),
    (dict(objective='masked'), "the tokenizer 'bytes' no token that hides"),
    (dict(objective='translation'), 'no targets'),
    (dict(validation=10), 'legal: a fraction'),
    (dict(validation=0.6, more_test=0.5), 'leave nothing to train on'),
    (dict(more_test=0), 'has no test set; give more_test'),
    (dict(mean=[1.0]), 'which is text'),
    (dict(tokeniser='bytes'), "did you mean 'tokenizer'"),
    (dict(tokenizer='./no.json'), "there is no tokenizer 'no.json'"),
    (dict(length=0), 'must be at least 1'),
  ],
)
def test_options_that_are_not_legal(options, message):
  with pytest.raises(ValueError, match=message) as error:
    sources.make_data('pydoc', **options)
  assert '\n' not in str(error.value)


def test_hidden_words(data_dir):
  data = sources.make_data(
    'pydoc', tokenizer='wordpiece', vocabulary=400, objective='masked',
    copies=2, data_dir=data_dir, limit=50,
  )  # fmt: skip
  ids, counts = data.train.inputs['input_ids'], data.train.labels != VOID
  assert len(ids) == 50 and 0.1 < counts.mean() < 0.2
  hidden = np.array(data.pieces(ids[counts]))
  assert 0.7 < (hidden == '[MASK]').mean() < 0.9
  assert '[CLS]' not in data.pieces(data.train.labels[counts])


def test_classification_of_a_table(tmp_path, data_dir):
  labels = ['up' if s.startswith('good') else 'down' for s in SENTENCES]
  train = table(tmp_path / 'train.jsonl', text=SENTENCES, label=labels)
  data = sources.make_data(
    'text', train=train, task='classification', tokenizer='wordpiece',
    vocabulary=60, length=16, validation=4, more_test=4, data_dir=data_dir,
  )  # fmt: skip
  test = data.test()
  assert data.label_names == ('down', 'up') and data.classes == 2
  for split, size in ((data.train, 12), (data.validation, 4), (test, 4)):
    # Every class in proportion, and the label is that of its sentence.
    assert split.labels.tolist().count(1) == size // 2
    for ids, label in zip(split.inputs['input_ids'], split.labels):
      word = ''.join(data.pieces(ids)).replace('##', '')[5:]
      assert word.startswith('good') == (label == 1)
  assert data.vocabulary <= 60


def test_a_pair_and_a_number(tmp_path, data_dir):
  numbers = np.linspace(0, 5, len(SENTENCES)).tolist()
  train = table(tmp_path / 'a.jsonl', a=SENTENCES, b=SENTENCES[::-1], n=numbers)
  data = sources.make_data(
    'text', train=train, test=train, text_key=['a', 'b'], label_key='n',
    task='regression', tokenizer='wordpiece', vocabulary=60, length=32,
    validation=0, data_dir=data_dir,
  )  # fmt: skip
  assert data.classes == 1
  np.testing.assert_allclose(data.train.labels, numbers, rtol=1e-6)
  kinds = data.train.inputs['token_type_ids']
  assert set(kinds[0]) == {0, 1} and kinds[0].argmax() > 1


def test_words_and_their_tags(tmp_path, data_dir):
  words = [s.split() for s in SENTENCES]
  tags = [['A', 'O', 'O'] for _ in words]
  train = table(tmp_path / 'a.jsonl', tokens=words, tags=tags)
  data = sources.make_data(
    'text', train=train, text_key='tokens', label_key='tags', task='tagging',
    tokenizer='wordpiece', vocabulary=60, length=16, data_dir=data_dir,
  )  # fmt: skip
  assert data.label_names == ('A', 'O')
  assert (data.train.labels != VOID).sum() == 3 * len(data.train.labels)
  assert (data.train.labels[:, 1] == 0).all()


def test_several_labels(tmp_path, data_dir):
  labels = [['x', 'y'] if i % 2 else [] for i in range(len(SENTENCES))]
  train = table(tmp_path / 'a.jsonl', text=SENTENCES, label=labels)
  data = sources.make_data(
    'text', train=train, task='multilabel', data_dir=data_dir, validation=0
  )
  assert data.label_names == ('x', 'y')
  assert data.train.labels.shape[1] == 2
  assert set(data.train.labels.sum(1)) == {0, 2}


def test_an_answer_counts_and_its_question_does_not(tmp_path):
  ask = [f'{i}+{i}=' for i in range(30)]
  answer = [str(2 * i) for i in range(30)]
  train = table(tmp_path / 'a.jsonl', text=ask, answer=answer)
  data = sources.make_data(
    'text', train=train, test=train, validation=0, target_key='answer',
    layout='whole', length=32,
  )  # fmt: skip
  counts = data.train.labels != VOID
  shown = ''.join(map(chr, data.train.labels[counts]))
  assert sorted(shown) == sorted(''.join(answer))


def test_files_of_ids(tmp_path):
  np.save(tmp_path / 'a.npy', (np.arange(1000) % 7).astype(np.uint16))
  data = sources.make_data(
    'text', train=str(tmp_path / 'a.npy'), tokenizer='ids', vocabulary=7,
    length=10, layout='padded',
  )  # fmt: skip
  assert data.train.inputs['input_ids'].shape == (80, 10)
  np.testing.assert_array_equal(
    data.train.labels[0], (data.train.inputs['input_ids'][0] + 1) % 7
  )


def test_labels_that_training_lacks(tmp_path, data_dir):
  train = table(tmp_path / 'a.jsonl', text=['a', 'b'] * 5, label=['x', 'y'] * 5)
  test = table(tmp_path / 'b.jsonl', text=['a'], label=['z'])
  data = sources.make_data(
    'text', train=train, test=test, task='classification', validation=0,
    data_dir=data_dir,
  )  # fmt: skip
  with pytest.raises(ValueError, match="the label 'z'; legal: x, y"):
    data.test()
  with pytest.raises(ValueError, match="no column 'labels'"):
    sources.make_data(
      'text', train=train, task='classification', label_key='labels'
    )


@pytest.mark.parametrize('name', ['sst2', 'ag_news', 'shakespeare', 'multi30k'])
def test_files_that_are_not_there(name, monkeypatch, tmp_path):
  monkeypatch.delenv('KD_JAX_RAW_DIR', raising=False)
  for raw_dir in ('', str(tmp_path)):
    with pytest.raises(ValueError, match='raw_dir') as error:
      sources.make_data(name, raw_dir=raw_dir)
    assert '\n' not in str(error.value)


def test_shakespeare_is_cut_as_usual():
  data = sources.make_data('shakespeare', raw_dir=str(shared.need(*RAW)))
  sizes = [
    split.inputs['attention_mask'].sum()
    for split in (data.train, data.validation, data.test())
  ]
  assert sizes == [1_003_855, 55_769, 55_770]
  assert data.vocabulary == 66
  assert spelled(data, data.train).startswith('First Citizen:\nBefore we')
  assert (data.train.labels != VOID).sum() == sizes[0] - 1


@pytest.mark.slow
def test_published_sizes(data_dir):
  raw = dict(
    raw_dir=str(shared.need(*RAW)), data_dir=data_dir, tokenizer='bytes'
  )
  data = sources.make_data('sst2', length=16, **raw)
  assert [
    len(s.labels) for s in (data.train, data.validation, data.test())
  ] == [67_349, 872, 1_821]
  assert data.train.labels.sum() == 37_569
  data = sources.make_data('ag_news', length=16, titled=True, **raw)
  assert len(data.test().labels) == 7_600 and data.classes == 4
  data = sources.make_data('multi30k', length=16, **raw)
  assert len(data.test().labels) == 1_000
  assert set(data.train.inputs) > {'decoder_input_ids', 'input_ids'}


def test_layouts_show_the_same_text():
  texts = {
    layout: spelled(data, data.train)
    for layout in rows.LAYOUTS
    for data in [sources.make_data('pydoc', layout=layout, length=100)]
  }
  assert texts['packed'] == texts['padded']
  assert sorted(texts['whole']) == sorted(texts['packed'])
