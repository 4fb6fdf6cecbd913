"""An exported folder is run on pictures; every mistake is one line."""

import json
import shutil

import numpy as np
import pytest

from kd_jax import export
from kd_jax.export import meta, parity, predict, source
from tests.helpers import networks_on_disk

Image = pytest.importorskip('PIL.Image')
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (3, 4, 4), np.uint8)


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  folder = tmp_path_factory.mktemp('alone') / 'net'
  networks_on_disk.save(folder, name='mlp', widths=[8])
  return folder


def make(network, out, format):
  data = networks_on_disk.data()._replace(
    label_names=('a', 'b', 'c', 'd', 'e', 'f')
  )
  export.export(network, out, format, data=data, examples=64, seconds=0.0)
  return out


@pytest.fixture(scope='module')
def exported(network, tmp_path_factory):
  return make(network, tmp_path_factory.mktemp('out') / 'out', 'safetensors')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  """Three gray pictures of the network's size."""
  folder = tmp_path_factory.mktemp('pictures')
  for name, pixels in zip('cab', PIXELS):
    Image.fromarray(pixels).save(folder / f'{name}.png')
  (folder / 'notes.txt').write_text('no picture')
  return folder


def test_every_format_gives_what_the_network_does(network, pictures, tmp_path):
  pytest.importorskip('onnxruntime')
  student, data = source.load(network), networks_on_disk.data()
  images = (PIXELS[..., None] / 255 - data.mean) / data.std
  forward = parity.make_forward(student.network, student.variables)
  logits = forward(images.astype(np.float32)).astype(np.float64)
  wanted = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  for format in ('onnx', 'stablehlo', 'safetensors'):
    folder = make(network, tmp_path / format, format)
    rows = predict.predict(folder, pictures, top=6)
    names = [row['of'].rpartition('/')[2] for row in rows]
    assert names == ['a.png', 'b.png', 'c.png']
    for row, share in zip(rows, wanted[[1, 2, 0]]):
      got = dict(row['classes'])
      assert list(got.values()) == sorted(got.values(), reverse=True)
      for k, name in enumerate('abcdef'):
        assert got[name] == pytest.approx(share[k], abs=1e-5)


def test_one_picture_is_one_line(exported, pictures, tmp_path, capsys):
  big = tmp_path / 'big.jpg'
  # Scaled and cut as data sets are; colors become gray.
  Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save(big)
  Image.fromarray(np.full((4, 4), 90, np.uint8)).save(tmp_path / 'small.png')
  lines = []
  for name in ('big.jpg', 'small.png'):
    words = [str(exported), str(tmp_path / name), '--top', '2']
    assert predict.main(words) == 0
    lines.append(capsys.readouterr().out)
  (name, classes), (_, again) = (x.split(': ') for x in lines)
  assert name == str(big) and classes == again
  assert classes.count('%') == 2 and classes.count('\n') == 1


def test_arrays_are_read(exported, pictures, tmp_path):
  np.save(tmp_path / 'x.npy', PIXELS[0][..., None])
  (row,) = predict.predict(exported, tmp_path / 'x.npy')
  (wanted,) = predict.predict(exported, pictures / 'c.png')
  assert row['classes'] == wanted['classes']


def refuse(capsys, *words) -> str:
  """The one line with which the command refuses; exit code 2."""
  assert predict.main([str(x) for x in words]) == 2
  out, err = capsys.readouterr()
  assert out == '' and err.startswith('error: ') and err.count('\n') == 1
  return err


def test_a_wrong_input_is_one_line_before_any_work(
  exported, pictures, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(predict, 'make_run', None)
  picture = pictures / 'a.png'
  (tmp_path / 'text.png').write_text('hello')
  np.save(tmp_path / 'x.npy', PIXELS[0])
  (tmp_path / 'y.npy').write_text('no array')
  Image.fromarray(PIXELS[0].astype(np.int32)).save(tmp_path / 'deep.tif')
  cases = [
    ((tmp_path / 'nowhere', picture), 'no folder'),
    ((pictures, picture), 'is not an export (it has no meta.json)'),
    ((exported, tmp_path / 'none.png'), 'no image'),
    ((exported, exported), 'holds no images'),
    ((exported, tmp_path / 'text.png'), 'text.png'),
    ((exported, tmp_path / 'x.npy'), 'uint8 [4, 4]; legal: uint8 [4, 4, 1]'),
    ((exported, tmp_path / 'y.npy'), 'no array'),
    ((exported, tmp_path / 'deep.tif'), 'more than 8 bits'),
    ((exported, tmp_path), 'text.png'),
    ((exported, picture, '--top', 0), '--top 0'),
  ]
  for words, wanted in cases:
    if words[1] == tmp_path:
      for name in ('deep.tif', 'x.npy', 'y.npy'):
        (tmp_path / name).unlink()
    assert wanted in refuse(capsys, *words)


@pytest.mark.parametrize(
  'changes, wanted',
  [
    ({'format': 'tflite'}, "unknown format 'tflite'"),
    ({'file': 'gone'}, 'it names gone, which is not there'),
    ({'labels': ['a']}, "'labels' are 1 of 6 classes"),
    ({'prepare': None}, "lacks 'prepare'"),
    ({'inputs': 3}, "'inputs' is no list"),
    ({'predicts': 'box'}, "'predicts' is 'box'"),
    ({'palette': [[1, 2]]}, 'is damaged'),
  ],
)
def test_an_edited_export_is_one_line(
  changes, wanted, exported, pictures, tmp_path, capsys
):
  folder = tmp_path / 'copy'
  shutil.copytree(exported, folder)
  networks_on_disk.edit(folder / meta.FILE, **changes)
  assert wanted in refuse(capsys, folder, pictures / 'a.png')


def test_a_damaged_file_is_one_line(network, pictures, tmp_path, capsys):
  pytest.importorskip('onnxruntime')
  for format in ('onnx', 'stablehlo', 'safetensors'):
    folder = make(network, tmp_path / format, format)
    name = json.loads((folder / meta.FILE).read_text())['file']
    (folder / name).write_bytes(b'no such file')
    line = refuse(capsys, folder, pictures / 'a.png')
    assert f'{folder / name} is damaged' in line


def test_a_segmenter_writes_a_map(
  exported, pictures, tmp_path, capsys, monkeypatch
):
  folder, out = tmp_path / 'copy', tmp_path / 'maps'
  shutil.copytree(exported, folder)
  networks_on_disk.edit(folder / meta.FILE, predicts='pixel')
  logits = np.full((1, 2, 2, 6), -9, np.float32)
  logits[0, :, 0, 3] = logits[0, :, 1, 5] = 9
  monkeypatch.setattr(predict, 'make_run', lambda *_: lambda images: logits)
  words = [folder, pictures / 'a.png', '--out', out]
  assert predict.main([*map(str, words)]) == 0
  line = capsys.readouterr().out
  assert line.endswith(f'a.png: d 50.0 %, f 50.0 % -> {out / "a.png"}\n')
  drawn = Image.open(out / 'a.png')
  assert np.asarray(drawn).tolist() == 4 * [[3, 3, 5, 5]]
  colors = json.loads((folder / meta.FILE).read_text())['palette']
  assert drawn.convert('RGB').getpixel((3, 0)) == tuple(colors[5])
  assert 'a.png exists; remove it' in refuse(capsys, *words)
  # A file that gives classes already.
  np.testing.assert_array_equal(
    predict.class_map(np.asarray(drawn), (4, 4)), drawn
  )
  twins = tmp_path / 'twins'
  shutil.copytree(pictures, twins)
  shutil.copyfile(twins / 'a.png', twins / 'a.bmp')
  line = refuse(capsys, folder, twins, '--out', tmp_path / 'new')
  assert '1 images would have the map of another' in line
  assert not (tmp_path / 'new').exists()
