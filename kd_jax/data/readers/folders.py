"""Reads a folder of images, and the label map of each, a PNG beside it.

A file's name, without its ending, says which map belongs to which image, and
which film it is a frame of.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kd_jax.data.readers import sizes

# Images that Pillow reads, as far as they are used for photographs.
ENDINGS = ('.png', '.webp', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')


class Layout(NamedTuple):
  """Where images and label maps lie.

  Attributes:
    images: folder of a split's images; '{split}' stands for its name. Folders
      within it are searched.
    labels: likewise, of the label maps.
    image_suffix: end of an image's name that its label map does not have.
    label_suffix: end of a label map's name; files without it are left alone.
    separator: what stands before its last occurrence in a name is the film
      that the image is a frame of; '' for images that stand alone.
  """

  images: str = 'images/{split}'
  labels: str = 'labels/{split}'
  image_suffix: str = ''
  label_suffix: str = ''
  separator: str = ''


class Pairs(NamedTuple):
  """Images and their label maps on disk, in the order of their names."""

  names: tuple[str, ...]
  images: tuple[pathlib.Path, ...]
  labels: tuple[pathlib.Path, ...]


def find(root: pathlib.Path, split: str, layout: Layout) -> Pairs:
  """The images of a split that have a label map, sorted by name.

  Raises:
    ValueError: a folder is missing or holds nothing, or an image has no map or
      a map no image.
  """
  images, labels = (
    _files(root / part.format(split=split), suffix)
    for part, suffix in (
      (layout.images, layout.image_suffix),
      (layout.labels, layout.label_suffix),
    )
  )
  lonely = sorted(images.keys() ^ labels.keys())
  if lonely:
    kind = 'label map' if lonely[0] in images else 'image'
    raise ValueError(
      f"'{lonely[0]}' of split '{split}' in '{root}' has no {kind} "
      f'({len(lonely)} such files)'
    )
  names = tuple(sorted(images))
  return Pairs(names, *(tuple(x[n] for n in names) for x in (images, labels)))


def _files(folder: pathlib.Path, suffix: str) -> dict[str, pathlib.Path]:
  """{name: file} of the pictures in a folder whose names end so."""
  if not folder.is_dir():
    raise ValueError(f"no folder '{folder}'")
  files = {}
  for path in folder.rglob('*'):
    if path.suffix.lower() in ENDINGS and path.stem.endswith(suffix):
      name = path.relative_to(folder).with_suffix('').as_posix()
      files[name.removesuffix(suffix)] = path
  if not files:
    ending = f" whose names end in '{suffix}'" if suffix else ''
    raise ValueError(f"'{folder}' holds no images{ending}")
  return files


def films(pairs: Pairs, separator: str) -> np.ndarray:
  """The film of each image, i32 [N], numbered in the order of their names."""
  names = [name.rpartition(separator)[0] for name in pairs.names]
  return np.unique(names, return_inverse=True)[1].astype(np.int32)


def read(
  pairs: Pairs, rows: Sequence[int], size: sizes.Size, where: str
) -> tuple[np.ndarray, np.ndarray]:
  """Images u8 [N, H, W, 3] and label maps i [N, H, W] of some rows.

  Args:
    pairs: from `find`.
    rows: which ones.
    size: to which they are scaled and cut.
    where: for errors.

  Raises:
    ValueError: a file is damaged or no label map, or sizes differ.
  """
  images, labels = [], []
  for row in rows:
    image = _image(pairs.images[row])
    label = _label_map(pairs.labels[row])
    if image.shape[:2] != label.shape:
      raise ValueError(
        f"'{pairs.names[row]}' of {where} is {list(image.shape[:2])} and its "
        f'label map {list(label.shape)}; legal: one size'
      )
    images.append(sizes.fit(image, size))
    labels.append(sizes.fit_map(label, size))
  return sizes.stack(images, where), np.asarray(labels)


def open_picture(path: pathlib.Path) -> Any:
  """The picture in a file, by Pillow.

  Raises:
    ValueError: one line that names the file, where it holds none.
  """
  try:
    from PIL import Image
  except ImportError as error:
    raise ValueError('files of images need Pillow: pip install pillow') from (
      error
    )
  try:
    picture = Image.open(path)
    picture.load()
  except Exception as error:  # a damaged file can raise anything
    raise ValueError(f"'{path}' is no image that Pillow reads") from error
  return picture


def _image(path: pathlib.Path) -> np.ndarray:
  return np.asarray(open_picture(path).convert('RGB'))


def _label_map(path: pathlib.Path) -> np.ndarray:
  """The numbers of a picture of one channel, gray or with a palette."""
  picture = open_picture(path)
  if picture.mode not in ('P', 'L', 'I', 'I;16', '1'):
    raise ValueError(
      f"'{path}' is a picture in {picture.mode}; legal: a label map, one "
      'channel of class numbers (gray, or with a palette)'
    )
  return np.asarray(picture).astype(np.int32, copy=False)


def palette(pairs: Pairs, classes: int) -> tuple[tuple[int, int, int], ...]:
  """The colors of the classes where the label maps have a palette, else ()."""
  picture = open_picture(pairs.labels[0])
  colors = picture.getpalette() if picture.mode == 'P' else None
  if colors is None or len(colors) < 3 * classes:
    return ()
  return tuple(tuple(colors[3 * i : 3 * i + 3]) for i in range(classes))


def shape(pairs: Pairs, size: sizes.Size) -> tuple[int, int]:
  """Height and width of the images; where no size is given, of the first."""
  return sizes.pair(size) or open_picture(pairs.images[0]).size[::-1]


def identity(pairs: Pairs) -> list:
  """Names and lengths of all files: which data they are, without reading."""
  files = (*pairs.images, *pairs.labels)
  return [pairs.names, [path.stat().st_size for path in files]]
