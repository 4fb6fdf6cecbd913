"""Files of text, and errors of one line."""

import gzip
import json

import numpy as np
import pytest

from kd_jax.data.text import reading


def test_tables(tmp_path):
  (tmp_path / 'a.jsonl').write_text(
    json.dumps({'text': 'one', 'label': 1})
    + '\n\n{"text": "zw\u0085", "label": 0}'
  )
  packed = gzip.compress(b'label\tsentence\n1\ta "b\n0\tc\n')
  (tmp_path / 'b.tsv.gz').write_bytes(packed)
  (tmp_path / 'c.csv').write_text('label,text\n1,"a, b"\n')

  def read(name, *keys):
    return reading.table(reading.find(str(tmp_path / name)), keys)

  assert read('a.jsonl', 'text', 'label') == {
    'text': ['one', 'zw\u0085'], 'label': [1, 0],
  }  # fmt: skip
  assert read('b.tsv.gz', 'sentence')['sentence'] == ['a "b', 'c']
  assert read('c.csv', 'text')['text'] == ['a, b']


def test_documents(tmp_path):
  (tmp_path / 'b.txt').write_text('two')
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'sub' / 'a.txt.gz').write_bytes(gzip.compress('drüi'.encode()))
  (tmp_path / '.hidden').write_text('x')
  np.save(tmp_path / 'c.npy', np.array([1, 2], np.uint16))
  text, ids, packed = reading.documents(reading.find(str(tmp_path)))
  assert (text, packed) == ('two', 'drüi') and ids.tolist() == [1, 2]
  assert len(reading.find(str(tmp_path / '*.txt'))) == 1


@pytest.mark.parametrize(
  'name, content, message',
  [
    ('a.jsonl', '{"text": 1}', "line 1, has no column 'label'"),
    ('a.jsonl', '{"text"', 'line 1, is no JSON'),
    ('a.jsonl', '[1]', 'line 1, is no JSON object'),
    ('a.tsv', 'label\ttext\n1', 'line 2, has 1 columns; legal: 2'),
    ('a.tsv', 'labl\n1', "no column 'label'; did you mean 'labl'"),
    ('a.txt', 'x', 'has no columns; legal: .jsonl, .tsv, .csv'),
    ('a.tsv.gz', 'x', 'cannot read'),
  ],
)
def test_files_that_are_not_as_they_must_be(tmp_path, name, content, message):
  (tmp_path / name).write_text(content)
  with pytest.raises(ValueError, match=message) as error:
    reading.table([tmp_path / name], ['label'])
  assert name in str(error.value) and '\n' not in str(error.value)


def test_no_such_file(tmp_path):
  for path in ('nothing.txt', '*.md', 'no/such/*.txt'):
    with pytest.raises(ValueError, match='there is no file'):
      reading.find(str(tmp_path / path))


def test_an_array_that_holds_no_ids(tmp_path):
  np.save(tmp_path / 'a.npy', np.zeros((2, 2)))
  with pytest.raises(ValueError, match='legal: integers'):
    reading.documents([tmp_path / 'a.npy'])
