"""TFDS without TensorFlow: prepare a builder once, read its splits as arrays.

Everything is array_record, which TFDS reads by random access with NumPy alone.
TFDS is imported inside the functions, so that `import kd_jax` is cheap.
"""

import contextlib
import io
import logging
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np

# Examples decoded at once: enough for speed, little enough for memory.
_CHUNK = 4096


def folder(data_dir: str = '') -> pathlib.Path:
  """The TFDS data folder: `data_dir`, or where TFDS itself keeps data."""
  if data_dir:
    return pathlib.Path(data_dir).expanduser()
  from tensorflow_datasets.core import constants

  return pathlib.Path(constants.DATA_DIR).expanduser()


def prepare(builder_class: Any, data_dir: str = '', **options) -> pathlib.Path:
  """The folder of a prepared data set; prepares it where it is missing.

  Several processes may come at once: each prepares into a folder of its own,
  and the first to rename wins. A process that is killed leaves a hidden folder
  `.preparing-*` behind and nothing else.

  Args:
    builder_class: a `tfds.core.GeneratorBasedBuilder`.
    data_dir: TFDS data folder; '' is TFDS's own.
    **options: passed to the builder.

  Returns:
    `data_dir/name/version`.

  Raises:
    ValueError: the data folder cannot be written.
  """
  root = folder(data_dir)
  final = root / builder_class.name / str(builder_class.VERSION)
  if final.exists():
    return final
  try:
    final.parent.mkdir(parents=True, exist_ok=True)
    own = tempfile.TemporaryDirectory(
      prefix='.preparing-', dir=root, ignore_cleanup_errors=True
    )
  except OSError as error:
    raise ValueError(
      f"cannot write the data folder '{root}' ({error.strerror}); set "
      'data_dir, or TFDS_DATA_DIR in the environment'
    ) from error
  with own as path:
    _publish(_build(builder_class, path, root / 'downloads', options), final)
  return final


def _build(builder_class, own, downloads, options) -> pathlib.Path:
  """Prepares into the folder `own`; the path of what was made."""
  import tensorflow_datasets as tfds

  tfds.display_progress_bar(sys.stderr.isatty())
  builder = builder_class(data_dir=own, file_format='array_record', **options)
  # What TFDS prints names the temporary folder.
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_dir=downloads)
  return pathlib.Path(builder.data_dir)


def _publish(made: pathlib.Path, final: pathlib.Path) -> None:
  """Renames `made` to `final`, unless another process was first."""
  try:
    made.rename(final)
    logging.getLogger(__name__).info('prepared %s', final)
  except OSError:
    if not final.exists():
      raise


def read(
  path: pathlib.Path, split: str, image_key: str, label_key: str
) -> tuple[np.ndarray, np.ndarray]:
  """All images [N, H, W, C] and labels [N] of a split, in prepared order.

  Args:
    path: folder of a prepared data set.
    split: a TFDS split such as 'train' or 'train[:10%]'.
    image_key: name of the image feature.
    label_key: name of the label feature.
  """
  source = builder(path).as_data_source(split)
  inputs, labels = None, np.empty(len(source), np.int64)
  for start in range(0, len(source), _CHUNK):
    rows = range(start, min(start + _CHUNK, len(source)))
    examples = source.__getitems__(list(rows))
    part = np.stack([example[image_key] for example in examples])
    if inputs is None:
      inputs = np.empty((len(source), *part.shape[1:]), part.dtype)
    inputs[rows.start : rows.stop] = part
    labels[rows.start : rows.stop] = [e[label_key] for e in examples]
  if inputs is None:
    raise ValueError(f"split '{split}' of '{path}' is empty")
  return inputs, labels


def builder(path: pathlib.Path) -> Any:
  """A read-only TFDS builder of a prepared folder; needs none of its code."""
  import tensorflow_datasets as tfds

  return tfds.builder_from_directory(path)
