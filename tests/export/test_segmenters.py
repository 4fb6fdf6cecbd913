"""Segmenters leave with logits or classes, in f32 and int8, and draw maps."""

import json

import jax
import numpy as np
import pytest

from kd_jax import export, models, network_files
from kd_jax.export import formats, parity, predict, stablehlo
from kd_jax.export.onnx import writer
from kd_jax.models import base
from tests.helpers import pixels

Image = pytest.importorskip('PIL.Image')
BUILD = dict(name='unet', classes=pixels.CLASSES, widths=[4, 4, 4, 4, 4])


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  """The folder of a U-Net that was never trained."""
  folder = tmp_path_factory.mktemp('network') / 'net'
  build = {**BUILD, 'inputs': [*pixels.SIZE, 3]}
  module = models.make_network(**BUILD)
  images = jax.ShapeDtypeStruct((1, *pixels.SIZE, 3), np.float32)
  variables = jax.jit(lambda key: module.init(key, images))(jax.random.key(3))
  network_files.save_network(folder, variables, {'build': build})
  return folder


def make(network, out, format='onnx', **options):
  return export.export(
    network, out, format, data=pixels.data(), seconds=0.0, **options
  )


def test_the_same_classes_in_every_format(tmp_path):
  """Logits at half the size become classes at the size of the image."""
  pytest.importorskip('onnxruntime')
  network, (images, _) = base.from_linen(pixels.Net()), pixels.split(3)
  images = images.astype(np.float32) / 255
  variables = jax.jit(network.init)(jax.random.key(0), images)
  work = formats.Job(
    network, variables, (*pixels.SIZE, 3), {}, '', 'jax', None,
    output=formats.CLASSES,
  )  # fmt: skip
  logits = base.make_forward(network)(variables, images)
  assert logits.shape[1:3] == (12, 16)
  wanted = formats.classes(logits, pixels.SIZE)
  assert len(np.unique(wanted)) > 1
  for format in (writer, stablehlo):
    format.write(work, tmp_path / 'model')
    got = format.make_run(work, tmp_path / 'model')(images)
    assert got.dtype == np.int32 and got.shape == (3, *pixels.SIZE)
    assert (got == wanted).mean() >= parity.CLASSES


@pytest.mark.slow
def test_a_card_says_what_int8_costs_and_maps_are_drawn(network, tmp_path):
  pytest.importorskip('onnxruntime')
  both = {'quantize': 'int8', 'output': 'classes'}
  reports = {
    'int8': make(network, tmp_path / 'int8', quantize='int8'),
    'both': make(network, tmp_path / 'both', **both),
  }
  for name, report in reports.items():
    assert ('logits' in report) == (name == 'int8')
    assert set(report['miou']) == {'exported', 'interval', 'jax'}
    assert report['tolerance'] == {'agreement': parity.PIXELS}
    card = (tmp_path / name / 'card.md').read_text()
    assert 'same top class of a pixel' in card and 'mean IoU in JAX' in card
  # Classes of the 8-bit file are those of its logits, which are not rounded.
  assert reports['both']['agreement'] == reports['int8']['agreement'] < 1
  assert reports['both']['miou'] == reports['int8']['miou']
  meta = json.loads((tmp_path / 'both/meta.json').read_text())
  assert meta['output'] == {
    'name': 'classes', 'shape': ['batch', *pixels.SIZE], 'dtype': 'int32'
  }  # fmt: skip
  assert meta['labels'] == [*pixels.NAMES]
  images, _ = pixels.split(1)
  Image.fromarray(images[0]).save(tmp_path / 'street.png')
  maps = []
  for name in reports:
    out = tmp_path / f'maps_{name}'
    (row,) = predict.predict(tmp_path / name, tmp_path / 'street.png', out=out)
    assert sum(share for _, share in row['classes']) == pytest.approx(1)
    maps.append(np.asarray(Image.open(out / 'street.png')))
  assert maps[0].shape == pixels.SIZE
  assert (maps[0] == maps[1]).mean() >= parity.CLASSES


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(output='maps'), "unknown --output 'maps'"),
    (
      dict(output='classes', format='safetensors'),
      "--output classes is not for 'safetensors', which holds weights; formats "
      'for it: onnx, stablehlo',
    ),
  ],
)
def test_a_mistake_is_one_line(options, message, network, tmp_path):
  with pytest.raises(ValueError, match=message):
    make(network, tmp_path / 'out', **options)
