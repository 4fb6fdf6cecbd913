"""Data sets by name: SOURCES is the one table, make_data the one door.

A validation set is held out of the training set unless told otherwise, the
same one in every process and at every `limit`. The test set is a function: it
is read when called, once, at the end.
"""

import functools
import numbers
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import kinds, tasks
from kd_jax.data import checks, labels, maps, noise, splits, stream, subset
from kd_jax.data.readers import prepared, records, sizes
from kd_jax.data.text import examples
from kd_jax.data.text import sources as texts

Split, Data = splits.Split, splits.Data

# What every data set takes; those that have no use for a folder ignore it.
COMMON = (
  'validation', 'split_seed', 'limit', 'mean', 'std', 'memory_limit',
  'raw_dir', 'data_dir', 'train_only', 'more_test', 'wrong_labels', 'labels',
  'task', 'ignore',
)  # fmt: skip
# What those may be that `checks` does not look at.
_KINDS = {
  'mean': Sequence[float],
  'std': Sequence[float],
  'raw_dir': kinds.Local,
  'data_dir': kinds.Local,
  'train_only': Sequence[int],
  'task': str,
  'ignore': int | None,
}


def make_data(name: str, **options) -> Data:
  """Reads the data set `name`, preparing it first where that is needed.

  Args:
    name: a key of SOURCES.
    **options: those of every data set, and those of the one named (see its
      maker). For every one:
      validation: fraction (float) or number (int) of training examples to
        hold out, every class in proportion; default 0.1; 0 holds out none.
      split_seed: which ones to hold out, to test on, to label, or wrongly.
      more_test: fraction or number of training examples that join the test
        set, every class in proportion; taken out before validation is.
      wrong_labels: fraction of the training examples that get a wrong label;
        validation and test keep the right ones (see `noise.wrong_labels`).
      labels: 'all', 'none', or the number or fraction of training examples that
        keep their label, every class in proportion; the others have none
        (see `labels.few`).
      limit: train on the first so many examples only (counted after holding
        out); 0 is all.
      train_only: classes; train on those of the examples alone, validate and
        test on all of them; () is all (see `subset.only`).
      mean, std: per channel, in place of the data set's.
      memory_limit: MB of images in memory; more are streamed; default 4096.
      task: a key of `tasks.TASKS`; default 'classification', or what the data
        set is made for.
      ignore: the label that does not count, such as 255, where the task has
        such labels; default none.
      raw_dir: folder of raw files; '' is KD_JAX_RAW_DIR in the environment.
      data_dir: TFDS data folder; '' is TFDS's own.
      Those of text also take the options of `text.examples.make_how`.

  Raises:
    ValueError: an unknown name or option, or data that is not as it must be.
  """
  maker = kinds.entry('data set', SOURCES, name)
  kinds.options(
    f"data set '{name}'",
    maker,
    options,
    further={
      **{option: _KINDS.get(option, Any) for option in COMMON},
      **(examples.OPTIONS if name in texts.TEXTS else {}),
    },
    unchecked=(
      'train',
      'test',
      'sequences',
      'palette',
      'pieces',
    ),  # `checks` looks at arrays
  )
  classes = options.pop('train_only', ())
  share = options.pop('wrong_labels', 0.0)
  known = options.pop('labels', labels.ALL)
  data = maker(**options)
  _check_validation(options.get('validation', 0), data)
  seed = options.get('split_seed', 0)
  # The labels as they come, wrong ones too, say which classes are left.
  data = subset.only(noise.wrong_labels(data, share, seed), classes)
  return labels.few(data, known, seed)


def _check_validation(validation: object, data: Data) -> None:
  """Refuses to hold out no examples by a fraction, or fewer than classes.

  A 1 or 2 is a slip for a fraction, and so few examples choose nothing.
  """
  if not isinstance(validation, numbers.Real) or not validation:
    return
  held, least, of = len(data.validation.labels), 1, ''
  if data.task == tasks.CLASSIFICATION.name:
    least, of = data.classes, f' of {data.classes} classes'
  if held < least:
    raise ValueError(
      f"validation={validation} of '{data.name}' holds out {held} examples{of}"
      f'; legal: 0 (none), or at least {least} examples, as a number or as a '
      'fraction in [0, 1)'
    )


def _digits(*, raw_dir: str = '', data_dir: str = '', **common) -> Data:
  """scikit-learn's 1,797 handwritten digits, 8x8x1; nothing is downloaded."""
  from kd_jax.data.readers import digits

  path = prepared.prepare(digits.KdDigits, data_dir)
  return _prepared('digits', path, **common)


def _mnist(*, raw_dir: str = '', data_dir: str = '', **common) -> Data:
  """MNIST, 28x28x1, from the idx files of `raw_dir`, else downloaded."""
  from kd_jax.data.readers import mnist

  path = prepared.prepare(mnist.KdMnist, data_dir, raw_dir=raw_dir)
  return _prepared('mnist', path, **common)


def _cifar10(*, raw_dir: str = '', data_dir: str = '', **common) -> Data:
  """CIFAR-10, 32x32x3, from an archive in `raw_dir`, else downloaded."""
  from kd_jax.data.readers import cifar

  path = prepared.prepare(cifar.KdCifar10, data_dir, raw_dir=raw_dir)
  return _prepared('cifar10', path, **{**cifar.NORMAL_10, **common})


def _cifar100(
  *,
  label_key: str = 'label',
  size: sizes.Size = 0,
  raw_dir: str = '',
  data_dir: str = '',
  **common,
) -> Data:
  """CIFAR-100, 32x32x3, from an archive in `raw_dir`, else downloaded.

  Args:
    label_key: 'label' for the 100 classes, 'coarse_label' for the 20 groups.
    size: side in pixels that images are scaled to; 0 leaves them at 32.
    raw_dir, data_dir, **common: those of every data set.
  """
  from kd_jax.data.readers import cifar

  path = prepared.prepare(cifar.KdCifar100, data_dir, raw_dir=raw_dir)
  options = {**cifar.NORMAL_100, **common}
  if label_key == 'coarse_label':
    options['label_names'] = tuple(cifar.GROUPS_100.split())
  return _prepared('cifar100', path, label_key=label_key, size=size, **options)


def _arrays(
  *,
  train: tuple,
  test: tuple | Callable[[], tuple],
  validation: tuple | float = 0.1,
  classes: int = 0,
  sequences: Sequence[int] | None = None,
  label_names: Sequence[str] = (),
  palette: Sequence[Sequence[int]] = (),
  vocabulary: kinds.Whole = 0,
  pieces: Callable[[Sequence[int]], list[str]] | None = None,
  bytes_per_token: float | None = None,
  memory_limit: float = 0,
  raw_dir: str = '',
  data_dir: str = '',
  **common,
) -> Data:
  """Arrays from Python, such as a notebook's own data.

  Args:
    train: images uint8 or float [N, H, W, C], or text, a dict of integers
      [N, L] ('input_ids', 'attention_mask', ..: `checks.TEXT`); and labels as
      the task has them: integers [N] or probabilities [N, K] of classification.
    test: likewise; or a function that returns them, called at the end.
    validation: likewise; or what to hold out of `train`, as for every set.
    classes: how many there are; 0 is as many as the training labels show.
    sequences: the film of each test example, i [N], where those are frames of
      films: then intervals rest on neighbors, drawn together.
    label_names: of the classes, in a report.
    palette: a color (red, green, blue) of each class, in a report.
    vocabulary: number of tokens of text; 0 is as many as the training text
      shows.
    pieces: indices of tokens -> the text of each, in a report.
    bytes_per_token: of the test set, for its bits a byte; None: not known.
    memory_limit, raw_dir, data_dir: not used.
    **common: those of every data set.
  """
  where = "'arrays'"
  train = checks.pair(train, f'{where} train')
  held = None
  if isinstance(validation, (tuple, list)):
    held, validation = checks.pair(validation, f'{where} validation'), 0
  if not callable(test):
    test = checks.pair(test, f'{where} test')
    # Its shape is looked at before the work, its contents after.
    if not isinstance(test[0], Mapping):
      checks.rank(np.shape(test[0]), f'{where} test')
  task = tasks.make_task(common.get('task', tasks.CLASSIFICATION.name))
  classes = checks.whole('classes', classes, where)
  if not classes and task is tasks.LANGUAGE:
    classes = vocabulary
  if not classes:
    shown = np.asarray(train[1])
    void = common.get('ignore')
    classes = task.classes(shown if void is None else shown[shown != void])
    if task is tasks.LANGUAGE:
      classes = max(classes, splits.shown_tokens(train[0]))
  if label_names and len(label_names) != classes:
    raise ValueError(
      f'{len(label_names)} label_names of {where}; legal: {classes}, one of '
      'each class'
    )
  if sequences is not None:
    if common.get('more_test'):
      raise ValueError(
        f'more_test of {where} with sequences would test on frames of other '
        'films; legal: 0'
      )
    size = len(sequences) if callable(test) else len(test[1])
    films = checks.sequences(sequences, size, where)
  data = splits.finish(
    'arrays', train, test if callable(test) else lambda: test, classes,
    held=held, validation=validation, label_names=tuple(label_names),
    vocabulary=vocabulary or (task is tasks.LANGUAGE and classes), **common,
  )  # fmt: skip
  return data._replace(
    pieces=pieces,
    bytes_per_token=bytes_per_token,
    palette=checks.palette(palette, classes, where),
    sequences=None if sequences is None else lambda: films,
  )


def _tfds(
  *,
  dataset: str,
  image_key: str = 'image',
  label_key: str = 'label',
  classes: int = 0,
  train_split: str = 'train',
  test_split: str = 'test',
  validation_split: str = '',
  size: sizes.Size = 0,
  raw_dir: str = '',
  data_dir: str = '',
  **common,
) -> Data:
  """Any TFDS data set of images that is prepared as array_record.

  Args:
    dataset: its name in TFDS, such as 'cifar10', 'name/config' or 'name:1.0.0'.
    image_key: its feature that is the image.
    label_key: its feature that is the label: a number, or, for the task
      'segmentation', an image of one channel.
    classes: how many there are, where the label is not a TFDS ClassLabel.
    train_split: TFDS split to train on, such as 'train' or 'train[:80%]'.
    test_split: TFDS split of the test set.
    validation_split: TFDS split; '' holds out of the training split.
    size: side in pixels, or (height, width), that images are scaled and cut
      to, their label maps too; 0 leaves them.
    raw_dir: not used.
    data_dir: TFDS data folder; '' is TFDS's own.
    **common: those of every data set.
  """
  path = prepared.locate(dataset, data_dir)
  return _prepared(
    dataset, path, image_key=image_key, label_key=label_key, classes=classes,
    names=(train_split, test_split, validation_split), size=size, **common,
  )  # fmt: skip


def _prepared(
  name: str,
  path: pathlib.Path,
  *,
  image_key: str = 'image',
  label_key: str = 'label',
  names: tuple[str, str, str] = ('train', 'test', ''),
  classes: int = 0,
  size: sizes.Size = 0,
  memory_limit: float = 4096,
  label_names: tuple[str, ...] = (),
  **common,
) -> Data:
  """Data from a prepared TFDS folder; names: train, test, validation split.

  Names of classes are those given, else the folder's.
  """
  stored = records.label_names(path, image_key, label_key)
  label_names = label_names or stored
  records.check_splits(path, filter(None, names))
  classes = checks.whole('classes', classes, name) or len(label_names)
  size = sizes.check_size(size, f"'{name}'")
  if not classes:
    raise ValueError(
      f"'{label_key}' of '{name}' does not say how many classes there are; "
      "give 'classes'"
    )
  train, test, validation = names
  largest = max(
    records.nbytes(path, split, image_key, size) for split in names if split
  )
  if largest > checks.limit(memory_limit, name):
    stream.require_grain()
    read = functools.partial(
      stream.open_split, path, keys=(image_key, label_key), classes=classes,
      size=size, task=common.get('task', tasks.CLASSIFICATION.name),
      ignore=common.get('ignore'),
    )  # fmt: skip
    identity = [records.identity(path), image_key, label_key, names, size]
    finish = functools.partial(stream.finish, identity=repr(identity))
  else:
    read = functools.partial(
      records.read, path, keys=(image_key, label_key), size=size
    )
    finish = splits.finish
  return finish(
    name, read(split=train), lambda: read(split=test), classes,
    held=read(split=validation) if validation else None,
    label_names=label_names, **common,
  )  # fmt: skip


SOURCES = {
  'digits': _digits,
  'mnist': _mnist,
  'cifar10': _cifar10,
  'cifar100': _cifar100,
  'arrays': _arrays,
  'tfds': _tfds,
  'scenes': maps.drawn,
  'camvid': maps.camvid,
  'folder': maps.folder,
  **texts.TEXTS,
}
