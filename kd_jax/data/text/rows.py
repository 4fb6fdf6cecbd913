"""Rows of tokens: texts cut, packed or padded to one length, and their labels.

The causal shift happens here and nowhere else: the label at place i is the
token at place i + 1 of the same text. Padding has segment 0, attention 0 and
no label; it is never told by an id.
"""

from typing import NamedTuple

import numpy as np

from kd_jax import tasks
from kd_jax.data.text import tokenizing

LAYOUTS = ('packed', 'whole', 'padded')


class Pieces(NamedTuple):
  """Parts of texts and where they stand; i64 [P] each.

  Attributes:
    start: of the part among the tokens of all texts, one after another.
    size: its tokens.
    row, column: where its first token stands.
    segment: its number within the row, from 1.
    rows: how many rows there are.
  """

  start: np.ndarray
  size: np.ndarray
  row: np.ndarray
  column: np.ndarray
  segment: np.ndarray
  rows: int


def place(lengths: np.ndarray, length: int, layout: str) -> Pieces:
  """Places texts in rows of `length` tokens; no token is lost.

  Args:
    lengths: tokens of each text, i [N].
    length: L.
    layout: 'packed': one text after another, cut where a row ends, so that
      only the last row is padded; 'whole': texts are cut only where they are
      longer than a row, and each goes into the fullest row that has room for
      it; 'padded': the same parts, each in a row of its own.
  """
  starts = np.cumsum(lengths) - lengths
  total = int(np.sum(lengths))
  if layout == 'packed':
    cuts = np.union1d(starts[lengths > 0], np.arange(0, total, length))
    sizes = np.diff(np.append(cuts, total))
    rows = cuts // length
    return Pieces(
      cuts, sizes, rows, cuts % length, _numbers(rows), -(-total // length)
    )
  parts = -(-lengths // length)
  owner = np.repeat(np.arange(len(lengths)), parts)
  first = np.cumsum(parts) - parts
  offset = (np.arange(len(owner)) - first[owner]) * length
  start, size = (
    starts[owner] + offset,
    np.minimum(lengths[owner] - offset, length),
  )
  if layout == 'padded':
    ones = np.ones(len(start), np.int64)
    return Pieces(
      start, size, np.arange(len(start)), 0 * ones, ones, len(start)
    )
  row, column, rows = _fullest(size, length)
  # Within a row from left to right, so that segments count up.
  ranked = np.lexsort((column, row))
  start, size, row, column = (x[ranked] for x in (start, size, row, column))
  return Pieces(start, size, row, column, _numbers(row), rows)


def _numbers(rows: np.ndarray) -> np.ndarray:
  """The number of each piece within its row, from 1; rows ascend."""
  fresh = np.searchsorted(rows, rows)
  return np.arange(len(rows)) - fresh + 1


def _fullest(sizes: np.ndarray, length: int) -> tuple:
  """Rows and columns of pieces by best fit, the longest first."""
  row, column = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.int64)
  open_rows = [[] for _ in range(length + 1)]  # by the room that they have
  rows = 0
  for piece in np.argsort(-sizes, kind='stable'):
    size = int(sizes[piece])
    room = next((r for r in range(size, length + 1) if open_rows[r]), None)
    if room is None:
      number, room = rows, length
      rows += 1
    else:
      number = open_rows[room].pop()
    row[piece], column[piece] = number, length - room
    open_rows[room - size].append(number)
  return row, column, rows


def fill(values: np.ndarray, pieces: Pieces, length: int, empty: int):
  """Values of tokens i [n] in their rows, i32 [rows, L]; `empty` elsewhere."""
  out = np.full(pieces.rows * length, empty, np.int32)
  inside = np.arange(pieces.size.sum()) - np.repeat(
    np.cumsum(pieces.size) - pieces.size, pieces.size
  )
  there = np.repeat(pieces.row * length + pieces.column, pieces.size) + inside
  out[there] = values[np.repeat(pieces.start, pieces.size) + inside]
  return out.reshape(pieces.rows, length)


def inputs(
  tokens: tokenizing.Tokens, pieces: Pieces, length: int, layout: str, pad: int
) -> dict[str, np.ndarray]:
  """The inputs of a network, i32 [rows, L] each.

  Returns:
    'input_ids' and 'attention_mask'; of layouts with several texts in a row
    also 'segment_ids' and 'positions', which restart with each text; of pairs
    of sentences also 'token_type_ids'.
  """
  every = np.ones(len(tokens.ids), np.int32)
  rows = {
    'input_ids': fill(tokens.ids, pieces, length, pad),
    'attention_mask': fill(every, pieces, length, 0),
  }
  if layout != 'padded':
    of_piece = np.arange(pieces.size.sum()) - np.repeat(
      np.cumsum(pieces.size) - pieces.size, pieces.size
    )
    source = np.repeat(pieces.start, pieces.size) + of_piece
    numbers, places = (np.zeros(len(tokens.ids), np.int32) for _ in range(2))
    numbers[source] = np.repeat(pieces.segment, pieces.size)
    places[source] = of_piece
    rows['segment_ids'] = fill(numbers, pieces, length, 0)
    rows['positions'] = fill(places, pieces, length, 0)
  if tokens.kinds is not None:
    rows['token_type_ids'] = fill(tokens.kinds, pieces, length, 0)
  return rows


def following(
  tokens: tokenizing.Tokens, given: np.ndarray | None = None
) -> np.ndarray:
  """The next token of the same text, i32 [n]; VOID after its last one.

  Args:
    tokens: of texts.
    given: how many tokens each text begins with that nobody is to predict (a
      prompt), i [N].
  """
  following = np.append(tokens.ids[1:], tasks.VOID).astype(np.int32)
  ends = np.cumsum(tokens.lengths)
  following[ends[tokens.lengths > 0] - 1] = tasks.VOID
  if given is not None:
    starts = ends - tokens.lengths
    inside = np.arange(len(tokens.ids)) - np.repeat(starts, tokens.lengths)
    # The token at place i + 1 is labelled at place i.
    asked = inside + 1 >= np.repeat(given, tokens.lengths)
    following = np.where(asked, following, tasks.VOID).astype(np.int32)
  return following


def followed(
  tokens: tokenizing.Tokens, targets: tokenizing.Tokens
) -> tokenizing.Tokens:
  """Each text with its target after it."""
  before, after = (
    np.split(x.ids, np.cumsum(x.lengths)[:-1]) for x in (tokens, targets)
  )
  ids = [part for pair in zip(before, after) for part in pair]
  return tokenizing.Tokens(
    np.concatenate(ids), tokens.lengths + targets.lengths
  )


def causal(
  tokens: tokenizing.Tokens,
  length: int,
  layout: str,
  pad: int,
  given: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Inputs and labels of a network that predicts the next token.

  Args:
    tokens: of texts, each with the token that ends it where there is one.
    length: L.
    layout: one of LAYOUTS, see `place`.
    pad: id of padding; any id, since the mask says what padding is.
    given: see `following`.

  Returns:
    Inputs (see `inputs`), and labels i32 [rows, L] with `tasks.VOID`.
  """
  pieces = place(tokens.lengths, length, layout)
  labels = fill(following(tokens, given), pieces, length, tasks.VOID)
  return inputs(tokens, pieces, length, layout, pad), labels


def sentences(
  tokens: tokenizing.Tokens, length: int, pad: int, separator: int | None = None
) -> tuple[dict[str, np.ndarray], Pieces]:
  """A row for each text, cut after L tokens; a separator at its end stays.

  Returns:
    Inputs i32 [N, L], and the pieces that they are of.
  """
  starts = np.cumsum(tokens.lengths) - tokens.lengths
  size = np.minimum(tokens.lengths, length)
  count = np.arange(len(size))
  pieces = Pieces(starts, size, count, 0 * count, 0 * count + 1, len(size))
  rows = inputs(tokens, pieces, length, 'padded', pad)
  cut = tokens.lengths > length
  if separator is not None and cut.any():
    ends = tokens.ids[(starts + tokens.lengths - 1)[cut]] == separator
    rows['input_ids'][np.flatnonzero(cut)[ends], length - 1] = separator
  return rows, pieces


def tags(
  words: np.ndarray, pieces: Pieces, length: int, labels: list
) -> np.ndarray:
  """The label of each word at its first token, i32 [N, L]; VOID elsewhere.

  Args:
    words: the word that a token is part of, i [n]; -1 for none.
    pieces: a row of each text.
    length: L.
    labels: of the words of each text, N sequences of integers.
  """
  of = fill(words, pieces, length, -1)
  before = np.concatenate([np.full((len(of), 1), -1), of[:, :-1]], axis=1)
  out = np.full(of.shape, tasks.VOID, np.int32)
  for row, column in np.argwhere((of >= 0) & (of != before)):
    out[row, column] = labels[row][of[row, column]]
  return out


def masked(
  rows: dict[str, np.ndarray],
  special: set[int],
  vocabulary: int,
  mask: int,
  share: float,
  copies: int,
  seed: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Inputs and labels of a network that predicts hidden tokens.

  Of the tokens chosen 80 % become the mask, 10 % a random token, 10 % stay.

  Args:
    rows: inputs i32 [N, L].
    special: ids that are not hidden.
    vocabulary: V, of which random tokens are drawn.
    mask: the id that hides a token.
    share: of tokens that are chosen.
    copies: how often each row is there, hidden otherwise each time.
    seed: of what is chosen.

  Source: J. Devlin et al., BERT, 2018, section 3.1 and appendix A.2,
    https://arxiv.org/abs/1810.04805; its data too were made with copies.
  """
  rows = {k: np.repeat(x, copies, axis=0) for k, x in rows.items()}
  rng = np.random.default_rng(seed)
  ids = rows['input_ids']
  legal = (rows['attention_mask'] > 0) & ~np.isin(ids, sorted(special))
  chosen = legal & (rng.random(ids.shape) < share)
  how, drawn = rng.random(ids.shape), rng.integers(0, vocabulary, ids.shape)
  hidden = np.where(how < 0.8, mask, np.where(how < 0.9, drawn, ids))
  labels = np.where(chosen, ids, tasks.VOID).astype(np.int32)
  rows['input_ids'] = np.where(chosen, hidden, ids).astype(np.int32)
  return rows, labels


def decoder(
  tokens: tokenizing.Tokens, length: int, pad: int, start: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """What T5's decoder reads, shifted right, and its labels.

  Args:
    tokens: of the targets, with the token that ends each.
    length: L, after which they are cut.
    pad, start: id of padding, and that decoders begin with (T5: padding).
  """
  rows, _ = sentences(tokens, length, pad)
  ids, mask = rows['input_ids'], rows['attention_mask']
  labels = np.where(mask > 0, ids, tasks.VOID).astype(np.int32)
  before = np.full((len(ids), 1), start, np.int32)
  return {
    'decoder_input_ids': np.concatenate([before, ids[:, :-1]], axis=1),
    'decoder_attention_mask': mask,
  }, labels
