"""Data sets of text by name: TEXTS, which `data.sources.SOURCES` holds too."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kd_jax import kinds, tasks, types
from kd_jax.data import splits
from kd_jax.data.readers import download, prepared, records
from kd_jax.data.text import corpora, examples, labelling, reading


def pydoc(*, more_test: float = 0.1, **common) -> splits.Data:
  """The manual inside of Python, `pydoc_data.topics`; nothing to download.

  Some 80 topics, 470 kB, which differ from version to version of Python, as the
  fingerprint tells. The last part of every topic tests, the part before
  validates.

  Args:
    more_test: the share of every topic that tests.
    **common: those of every data set of text.
  """
  import pydoc_data.topics

  topics = pydoc_data.topics.topics
  corpus = corpora.Corpus([topics[k] for k in sorted(topics)], continuous=True)
  return examples.make_data(
    'pydoc', corpus, None, more_test=more_test, **common
  )


def shakespeare(
  *,
  validation: float = 0.05,
  more_test: float = 0.05,
  raw_dir: str = '',
  **common,
) -> splits.Data:
  """All of "tiny Shakespeare", 1.1 million characters, by characters.

  Args:
    validation, more_test: the shares of the text that validate and test: the
      last 10 % are what nanoGPT validates on; half of them tests here.
    raw_dir: a folder with input.txt or input.txt.gz, or that holds it as
      'shakespeare'; '' is KD_JAX_RAW_DIR in the environment.
    **common: those of every data set of text.

  Source: A. Karpathy, char-rnn, 2015, data/tinyshakespeare/input.txt of
    https://github.com/karpathy/char-rnn.
  """
  files = _raw('shakespeare', [['input.txt'], ['input.txt.gz']], raw_dir)
  corpus = corpora.Corpus(reading.documents(files), continuous=True)
  usual = {'tokenizer': 'characters', 'layout': 'padded'}
  return examples.make_data(
    'shakespeare', corpus, None, validation=validation, more_test=more_test,
    **{**usual, **common},
  )  # fmt: skip


def sst2(*, raw_dir: str = '', **common) -> splits.Data:
  """SST-2: phrases and sentences of film reviews, negative or positive.

  67,349 phrases train; the 872 sentences of GLUE's validation set choose; the
  1,821 of the Treebank's own test set test (GLUE's has no labels).

  Args:
    raw_dir: a folder with train, validation and test, each .tsv or .tsv.gz with
      the columns label and sentence, or that holds it as 'sst2'; '' is
      KD_JAX_RAW_DIR in the environment.
    **common: those of every data set of text.

  Source: R. Socher et al., Recursive deep models for semantic compositionality
    over a sentiment treebank, 2013, https://aclanthology.org/D13-1170; A. Wang
    et al., GLUE, 2018, https://arxiv.org/abs/1804.07461.
  """
  return _labelled(
    'sst2', ('train', 'test', 'validation'), 'sentence',
    ('negative', 'positive'), raw_dir, **common,
  )  # fmt: skip


def ag_news(
  *, titled: bool = False, raw_dir: str = '', **common
) -> splits.Data:
  """AG News: four kinds of news. For research, not for commercial use.

  Args:
    titled: whether texts are titles and descriptions, of train_titled.tsv, and
      not descriptions alone, of train.tsv.
    raw_dir: a folder with those and test.tsv (label, title, description), each
      also as .gz, or that holds it as 'ag_news'; '' is KD_JAX_RAW_DIR in the
      environment.
    **common: those of every data set of text.

  Source: X. Zhang, J. Zhao, Y. LeCun, Character-level convolutional networks
    for text classification, 2015, https://arxiv.org/abs/1509.01626.
  """
  names = 'World', 'Sports', 'Business', 'Sci/Tech'
  if not titled:
    files = ('train', 'test', '')
    return _labelled('ag_news', files, 'description', names, raw_dir, **common)
  train, test = _tables('ag_news', ('train_titled', 'test'), raw_dir)
  task = tasks.make_task(common.get('task', tasks.CLASSIFICATION.name))

  def read_test() -> corpora.Corpus:
    columns = reading.table([test], ('label', 'title', 'description'))
    pairs = zip(columns['title'], columns['description'])
    labels = labelling.make_labels(columns['label'], task, names, str(test))[0]
    return corpora.Corpus([' '.join(pair) for pair in pairs], labels)

  return examples.make_data(
    'ag_news', _corpus([train], 'text', task, names), read_test, names=names,
    **{'tokenizer': 'wordpiece', 'task': task.name, **common},
  )  # fmt: skip


def multi30k(
  *,
  source: str = 'en',
  target: str = 'de',
  test_split: str = 'test_2016_flickr',
  raw_dir: str = '',
  **common,
) -> splits.Data:
  """Multi30k: 29,000 captions in English and German. For research alone.

  Args:
    source, target: 'en' or 'de'; `target` follows `source`: in a decoder of
      the objective 'translation', in the same row of 'causal'.
    test_split: test_2016_flickr, test_2017_flickr or test_2017_mscoco.
    raw_dir: a folder with train.en, train.de, val.en, .., each also as .gz, or
      that holds it as 'multi30k'; '' is KD_JAX_RAW_DIR in the environment.
    **common: those of every data set of text.

  Source: D. Elliott et al., Multi30K, 2016, https://arxiv.org/abs/1605.00459.
  """
  for language in (source, target):
    if language not in ('en', 'de'):
      raise types.unknown('language', language, ('en', 'de'))
  needed = [
    f'{split}.{language}'
    for split in ('train', 'val', test_split)
    for language in (source, target)
  ]
  choices = [needed, [f'{name}.gz' for name in needed]]
  files = _raw('multi30k', choices, raw_dir)

  def read(number: int) -> corpora.Corpus:
    texts, targets = (
      text.rstrip('\n').split('\n')
      for text in reading.documents(files[2 * number : 2 * number + 2])
    )
    return corpora.Corpus(texts, targets=targets)

  usual = {'tokenizer': 'bpe', 'layout': 'whole', 'objective': 'translation'}
  return examples.make_data(
    'multi30k', read(0), lambda: read(2), held=read(1), **{**usual, **common}
  )


def text(
  *,
  train: kinds.Folder,
  test: kinds.Local = '',
  validation_files: kinds.Local = '',
  text_key: str | Sequence[str] = 'text',
  label_key: str = 'label',
  target_key: str = '',
  names: Sequence[str] = (),
  classes: kinds.Whole = 0,
  more_test: float | None = None,
  **common,
) -> splits.Data:
  """Texts of files: plain ones, .jsonl, .tsv, .csv, .npy of ids, also as .gz.

  Plain files and arrays of ids are long texts of the task 'language': the last
  part of each tests where `test` is '', the part before it validates. Each row
  of the others is a text.

  Args:
    train, test, validation_files: a file, a folder, or a pattern such as
      'texts/*.txt', each; '' takes what tests or validates out of `train`.
    text_key: the column that is the text, or the two of a pair; lists of words
      for the task 'tagging'.
    label_key: the column that is the label, of tasks that have labels.
    target_key: of the task 'language', the column of what follows the text and
      alone counts: an answer; ''.
    names: of the classes, in order; () finds them.
    classes: how many there are; 0: as many as names, or as labels show.
    more_test: as of every data set; None is 0 with `test`, and 0.1 without.
    **common: those of every data set of text; the task is 'language' if not
      given.
  """
  task = tasks.make_task(common.pop('task', tasks.LANGUAGE.name))
  keys = [text_key] if isinstance(text_key, str) else list(text_key)
  if len(keys) not in (1, 2):
    raise ValueError(f'text_key {keys} of a text; legal: one column, or two')
  read = functools.partial(
    _corpus, text_key=keys, task=task, label_key=label_key,
    target_key=target_key,
  )  # fmt: skip
  files = {
    key: reading.find(value) if value else None
    for key, value in (
      ('train', train), ('test', test), ('validation', validation_files)
    )
  }  # fmt: skip
  label_names = tuple(names)
  if not label_names and task.name != tasks.LANGUAGE.name:
    label_names = _names(files['train'], task, label_key)
  read = functools.partial(read, names=label_names)
  if more_test is None:
    more_test = 0 if test else 0.1
  return examples.make_data(
    pathlib.Path(train).stem or 'text', read(files['train']),
    (lambda: read(files['test'])) if test else None,
    held=read(files['validation']) if validation_files else None,
    names=label_names, classes=classes, more_test=more_test,
    **{'task': task.name, **common},
  )  # fmt: skip


def tfds_text(
  *,
  dataset: str,
  text_key: str | Sequence[str] = 'text',
  label_key: str = 'label',
  classes: kinds.Whole = 0,
  train_split: str = 'train',
  test_split: str = 'test',
  validation_split: str = '',
  data_dir: str = '',
  **common,
) -> splits.Data:
  """Any TFDS data set of text that is prepared as array_record.

  Args:
    dataset: its name in TFDS, such as 'ag_news_subset' or 'glue/mrpc'.
    text_key: its feature that is the text, or the two of a pair; a sequence of
      words for the task 'tagging'.
    label_key: its feature that is the label, of tasks that have labels.
    classes: how many there are, where the label is not a TFDS ClassLabel.
    train_split, test_split, validation_split: TFDS splits; '' of the last holds
      out of the first.
    data_dir: TFDS data folder; '' is TFDS's own.
    **common: those of every data set of text; the task is 'classification' if
      not given.
  """
  task = tasks.make_task(common.pop('task', tasks.CLASSIFICATION.name))
  path = prepared.locate(dataset, data_dir)
  keys = [text_key] if isinstance(text_key, str) else list(text_key)
  features = records.builder(path).info.features
  labelled = task.name != tasks.LANGUAGE.name
  for role, key in [
    *(('text_key', key) for key in keys),
    *([('label_key', label_key)] if labelled else []),
  ]:
    if key not in features:
      raise types.unknown(role, key, features)
  records.check_splits(
    path, filter(None, (train_split, test_split, validation_split))
  )
  names = _names_of(features[label_key]) if labelled else ()

  def read(split: str) -> corpora.Corpus:
    rows = records.builder(path).as_data_source(split)
    rows = [rows[i] for i in range(len(rows))]
    texts = _paired([[_decoded(row[key]) for row in rows] for key in keys])
    if not labelled:
      return corpora.Corpus(texts)
    values = [row[label_key] for row in rows]
    where = f"'{dataset}' {split}"
    return corpora.Corpus(
      texts, labelling.make_labels(values, task, (), where)[0]
    )

  return examples.make_data(
    dataset, read(train_split), lambda: read(test_split),
    held=read(validation_split) if validation_split else None, names=names,
    classes=classes, data_dir=data_dir,
    **{'tokenizer': 'wordpiece', 'task': task.name, **common},
  )  # fmt: skip


def _names_of(feature: Any) -> tuple[str, ...]:
  """Names of the classes of a TFDS feature, or of what it is a sequence of."""
  feature = getattr(feature, 'feature', feature)
  return tuple(getattr(feature, 'names', ()) or ())


def _decoded(value: Any) -> Any:
  """A text of TFDS, bytes or str, or a list of them."""
  if isinstance(value, bytes):
    return value.decode(errors='replace')
  if isinstance(value, str):
    return value
  return [_decoded(x) for x in np.asarray(value).tolist()]


def _paired(columns: list[list]) -> list:
  """The texts of one column, or the pairs of two."""
  return columns[0] if len(columns) == 1 else list(zip(*columns))


def _labelled(name, stems, column, names, raw_dir, **common) -> splits.Data:
  """A data set of three tables with the columns label and `column`."""
  task = tasks.make_task(common.get('task', tasks.CLASSIFICATION.name))
  files = _tables(name, [stem for stem in stems if stem], raw_dir)
  read = lambda file: _corpus([file], [column], task, names)  # noqa: E731
  return examples.make_data(
    name, read(files[0]), lambda: read(files[1]),
    held=read(files[2]) if len(files) > 2 else None, names=names,
    **{'tokenizer': 'wordpiece', 'task': task.name, **common},
  )  # fmt: skip


def _corpus(
  files,
  text_key,
  task: tasks.Task,
  names=(),
  label_key: str = 'label',
  target_key: str = '',
) -> corpora.Corpus:
  """The texts of files, with their labels or targets."""
  language = task.name == tasks.LANGUAGE.name
  tables = [reading.kind(path) in reading.TABLES for path in files]
  if language and not any(tables):
    return corpora.Corpus(reading.documents(files), continuous=True)
  keys = [text_key] if isinstance(text_key, str) else list(text_key)
  further = [target_key] if language and target_key else []
  further = further if language else [label_key]
  columns = reading.table(files, [*keys, *further])
  texts = _paired([columns[key] for key in keys])
  if not texts:
    raise ValueError(f"'{files[0]}' holds no texts")
  if language:
    return corpora.Corpus(texts, targets=columns.get(target_key))
  where = f"'{files[0]}'"
  labels, _ = labelling.make_labels(columns[label_key], task, names, where)
  return corpora.Corpus(texts, labels)


def _names(files, task: tasks.Task, label_key: str) -> tuple[str, ...]:
  """The names of the classes in the training set, where they have names."""
  values = reading.table(files, [label_key])[label_key]
  return labelling.make_labels(values, task, (), f"'{files[0]}'")[1]


def _tables(name, stems, raw_dir) -> list[pathlib.Path]:
  """The tables of a data set."""
  choices = [[f'{s}{ending}' for s in stems] for ending in ('.tsv.gz', '.tsv')]
  return _raw(name, choices, raw_dir)


def _raw(name: str, choices, raw_dir: str) -> list[pathlib.Path]:
  """The files of a data set in the raw folder, in the order of `choices`."""
  paths = download.find(name, choices, raw_dir)
  if paths is None:
    needed = ' or '.join(', '.join(files) for files in choices)
    raise ValueError(
      f"'{name}' is not downloaded: put {needed} into a folder, and name it by "
      f"raw_dir, or by {download.VARIABLE} in the environment; 'pydoc' needs "
      'no files'
    )
  return list(paths.values())


TEXTS = {
  'pydoc': pydoc,
  'text': text,
  'tfds_text': tfds_text,
  'sst2': sst2,
  'ag_news': ag_news,
  'shakespeare': shakespeare,
  'multi30k': multi30k,
}
