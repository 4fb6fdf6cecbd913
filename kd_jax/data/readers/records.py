"""Reads the splits of a prepared TFDS folder as NumPy arrays."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kd_jax import types
from kd_jax.data import checks
from kd_jax.data.readers import sizes

# Examples decoded at once: enough for speed, few enough for memory.
_CHUNK = 4096


def builder(path: pathlib.Path) -> Any:
  """A read-only TFDS builder of a prepared folder; needs no builder code."""
  import tensorflow_datasets as tfds

  return tfds.builder_from_directory(path)


def label_names(
  path: pathlib.Path, image_key: str, label_key: str
) -> tuple[str, ...]:
  """Names of the classes; () where the label is a plain number.

  Raises:
    ValueError: the data set has no such image or label.
  """
  features = builder(path).info.features
  for role, key in (('image_key', image_key), ('label_key', label_key)):
    if key not in features:
      raise types.unknown(role, key, features)
  return tuple(getattr(features[label_key], 'names', ()) or ())


def check_splits(path: pathlib.Path, names: Iterable[str]) -> None:
  """Refuses names of TFDS splits such as 'trian' or 'train[:x]'."""
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


def shape(
  path: pathlib.Path, image_key: str, size: sizes.Size = 0
) -> tuple[tuple, np.dtype]:
  """Shape (H, W, C) of the images, unknown sizes as None, and their type."""
  image = builder(path).info.features[image_key]
  checks.rank((1, *image.shape), f"'{path.parent.name}'")
  sides = sizes.pair(size) or image.shape[:2]
  kind = np.float32 if np.issubdtype(image.np_dtype, np.floating) else np.uint8
  return (*sides, image.shape[2]), np.dtype(kind)


def nbytes(
  path: pathlib.Path, split: str, image_key: str, size: sizes.Size = 0
) -> int:
  """Bytes of a split's images in memory; on disk, where sizes are unknown."""
  info = builder(path).info.splits[split]
  image_shape, dtype = shape(path, image_key, size)
  if None in image_shape:
    return info.num_bytes
  return info.num_examples * int(np.prod(image_shape)) * dtype.itemsize


def identity(path: pathlib.Path) -> str:
  """The description of a prepared folder, which identifies its content."""
  names = ('dataset_info.json', 'features.json')
  return ''.join((path / name).read_text() for name in names)


def read(
  path: pathlib.Path, split: str, keys: tuple[str, str], size: sizes.Size = 0
) -> tuple[np.ndarray, np.ndarray]:
  """All images [N, H, W, C] and labels [N, ...] of a split, in prepared order.

  Args:
    path: folder of a prepared data set.
    split: a TFDS split such as 'train' or 'train[:10%]'.
    keys: names of the image and of the label feature.
    size: to which images are scaled and cut.
  """
  rows, decode = source(path, split, keys, size)
  images = labels = None
  for start in range(0, len(rows), _CHUNK):
    chunk = range(start, min(start + _CHUNK, len(rows)))
    part, some = decode(rows.__getitems__(list(chunk)))
    part, some = sizes.stack(part, str(path)), np.asarray(some)
    if images is None:
      images = np.empty((len(rows), *part.shape[1:]), part.dtype)
      kind = np.int64 if some.ndim == 1 else some.dtype
      labels = np.empty((len(rows), *some.shape[1:]), kind)
    images[chunk.start : chunk.stop] = part
    labels[chunk.start : chunk.stop] = some
  if images is None:
    raise ValueError(f"split '{split}' of '{path}' is empty")
  return images, labels


def source(
  path: pathlib.Path, split: str, keys: tuple[str, str], size: sizes.Size = 0
) -> tuple[Any, Any]:
  """Random access to a split, and a decoder of its examples.

  Returns:
    A TFDS data source, and a function from a list of its examples to a list of
    images and a list of labels.
  """
  import tensorflow_datasets as tfds

  dataset = builder(path)
  image_key, label_key = keys
  image, label = (dataset.info.features[key] for key in keys)
  method = tfds.decode.DeserializeMethod
  if size or not _is_plain(image, label):
    rows = dataset.as_data_source(
      split, deserialize_method=method.DESERIALIZE_AND_DECODE
    )
    return rows, lambda examples: (
      [sizes.fit(example[image_key], size) for example in examples],
      [_label(example[label_key], size) for example in examples],
    )
  rows = dataset.as_data_source(split, deserialize_method=method.RAW_BYTES)
  return rows, lambda examples: _parse(examples, keys, image.shape)


def _is_plain(image: Any, label: Any) -> bool:
  """Whether images are raw bytes and labels numbers, as in our builders."""
  import tensorflow_datasets as tfds

  return (
    type(image) is tfds.features.Tensor
    and image.to_json_content().encoding == 'bytes'
    and image.np_dtype == np.uint8
    and None not in image.shape
    and isinstance(label, tfds.features.ClassLabel)
  )


def _label(value: Any, size: sizes.Size) -> Any:
  """A label: a number as it is, a map [H, W] or [H, W, 1] brought to `size`."""
  if np.ndim(value) < 2:
    return value
  if np.ndim(value) == 3 and value.shape[-1] == 1:
    value = value[..., 0]
  return sizes.fit_map(value, size)


def _parse(examples: Sequence, keys: tuple[str, str], shape: tuple):
  """Decodes plain examples, three times faster than TFDS does."""
  from tensorflow_datasets.proto import tf_example_pb2

  parsed = [
    tf_example_pb2.Example.FromString(record).features.feature
    for record in examples
  ]
  body = b''.join(p[keys[0]].bytes_list.value[0] for p in parsed)
  images = np.frombuffer(body, np.uint8).reshape(-1, *shape)
  return images, [p[keys[1]].int64_list.value[0] for p in parsed]
