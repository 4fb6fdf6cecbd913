"""From texts to a data set: cut, tokenized, in rows, with the task's labels."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from kd_jax import kinds, tasks, types
from kd_jax.data import buckets as lengths
from kd_jax.data import checks, splits
from kd_jax.data.text import (
  corpora,
  labelling,
  rows,
  stored,
  tokenizing,
  trained,
)

OBJECTIVES = ('causal', 'masked', 'translation')


class How(NamedTuple):
  """How texts become rows of tokens; see `make_how`."""

  tokenizer: str
  vocabulary: int
  lowercase: bool
  length: int
  target_length: int
  layout: str
  objective: str
  hidden: float
  copies: int
  buckets: tuple[int, ...]


def make_how(
  *,
  tokenizer: kinds.Local = 'bytes',
  vocabulary: kinds.Whole = 0,
  lowercase: bool = True,
  length: kinds.Count = 128,
  target_length: kinds.Whole = 0,
  layout: str = 'packed',
  objective: str = 'causal',
  hidden: kinds.Inside = 0.15,
  copies: kinds.Count = 1,
  buckets: Sequence[int] = (),
) -> How:
  """The options that every data set of text takes.

  Args:
    tokenizer: 'bytes', 'characters'; 'wordpiece' or 'bpe', trained on the
      training texts; 'ids' of texts that are arrays of ids; or the path of a
      `tokenizer.json` or of its folder.
    vocabulary: how many ids a trained one gets at most; 0 is 8,192. Of another
      one, how many it must have; 0: any number.
    lowercase: whether 'wordpiece' reads capitals as small letters.
    length: L, tokens of a row.
    target_length: of what a decoder reads; 0 is `length`.
    layout: of the task 'language': 'packed', 'whole' or 'padded'; see
      `rows.place`.
    objective: of the task 'language': 'causal', the next token; 'masked', the
      hidden ones (see `rows.masked`); 'translation', a decoder's next token.
    hidden: share of the tokens that 'masked' hides.
    copies: how often each row is there, hidden otherwise each time.
    buckets: lengths; a batch is of rows that the same of them holds, and is cut
      to it (see `data.buckets`): faster, for texts of unlike length, padded.
  """
  for word, value, legal in (
    ('layout', layout, rows.LAYOUTS),
    ('objective', objective, OBJECTIVES),
  ):
    if value not in legal:
      raise types.unknown(word, value, legal)
  return How(
    tokenizer, vocabulary, lowercase, length, target_length or length, layout,
    objective, hidden, copies, lengths.check(buckets, length, 'text'),
  )  # fmt: skip


# {option: kind} of the above, for `sources.make_data`.
OPTIONS = kinds.of_options(make_how)


def make_data(
  name: str,
  train: corpora.Corpus,
  test: Callable[[], corpora.Corpus] | None,
  *,
  held: corpora.Corpus | None = None,
  names: tuple[str, ...] = (),
  classes: int = 0,
  task: str = tasks.LANGUAGE.name,
  validation: float = 0.1,
  more_test: float = 0,
  split_seed: int = 0,
  data_dir: str = '',
  raw_dir: str = '',
  memory_limit: float = 0,
  limit: int = 0,
  mean: tuple = (),
  std: tuple = (),
  ignore: int | None = None,
  **how: Any,
) -> splits.Data:
  """The data set of corpora.

  Args:
    name: of it.
    train: what trains, and what is held out of it.
    test: () -> what tests, read at the end; None: `more_test` of `train` does.
    held: what validates; None holds out of `train`.
    names: of the classes.
    classes: how many there are; 0: as many as names, or as labels show.
    task: of the labels.
    validation, more_test, split_seed, data_dir, limit, ignore: see
      `sources.make_data`.
    raw_dir, memory_limit: not used.
    mean, std: legal is (), of text.
    **how: of `make_how`.
  """
  how, task, where = make_how(**how), tasks.make_task(task), f"'{name}'"
  if len(mean) or len(std):
    raise ValueError(f'mean={mean}, std={std} of {where}, which is text')
  language = task.name == tasks.LANGUAGE.name
  if how.buckets and language and how.layout != 'padded':
    raise ValueError(
      f"{where} has buckets and layout='{how.layout}'; legal: 'padded'"
    )
  if how.buckets and how.objective == 'translation':
    raise ValueError(
      f"{where} has buckets and objective='translation', which reads two rows"
    )
  if held is not None:
    validation = 0
  if test is None and not more_test:
    raise ValueError(f'{where} has no test set; give more_test, such as 0.1')
  train, cut_out, more = corpora.cut(
    train, task, validation, more_test, split_seed, where
  )
  held = held if held is not None else cut_out
  tokenizer = _tokenizer(how, train, data_dir)
  if language:
    classes, names = classes or tokenizer.size, ()
  else:
    classes = classes or labelling.count(train.labels, task, names)
  make = functools.partial(
    make_rows, how=how, task=task, tokenizer=tokenizer, classes=classes,
    where=where, data_dir=data_dir,
  )  # fmt: skip

  def read_test() -> tuple:
    parts = [*([test()] if test else []), *([more] if more else [])]
    return _joined([make(part, seed=(split_seed, 2)) for part in parts])

  data = splits.finish(
    name, make(train, seed=(split_seed, 0)), read_test, classes,
    held=None if held is None else make(held, seed=(split_seed, 1)),
    label_names=tuple(names), validation=0, split_seed=split_seed, limit=limit,
    task=task.name, ignore=ignore, vocabulary=tokenizer.size,
  )  # fmt: skip
  if how.buckets:  # they order the batches, which a network alone has too
    fingerprint = checks.fingerprint(
      [], of=data.fingerprint, buckets=how.buckets
    )
    data = data._replace(fingerprint=fingerprint)
  return data._replace(
    bytes_per_token=tokenizer.bytes_per_token or None,
    pieces=tokenizer.spell,
    tokenizer=tokenizer.json,
    buckets=how.buckets,
  )


def _tokenizer(how: How, train, data_dir: str) -> tokenizing.Tokenizer:
  """The tokenizer that was asked for, trained on `train` alone."""
  texts = [*train.texts, *(train.targets or [])]
  if how.tokenizer in trained.KINDS:
    size = how.vocabulary or tokenizing.USUAL
    return stored.train(how.tokenizer, texts, size, how.lowercase, data_dir)
  return tokenizing.make_tokenizer(how.tokenizer, texts, how.vocabulary)


def make_rows(
  corpus: corpora.Corpus,
  *,
  how: How,
  task: tasks.Task,
  tokenizer: tokenizing.Tokenizer,
  classes: int,
  where: str,
  data_dir: str,
  seed: tuple[int, int],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Inputs and labels of a corpus, as a task has them."""
  encode = functools.partial(stored.encode, tokenizer, data_dir=data_dir)
  pad = tokenizer.special.get('pad', 0)
  tokens = encode(corpus.texts)
  if task.name == tasks.LANGUAGE.name:
    return _language(corpus, tokens, encode, how, tokenizer, where, seed)
  inputs, pieces = rows.sentences(
    tokens, how.length, pad, tokenizer.special.get('separator')
  )
  labels = corpus.labels
  if task.name == tasks.TAGGING.name:
    if tokens.words is None:
      raise ValueError(
        f"{where} has the task 'tagging' and texts that are no lists of words; "
        "legal: lists, and a tokenizer of Hugging Face's library"
      )
    labels = rows.tags(tokens.words, pieces, how.length, labels)
  elif task.name == tasks.MULTILABEL.name:
    labels = labelling.several(labels, classes, where)
  return inputs, labels


def _language(corpus, tokens, encode, how, tokenizer, where, seed) -> tuple:
  """Inputs and labels of the task 'language'."""
  special = tokenizer.special
  pad, end = special.get('pad', 0), special.get('end')
  if how.objective == 'masked':
    if 'mask' not in special:
      raise ValueError(
        f"{where} has objective='masked', and the tokenizer '{tokenizer.name}' "
        "no token that hides; legal: one with a mask, such as 'wordpiece'"
      )
    pieces = rows.place(tokens.lengths, how.length, how.layout)
    inputs = rows.inputs(tokens, pieces, how.length, how.layout, pad)
    ids = {special[k] for k in special if k != 'unknown'}
    return rows.masked(
      inputs, ids, tokenizer.size, special['mask'], how.hidden, how.copies, seed
    )
  if how.objective == 'translation':
    if corpus.targets is None:
      raise ValueError(f"{where} has objective='translation' and no targets")
    inputs, _ = rows.sentences(_ended(tokens, end), how.length, pad, end)
    targets = _ended(encode(corpus.targets), end)
    read, labels = rows.decoder(targets, how.target_length, pad, pad)
    return {**inputs, **read}, labels
  prompts = None
  if corpus.targets is not None:
    prompts = tokens.lengths
    tokens = rows.followed(tokens, encode(corpus.targets))
  # The beginning of a text that was cut is not ended.
  tokens = tokens if corpus.continuous else _ended(tokens, end)
  return rows.causal(tokens, how.length, how.layout, pad, prompts)


def _ended(tokens: tokenizing.Tokens, end: int | None) -> tokenizing.Tokens:
  """Texts that all end in the token that ends them, where there is one."""
  if end is None:
    return tokens
  last = np.cumsum(tokens.lengths)
  lacking = (tokens.lengths == 0) | (tokens.ids[last - 1] != end)
  return tokenizing.Tokens(
    np.insert(tokens.ids, last[lacking], end), tokens.lengths + lacking
  )


def _joined(parts: list[tuple]) -> tuple:
  """Inputs and labels of several parts."""
  (inputs, labels), *others = parts
  for more, further in others:
    inputs = {k: np.concatenate([x, more[k]]) for k, x in inputs.items()}
    labels = np.concatenate([labels, further])
  return inputs, labels
