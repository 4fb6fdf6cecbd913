"""Tokenizers: bytes, characters, and Hugging Face's, loaded or trained here.

Each is a text in the format of `tokenizer.json`, which is kept with a run and
which Hugging Face's library reads. Bytes and characters need no library.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kd_jax import types
from kd_jax.data.text import trained

FILE = 'tokenizer.json'
BUILT_IN = ('bytes', 'characters')
KINDS = (*BUILT_IN, *trained.KINDS, 'ids')
USUAL = 8192  # ids that a trained one gets at most
UNKNOWN = '[UNK]'
# Texts encoded at once by the library, whose results are large objects.
_CHUNK = 4096
# What special tokens are called, by what they do.
_NAMES = {
  'pad': ('[PAD]', '<pad>', '<|pad|>', '<|finetune_right_pad_id|>'),
  'unknown': (UNKNOWN, '<unk>'),
  'start': ('[CLS]', '<s>', '<bos>', '<|begin_of_text|>'),
  'separator': ('[SEP]', '</s>'),
  'mask': ('[MASK]', '<mask>'),
  'end': ('<|endoftext|>', '</s>', '<eos>', '<|end_of_text|>', '<|im_end|>'),
}
# The keys of `tokenizer_config.json` that say the same.
_KEYS = {
  'pad': 'pad_token', 'unknown': 'unk_token', 'start': 'cls_token',
  'separator': 'sep_token', 'mask': 'mask_token', 'end': 'eos_token',
}  # fmt: skip


class Tokens(NamedTuple):
  """The tokens of N texts, one after another.

  Attributes:
    ids: i32 [n].
    lengths: tokens of each text, i64 [N].
    kinds: i32 [n], 1 for those of a pair's second text; None: no pairs.
    words: i32 [n], the word of its text that a token is part of, -1 for none;
      None where texts were no lists of words.
  """

  ids: np.ndarray
  lengths: np.ndarray
  kinds: np.ndarray | None = None
  words: np.ndarray | None = None


class Tokenizer(NamedTuple):
  """A tokenizer.

  Attributes:
    name: one of KINDS, or 'file'; 'ids' of texts that come as numbers.
    size: V, how many ids there are.
    json: its `tokenizer.json`; '' of 'ids'.
    encode: sequence of texts (str; pairs of str; lists of words) -> Tokens.
    spell: ids i [n] -> what each stands for, a list of str.
    special: {'pad', 'start', 'separator', 'mask', 'end', 'unknown': id}, those
      that it has.
    bytes_per_token: of UTF-8; 0.0 where it differs from token to token.
  """

  name: str
  size: int
  json: str
  encode: Callable[[Sequence[Any]], Tokens]
  spell: Callable[[Iterable[int]], list[str]]
  special: Mapping[str, int]
  bytes_per_token: float = 0.0


def make_tokenizer(
  name: str, texts: Iterable[Any] = (), vocabulary: int = 0
) -> Tokenizer:
  """The tokenizer `name`, of those that are not trained (see `stored.train`).

  Args:
    name: one of BUILT_IN, 'ids', or the path of a `tokenizer.json` or of its
      folder.
    texts: for training, whose characters are those of 'characters'.
    vocabulary: how many ids it must have; 0: any number.

  Raises:
    ValueError: one line, for an unknown name, a file that is missing or none
      of a tokenizer, or another number of ids.
  """
  if name == 'ids':
    if not vocabulary:
      raise ValueError("tokenizer='ids' needs 'vocabulary', how many there are")
    return of_ids(vocabulary)
  if name == 'bytes':
    tokenizer = of_bytes()
  elif name == 'characters':
    tokenizer = of_characters(plain(texts))
  else:
    tokenizer = of_file(name)
  if vocabulary not in (0, tokenizer.size):
    raise ValueError(
      f"vocabulary={vocabulary}, and the tokenizer '{name}' has "
      f'{tokenizer.size} ids; legal: that, or 0'
    )
  return tokenizer


def plain(texts: Iterable[Any]) -> Iterable[str]:
  """Every str of texts that may be pairs or lists of words."""
  for text in texts:
    if isinstance(text, str):
      yield text
    else:
      yield from text


def of_bytes() -> Tokenizer:
  """The 256 bytes of UTF-8; the id of a byte is the byte."""
  letters = _byte_letters()
  level = {
    'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True,
    'use_regex': False,
  }  # fmt: skip
  model = {
    'type': 'BPE', 'dropout': None, 'unk_token': None,
    'continuing_subword_prefix': None, 'end_of_word_suffix': None,
    'fuse_unk': False, 'byte_fallback': False, 'ignore_merges': False,
    'vocab': {letter: byte for byte, letter in enumerate(letters)},
    'merges': [],
  }  # fmt: skip
  text = _format(model, pre_tokenizer=level, decoder=level)

  def encode(texts: Sequence[Any]) -> Tokens:
    parts = [np.frombuffer(text.encode(), np.uint8) for text in texts]
    return _joined(parts)

  def spell(ids: Iterable[int]) -> list[str]:
    return [
      chr(i) if 32 <= i < 127 or chr(i) in '\n\t' else f'\\x{i:02x}'
      for i in map(int, ids)
    ]

  return Tokenizer('bytes', 256, text, encode, spell, {}, 1.0)


def of_characters(texts: Iterable[str]) -> Tokenizer:
  """The characters that occur in texts, in order, and one for all others."""
  letters = sorted({letter for text in texts for letter in set(text)})
  return _characters([*letters, UNKNOWN])


def _characters(names: list[str]) -> Tokenizer:
  """The tokenizer of characters whose last id stands for all others."""
  unknown = len(names) - 1
  vocabulary = {name: i for i, name in enumerate(names)}
  model = {'type': 'WordLevel', 'vocab': vocabulary, 'unk_token': UNKNOWN}
  split = {
    'type': 'Split', 'pattern': {'Regex': r'[\s\S]'}, 'behavior': 'Isolated',
    'invert': False,
  }  # fmt: skip
  text = _format(model, pre_tokenizer=split, decoder={'type': 'Fuse'})
  points = np.array([ord(name) for name in names[:-1]], np.int64)

  def encode(texts: Sequence[Any]) -> Tokens:
    return _joined([_find(points, unknown, text) for text in texts])

  def spell(ids: Iterable[int]) -> list[str]:
    return [names[int(i)] for i in ids]

  return Tokenizer(
    'characters', len(names), text, encode, spell, {'unknown': unknown}
  )


def _find(points: np.ndarray, unknown: int, text: str) -> np.ndarray:
  """The place of each character among sorted code points."""
  codes = np.frombuffer(text.encode('utf-32-le'), np.uint32).astype(np.int64)
  if not points.size:
    return np.full(len(codes), unknown, np.int32)
  places = np.minimum(np.searchsorted(points, codes), len(points) - 1)
  return np.where(points[places] == codes, places, unknown).astype(np.int32)


def of_file(name: str) -> Tokenizer:
  """The tokenizer of a `tokenizer.json`, or of the folder that holds it."""
  path = pathlib.Path(name).expanduser()
  path = path / FILE if path.is_dir() else path
  if not path.is_file():
    if '/' not in name and '.' not in name:
      raise types.unknown('tokenizer', name, [*KINDS, 'a tokenizer.json'])
    raise ValueError(f"there is no tokenizer '{path}'; legal: a {FILE}")
  settings = path.with_name('tokenizer_config.json')
  return of_json(
    path.read_text(encoding='utf-8'),
    'file',
    json.loads(settings.read_text()) if settings.is_file() else {},
    where=str(path),
  )


def of_json(
  text: str, name: str = 'file', settings: Mapping = {}, where: str = ''
) -> Tokenizer:
  """The tokenizer of the text of a `tokenizer.json`.

  Args:
    text: in Hugging Face's format.
    name: what it is called.
    settings: of a `tokenizer_config.json`: names of special tokens.
    where: it comes from, for errors.

  Raises:
    ValueError: one line, for a text that the library does not read.
  """
  library = trained.require()
  try:
    inner = library.Tokenizer.from_str(text)
  # The library raises plain exceptions.
  except Exception as error:
    reason = str(error).splitlines()[0]
    raise ValueError(f"'{where or name}' is no tokenizer: {reason}") from error
  inner.no_truncation()
  inner.no_padding()
  size = inner.get_vocab_size(with_added_tokens=True)
  byte_level = '"ByteLevel"' in json.dumps(json.loads(text).get('decoder'))
  return Tokenizer(
    name,
    size,
    text,
    functools.partial(_encode, inner),
    functools.partial(_spell, inner, byte_level),
    _special(inner, settings),
  )


def of_ids(size: int) -> Tokenizer:
  """What stands for a tokenizer where texts come as numbers 0..size - 1."""

  def encode(texts: Sequence[Any]) -> Tokens:
    texts = [np.asarray(text) for text in texts]
    most = max((int(text.max(initial=0)) for text in texts), default=0)
    if most >= size:
      raise ValueError(f'texts have the id {most}; legal: 0..{size - 1}')
    return _joined(texts)

  return Tokenizer('ids', size, '', encode, lambda ids: [*map(str, ids)], {})


def _encode(inner, texts: Sequence[Any]) -> Tokens:
  """Tokens of texts, pairs of texts, or lists of words."""
  split = bool(len(texts)) and isinstance(texts[0], list)
  pairs = bool(len(texts)) and isinstance(texts[0], tuple)
  ids, kinds, words = [], [], []
  for start in range(0, len(texts), _CHUNK):
    for each in inner.encode_batch(
      list(texts[start : start + _CHUNK]), is_pretokenized=split
    ):
      ids.append(np.array(each.ids, np.int32))
      if pairs:
        kinds.append(np.array(each.type_ids, np.int32))
      if split:
        numbers = [-1 if i is None else i for i in each.word_ids]
        words.append(np.array(numbers, np.int32))
  return _joined(ids, kinds if pairs else None, words if split else None)


def _joined(ids: list, kinds: list | None = None, words: list | None = None):
  """Tokens of the ids of each text."""
  join = lambda parts: np.concatenate([[], *parts]).astype(np.int32)  # noqa: E731
  lengths = np.array([len(part) for part in ids], np.int64)
  return Tokens(
    join(ids), lengths, *(p if p is None else join(p) for p in (kinds, words))
  )


def _spell(inner, byte_level: bool, ids: Iterable[int]) -> list[str]:
  """Each id as text: bytes of half a character as what cannot be read."""
  names = [inner.id_to_token(int(i)) or '' for i in ids]
  if not byte_level:
    return names
  bytes_of = {letter: byte for byte, letter in enumerate(_byte_letters())}
  return [
    bytes(bytes_of[c] for c in name).decode(errors='replace')
    if all(c in bytes_of for c in name)
    else name
    for name in names
  ]


def _special(inner, settings: Mapping) -> dict[str, int]:
  """{what it does: id} of the special tokens, named by settings or usual."""
  special = {}
  for role, names in _NAMES.items():
    stated = settings.get(_KEYS[role])
    if isinstance(stated, Mapping):
      stated = stated.get('content')
    for name in [stated] if stated else () if settings else names:
      if inner.token_to_id(name) is not None:
        special[role] = inner.token_to_id(name)
        break
  return special


@functools.cache
def _byte_letters() -> str:
  """The character that Hugging Face's byte-level tokenizers show a byte as.

  Printable ones of Latin-1 stand for themselves, the other 68 for the
  characters from 256 on (GPT-2's `bytes_to_unicode`).
  """
  shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
  rest = iter(range(256, 512))
  return ''.join(chr(i if i in shown else next(rest)) for i in range(256))


def _format(model: Mapping, **parts: Any) -> str:
  """The text of a `tokenizer.json`."""
  empty = dict.fromkeys(
    ('truncation', 'padding', 'normalizer', 'pre_tokenizer', 'post_processor')
  )
  whole = {'version': '1.0', **empty, 'added_tokens': [], **parts}
  return json.dumps({**whole, 'model': model}, ensure_ascii=False)
