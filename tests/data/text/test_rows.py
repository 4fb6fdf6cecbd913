"""Rows: every token once, the shift once, no label across texts."""

import numpy as np
import pytest

from kd_jax import tasks
from kd_jax.data.text import rows, tokenizing

VOID = tasks.VOID
TEXTS = ['abcdefg', 'hi', '', 'jklmnopqrstuvwxyz', 'x']


def tokens(texts=TEXTS):
  return tokenizing.of_bytes().encode(texts)


def pairs(inputs, labels) -> list:
  """(token, label) of all places whose label counts, in order of tokens."""
  counts = labels != VOID
  return sorted(zip(inputs['input_ids'][counts], labels[counts]))


@pytest.mark.parametrize('layout', rows.LAYOUTS)
@pytest.mark.parametrize('length', [3, 5, 64])
def test_no_token_and_no_label_is_lost(layout, length):
  inputs, labels = rows.causal(tokens(), length, layout, 0)
  wanted = sorted(
    (a, b) for t in TEXTS for a, b in zip(t.encode(), t.encode()[1:])
  )
  assert pairs(inputs, labels) == wanted
  mask = inputs['attention_mask']
  assert mask.sum() == sum(map(len, TEXTS))
  assert {x.shape for x in inputs.values()} == {labels.shape}
  assert (labels[mask == 0] == VOID).all()
  assert all(x.dtype == np.int32 for x in (*inputs.values(), labels))


@pytest.mark.parametrize('layout', ['packed', 'whole'])
def test_segments_count_up_and_positions_restart(layout):
  inputs, _ = rows.causal(tokens(), 8, layout, 0)
  for row in range(len(inputs['input_ids'])):
    segments, places = inputs['segment_ids'][row], inputs['positions'][row]
    real = inputs['attention_mask'][row] == 1
    np.testing.assert_array_equal(segments > 0, real)
    numbers = np.unique(segments[real])
    np.testing.assert_array_equal(numbers, np.arange(1, len(numbers) + 1))
    for number in numbers:
      inside = places[segments == number]
      np.testing.assert_array_equal(inside, np.arange(len(inside)))


def test_whole_texts_stay_whole_where_they_fit():
  texts = ['ab', 'cdef', 'gh', 'ijk', 'lmnopqrs', 't']
  inputs, _ = rows.causal(tokens(texts), 4, 'whole', 0)
  # 20 letters fill five rows exactly, with no text of four or less cut.
  assert inputs['input_ids'].shape == (5, 4)
  seen = {bytes(row).decode() for row in inputs['input_ids'].astype(np.uint8)}
  assert {'cdef', 'lmno', 'pqrs', 'ijkt'} < seen


def test_rows_that_are_full_follow_one_another():
  """A text that fills rows is predicted across their ends too."""
  inputs, labels = rows.causal(tokens(['abcdefgh']), 4, 'padded', 0)
  assert labels.tolist() == [[98, 99, 100, 101], [102, 103, 104, VOID]]
  assert set(inputs) == {'input_ids', 'attention_mask'}


def test_a_prompt_is_read_and_not_asked_for():
  both = rows.followed(tokens(['ab', 'c']), tokens(['xy', 'z']))
  inputs, labels = rows.causal(both, 4, 'padded', 0, np.array([2, 1]))
  assert bytes(inputs['input_ids'][0].astype(np.uint8)) == b'abxy'
  assert labels.tolist() == [
    [VOID, ord('x'), ord('y'), VOID],
    [ord('z'), VOID, VOID, VOID],
  ]


def test_sentences_are_cut_and_keep_their_end():
  ids = [np.array([2, 7, 8, 9, 3]), np.array([2, 5, 3])]
  some = tokenizing.Tokens(
    np.concatenate(ids).astype(np.int32), np.array([5, 3])
  )
  inputs, _ = rows.sentences(some, 4, 0, separator=3)
  assert inputs['input_ids'].tolist() == [[2, 7, 8, 3], [2, 5, 3, 0]]
  assert inputs['attention_mask'].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_the_first_token_of_a_word_has_its_tag():
  words = np.array([-1, 0, 0, 1, -1, -1, 0, -1])
  some = tokenizing.Tokens(np.arange(8, dtype=np.int32), np.array([5, 3]))
  _, pieces = rows.sentences(some, 5, 0)
  tags = rows.tags(words, pieces, 5, [[4, 6], [7]])
  assert tags.tolist() == [
    [VOID, 4, VOID, 6, VOID],
    [VOID, 7, VOID, VOID, VOID],
  ]


def test_hidden_tokens():
  rng = np.random.default_rng(0)
  ids = rng.integers(5, 100, (200, 50)).astype(np.int32)
  ids[:, 0] = 2
  mask = np.ones_like(ids)
  mask[:, 40:] = 0
  given = {'input_ids': ids, 'attention_mask': mask}
  hide = lambda seed: rows.masked(given, {2}, 100, 4, 0.15, 2, seed)  # noqa: E731
  inputs, labels = hide(0)
  assert len(labels) == 400
  twice = np.repeat(ids, 2, axis=0)
  chosen = labels != VOID
  np.testing.assert_array_equal(labels[chosen], twice[chosen])
  np.testing.assert_array_equal(inputs['input_ids'][~chosen], twice[~chosen])
  assert not chosen[:, 0].any() and not chosen[:, 40:].any()
  assert abs(chosen[:, 1:40].mean() - 0.15) < 0.01
  shown = inputs['input_ids'][chosen]
  assert abs((shown == 4).mean() - 0.8) < 0.03
  assert abs((shown == twice[chosen]).mean() - 0.1) < 0.03
  # Copies differ; the same seed gives the same.
  assert (labels[0::2] != labels[1::2]).any()
  np.testing.assert_array_equal(hide(0)[1], labels)
  assert (hide(1)[1] != labels).any()


def test_a_decoder_reads_its_labels_one_place_later():
  read, labels = rows.decoder(tokens(['ab', 'cde']), 3, pad=0, start=9)
  assert labels.tolist() == [[97, 98, VOID], [99, 100, 101]]
  assert read['decoder_input_ids'].tolist() == [[9, 97, 98], [9, 99, 100]]
  assert read['decoder_attention_mask'].tolist() == [[1, 1, 0], [1, 1, 1]]
