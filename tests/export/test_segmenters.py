"""Segmenters leave with logits or classes, in f32 and int8, and draw maps."""

import json

import jax
import numpy as np
import pytest

from kd_jax import export
from kd_jax.export import formats, job, parity, predict, source, stablehlo
from kd_jax.export.onnx import writer
from kd_jax.models import base
from tests.helpers import pixels

Image = pytest.importorskip('PIL.Image')


@pytest.fixture
def student(tmp_path, monkeypatch):
  """A small network that was never trained, as if it were of the zoo."""
  network = base.from_linen(pixels.Net())
  images = jax.ShapeDtypeStruct((1, *pixels.SIZE, 3), np.float32)
  variables = jax.jit(lambda key: network.init(key, images))(jax.random.key(0))
  build = {'name': 'net', 'classes': pixels.CLASSES}
  spec = {'build': build | {'inputs': [*pixels.SIZE, 3]}, 'hash': 'x'}
  monkeypatch.setattr(source, 'plain', lambda student: student)
  return source.Student(tmp_path, network, variables, spec, None, {}, {})


def make(student, out, quantize='', output='logits'):
  """Exports it as ONNX; what parity.json holds."""
  out.mkdir()
  return job.write(
    out,
    'onnx',
    job.choose('onnx', quantize, 'jax', output),
    student,
    pixels.data(),
    quantize=quantize,
    names='jax',
    output=output,
    license='',
    examples=9,
    seconds=0.0,
  )


def test_the_same_classes_in_every_format(student, tmp_path):
  """Logits at half the size become classes at the size of the image."""
  pytest.importorskip('onnxruntime')
  network, variables = student.network, student.variables
  images = pixels.split(3)[0].astype(np.float32) / 255
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


def test_a_card_says_what_int8_costs_and_maps_are_drawn(student, tmp_path):
  pytest.importorskip('onnxruntime')
  reports = {
    'int8': make(student, tmp_path / 'int8', 'int8'),
    'both': make(student, tmp_path / 'both', 'int8', 'classes'),
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
def test_a_mistake_is_one_line(options, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    export.export(tmp_path / 'net', tmp_path / 'out', **options)
