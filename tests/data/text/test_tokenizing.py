"""Tokenizers: what they give is what Hugging Face's library gives."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kd_jax.data.text import stored, tokenizing, trained

TEXTS = ['hello wörld!', 'lo', 'ö\n\tö', 'A longer one: hello, hello.']


@pytest.mark.parametrize('name', tokenizing.BUILT_IN)
def test_the_library_reads_what_is_built_in(name):
  tokenizer = tokenizing.make_tokenizer(name, TEXTS)
  again = tokenizing.of_json(tokenizer.json)
  assert again.size == tokenizer.size
  unseen = [*TEXTS, 'çà']
  ours, theirs = tokenizer.encode(unseen), again.encode(unseen)
  np.testing.assert_array_equal(ours.ids, theirs.ids)
  np.testing.assert_array_equal(ours.lengths, theirs.lengths)
  assert ours.ids.dtype == np.int32


def test_bytes_are_their_own_ids():
  tokenizer = tokenizing.of_bytes()
  tokens = tokenizer.encode(['aö', ''])
  assert tokens.ids.tolist() == [97, 195, 182]
  assert tokens.lengths.tolist() == [3, 0]
  assert tokenizer.spell(tokens.ids) == ['a', '\\xc3', '\\xb6']
  assert tokenizer.bytes_per_token == 1


def test_characters_that_were_not_seen_are_one():
  tokenizer = tokenizing.of_characters(['cab'])
  assert tokenizer.encode(['abcdä']).ids.tolist() == [0, 1, 2, 3, 3]
  assert tokenizer.spell([2, 3]) == ['c', '[UNK]']
  assert tokenizer.special == {'unknown': 3}


def test_wordpiece_stands_between_its_marks():
  text = trained.train('wordpiece', TEXTS * 3, 60, True)
  tokenizer = tokenizing.of_json(text)
  ids = tokenizer.encode(['Hello A']).ids
  pieces = tokenizer.spell(ids)
  assert pieces[0] == '[CLS]' and pieces[-1] == '[SEP]'
  assert ''.join(pieces[1:-1]).replace('##', '') == 'helloa'
  assert {'pad': 0, 'start': 2, 'separator': 3, 'mask': 4}.items() <= (
    tokenizer.special.items()
  )
  pair = tokenizer.encode([('hello', 'lo')])
  assert pair.kinds.max() == 1 and pair.kinds.shape == pair.ids.shape
  words = tokenizer.encode([['hello', 'A']])
  assert words.words[0] == -1 and set(words.words) == {-1, 0, 1}
  # The letters within words are ordinary ids, not special ones.
  special = [t['content'] for t in json.loads(text)['added_tokens']]
  assert special == ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  assert '##e' in json.loads(text)['model']['vocab']


def test_bpe_is_of_bytes_and_loses_nothing():
  tokenizer = tokenizing.of_json(trained.train('bpe', TEXTS * 3, 280, True))
  text = 'Hello wörld'
  assert ''.join(tokenizer.spell(tokenizer.encode([text]).ids)) == text
  assert tokenizer.special == {'end': 0}


@pytest.mark.parametrize('kind', trained.KINDS)
def test_another_process_trains_the_same(kind):
  """The library itself numbers a WordPiece otherwise in every process."""
  code = (
    'from kd_jax.data.text import trained; '
    f'print(trained.train({kind!r}, {TEXTS!r}, 300, True))'
  )
  there = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert there.stdout.strip() == trained.train(kind, TEXTS, 300, True)


def test_a_file_and_its_folder(tmp_path):
  text = trained.train('wordpiece', TEXTS, 60, True)
  (tmp_path / 'tokenizer.json').write_text(text)
  for place in (tmp_path, tmp_path / 'tokenizer.json'):
    tokenizer = tokenizing.make_tokenizer(str(place))
    assert tokenizer.json == text and tokenizer.name == 'file'
  settings = {'eos_token': '[SEP]', 'pad_token': {'content': '[MASK]'}}
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(settings))
  tokenizer = tokenizing.make_tokenizer(str(tmp_path))
  assert tokenizer.special == {'end': 3, 'pad': 4}


@pytest.mark.parametrize(
  'name, options, message',
  [
    ('byte', {}, "unknown tokenizer 'byte'; did you mean 'bytes'"),
    ('a/b.json', {}, "there is no tokenizer 'a/b.json'"),
    ('bytes', dict(vocabulary=100), 'vocabulary=100, .* has 256 ids'),
    ('ids', {}, "tokenizer='ids' needs 'vocabulary'"),
  ],
)
def test_no_such_tokenizer(name, options, message):
  with pytest.raises(ValueError, match=message) as error:
    tokenizing.make_tokenizer(name, **options)
  assert '\n' not in str(error.value)


def test_a_file_of_something_else(tmp_path):
  (tmp_path / 'tokenizer.json').write_text('{}')
  with pytest.raises(ValueError, match='is no tokenizer') as error:
    tokenizing.make_tokenizer(str(tmp_path))
  assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)


def test_ids_stay_and_are_in_range():
  tokenizer = tokenizing.make_tokenizer('ids', vocabulary=4)
  assert tokenizer.encode([np.array([3, 0])]).ids.tolist() == [3, 0]
  with pytest.raises(ValueError, match='the id 4; legal: 0..3'):
    tokenizer.encode([np.array([4])])


def test_what_was_made_is_read_again(tmp_path, monkeypatch):
  folder = str(tmp_path)
  tokenizer = stored.train('wordpiece', TEXTS, 60, True, folder)
  tokens = stored.encode(tokenizer, TEXTS, folder)
  monkeypatch.setattr(trained, 'train', None)
  again = stored.train('wordpiece', TEXTS, 60, True, folder)
  assert again.json == tokenizer.json
  blind = tokenizer._replace(encode=None)
  kept = stored.encode(blind, TEXTS, folder)
  np.testing.assert_array_equal(kept.ids, tokens.ids)
  np.testing.assert_array_equal(kept.lengths, tokens.lengths)
  assert kept.ids.dtype == np.int32 and kept.kinds is None
  # Other texts, or the same ones cut elsewhere, are something else.
  with pytest.raises(TypeError):
    stored.encode(blind, [TEXTS[0] + TEXTS[1], *TEXTS[2:]], folder)
  assert not list((tmp_path / stored.FOLDER).glob('.*'))


def test_a_data_folder_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='cannot write') as error:
    stored.train('bpe', TEXTS, 300, True, str(tmp_path / 'file'))
  assert '\n' not in str(error.value)
