"""Prepares TFDS data sets once, and locates prepared ones.

All are in array_record files, which TFDS writes and reads without TensorFlow.
TFDS is imported inside the functions, which keeps `import kd_jax` cheap.
"""

import contextlib
import io
import logging
import pathlib
import sys
import tempfile
from typing import Any


def folder(data_dir: str = '') -> pathlib.Path:
  """The TFDS data folder: `data_dir`, or TFDS's default."""
  if data_dir:
    return pathlib.Path(data_dir).expanduser()
  from tensorflow_datasets.core import constants

  return pathlib.Path(constants.DATA_DIR).expanduser()


def prepare(builder_class: Any, data_dir: str = '', **options) -> pathlib.Path:
  """The folder of a prepared data set; prepares it where it is missing.

  Several processes may prepare at once: each writes a temporary folder, and
  the first to finish renames its folder. A process that is killed leaves only
  a hidden folder `.preparing-*`.

  Args:
    builder_class: a `tfds.core.GeneratorBasedBuilder`.
    data_dir: TFDS data folder; '' is TFDS's default.
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
    temporary = tempfile.TemporaryDirectory(
      prefix='.preparing-', dir=root, ignore_cleanup_errors=True
    )
  except OSError as error:
    raise ValueError(
      f"cannot write the data folder '{root}' ({error.strerror}); set "
      'data_dir, or TFDS_DATA_DIR in the environment'
    ) from error
  with temporary as path:
    _publish(_build(builder_class, path, root / 'downloads', options), final)
  return final


def _build(builder_class, parent, downloads, options) -> pathlib.Path:
  """Prepares a data set within `parent`; returns the data set's own folder."""
  import tensorflow_datasets as tfds

  tfds.display_progress_bar(sys.stderr.isatty())
  builder = builder_class(
    data_dir=parent, file_format='array_record', **options
  )
  # TFDS would print the name of the temporary folder.
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_dir=downloads)
  return pathlib.Path(builder.data_dir)


def _publish(prepared: pathlib.Path, final: pathlib.Path) -> None:
  """Renames `prepared` to `final`, unless another process was first."""
  try:
    prepared.rename(final)
    logging.getLogger(__name__).info('prepared %s', final)
  except OSError:
    if not final.exists():
      raise


def locate(dataset: str, data_dir: str = '') -> pathlib.Path:
  """The folder of a data set that was prepared already.

  Args:
    dataset: 'name', 'name/config', 'name:version' or 'name/config:version'.
    data_dir: TFDS data folder; '' is TFDS's default.

  Raises:
    ValueError: it is missing, or not in array_record files; the message says
      how to prepare it.
  """
  from tensorflow_datasets.core import read_only_builder

  root = folder(data_dir)
  remedy = (
    'prepare it with: python -c "import tensorflow_datasets as tfds; '
    f"tfds.builder('{dataset}', data_dir='{root}', "
    "file_format='array_record').download_and_prepare()\" (most builders of "
    'TFDS need tensorflow for this)'
  )
  try:
    builder = read_only_builder.builder_from_files(dataset, data_dir=root)
  # TFDS raises errors of many types for names that it cannot parse.
  except Exception as error:
    there = sorted(x.name for x in root.glob('[!.]*') if x.name != 'downloads')
    raise ValueError(
      f"TFDS data set '{dataset}' is not prepared in '{root}' (there: "
      f'{", ".join(there) or "none"}); {remedy}'
    ) from error
  if builder.info.file_format.value != 'array_record':
    raise ValueError(
      f"TFDS data set '{dataset}' in '{root}' is "
      f'{builder.info.file_format.value}; legal: array_record; {remedy}'
    )
  return pathlib.Path(builder.data_path)
