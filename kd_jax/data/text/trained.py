"""Trains WordPiece and BPE tokenizers on texts, by Hugging Face's library."""

import json
from collections.abc import Iterable
from typing import Any

KINDS = ('wordpiece', 'bpe')
_SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')  # ids 0 to 4
_END = '<|endoftext|>'  # id 0 of BPE


def require() -> Any:
  """Imports Hugging Face's tokenizers, when they are needed."""
  try:
    import tokenizers
  except ImportError as error:
    raise ValueError(
      'this tokenizer needs a library: pip install tokenizers; bytes and '
      'characters need none'
    ) from error
  return tokenizers


def train(
  kind: str, texts: Iterable[str], vocabulary: int, lowercase: bool
) -> str:
  """The `tokenizer.json` of a tokenizer trained on texts.

  The same texts, whatever the machine, give the same tokenizer.

  Args:
    kind: 'wordpiece', as BERT's, with [CLS] and [SEP] around each text; 'bpe',
      of bytes as GPT-2's, nothing around.
    texts: to train on.
    vocabulary: the most ids.
    lowercase: of 'wordpiece': capitals are read as small letters, accents
      dropped.

  Source: Y. Wu et al., Google's neural machine translation system, 2016,
    https://arxiv.org/abs/1609.08144; R. Sennrich, B. Haddow, A. Birch, Neural
    machine translation of rare words with subword units, 2016,
    https://arxiv.org/abs/1508.07909. The library merges the most frequent pair
    for WordPiece too, where the paper maximizes the likelihood.
  """
  train = _wordpiece if kind == 'wordpiece' else _bpe
  return train(require(), list(texts), vocabulary, lowercase)


def _wordpiece(library, texts: list, vocabulary: int, lowercase: bool) -> str:
  """A trained WordPiece, as text."""
  tokenizer = library.Tokenizer(library.models.WordPiece(unk_token='[UNK]'))
  tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=lowercase)
  tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = library.decoders.WordPiece()
  # The library numbers the letters within words, '##a', as its hash table has
  # them, otherwise in every process, and breaks ties by those numbers. Named
  # among the special tokens they have an order; later they are special no more.
  letters = [f'##{letter}' for letter in _within_words(tokenizer, texts)]
  trainer = library.trainers.WordPieceTrainer(
    vocab_size=vocabulary,
    special_tokens=[*_SPECIAL, *letters],
    show_progress=False,
  )
  tokenizer.train_from_iterator(texts, trainer)
  places = [(name, _SPECIAL.index(name)) for name in ('[CLS]', '[SEP]')]
  tokenizer.post_processor = library.processors.TemplateProcessing(
    single='[CLS] $A [SEP]',
    pair='[CLS] $A [SEP] $B:1 [SEP]:1',
    special_tokens=places,
  )
  whole = json.loads(tokenizer.to_str())
  whole['added_tokens'] = [
    token for token in whole['added_tokens'] if token['content'] in _SPECIAL
  ]
  return json.dumps(whole, ensure_ascii=False)


def _within_words(tokenizer, texts: list) -> list[str]:
  """The letters that stand in words and do not begin them, in order."""
  letters = set()
  for part in {part for text in texts for part in text.split()}:
    plain = tokenizer.normalizer.normalize_str(part)
    for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain):
      letters.update(word[1:])
  return sorted(letters)


def _bpe(library, texts: list, vocabulary: int, lowercase: bool) -> str:
  """A trained BPE of bytes, as text; capitals stay whatever `lowercase`."""
  del lowercase
  level = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer = library.Tokenizer(library.models.BPE())
  tokenizer.pre_tokenizer = level
  tokenizer.decoder = library.decoders.ByteLevel()
  trainer = library.trainers.BpeTrainer(
    vocab_size=vocabulary, special_tokens=[_END],
    initial_alphabet=level.alphabet(), show_progress=False,
  )  # fmt: skip
  tokenizer.train_from_iterator(texts, trainer)
  return tokenizer.to_str()
