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
from collections.abc import Iterable
from typing import Any

import numpy as np

from kd_jax import types

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
    part = _stack([example[image_key] for example in examples], path)
    if inputs is None:
      inputs = np.empty((len(source), *part.shape[1:]), part.dtype)
    inputs[rows.start : rows.stop] = part
    labels[rows.start : rows.stop] = [e[label_key] for e in examples]
  if inputs is None:
    raise ValueError(f"split '{split}' of '{path}' is empty")
  return inputs, labels


def _stack(images: list[np.ndarray], path: pathlib.Path) -> np.ndarray:
  shapes = {np.shape(image) for image in images}
  if len(shapes) > 1:
    one, other = sorted(shapes)[:2]
    raise ValueError(
      f"images of '{path}' differ in shape, such as {list(one)} and "
      f'{list(other)}; legal in memory: one shape'
    )
  return np.stack(images)


def builder(path: pathlib.Path) -> Any:
  """A read-only TFDS builder of a prepared folder; needs none of its code."""
  import tensorflow_datasets as tfds

  return tfds.builder_from_directory(path)


def locate(dataset: str, data_dir: str = '') -> pathlib.Path:
  """The folder of a data set that TFDS, or someone, has prepared.

  Args:
    dataset: 'name', 'name/config', 'name:version', or both.
    data_dir: TFDS data folder; '' is TFDS's own.

  Raises:
    ValueError: it is not there, or not as array_record; says how to prepare.
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
    found = read_only_builder.builder_from_files(dataset, data_dir=root)
  # TFDS raises what it likes for names that it cannot parse.
  except Exception as error:
    there = sorted(x.name for x in root.glob('[!.]*') if x.name != 'downloads')
    raise ValueError(
      f"TFDS data set '{dataset}' is not prepared in '{root}' (there: "
      f'{", ".join(there) or "none"}); {remedy}'
    ) from error
  if found.info.file_format.value != 'array_record':
    raise ValueError(
      f"TFDS data set '{dataset}' in '{root}' is "
      f'{found.info.file_format.value}; legal: array_record; {remedy}'
    )
  return pathlib.Path(found.data_path)


def label_names(
  path: pathlib.Path, image_key: str, label_key: str
) -> tuple[str, ...]:
  """Names of the classes, or () where the label is a mere number.

  Raises:
    ValueError: the data set has no such image or label.
  """
  features = builder(path).info.features
  for role, key in (('image_key', image_key), ('label_key', label_key)):
    if key not in features:
      raise types.unknown(role, key, features)
  return tuple(getattr(features[label_key], 'names', ()) or ())


def check_splits(path: pathlib.Path, names: Iterable[str]) -> None:
  """Refuses TFDS splits such as 'trian' or 'train[:x]'."""
  splits = builder(path).info.splits
  for name in names:
    base = name.split('[')[0]
    if base not in splits:
      raise types.unknown('split', base, splits)
    try:
      splits[name].num_examples  # noqa: B018
    except Exception as error:
      reason = str(error).splitlines()[-1].strip()
      raise ValueError(f"split '{name}': {reason}") from error
