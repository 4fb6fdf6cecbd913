"""From a run or a network to a folder that was checked."""

import json
import os
import re
import stat
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export as jax_export
from safetensors import numpy as safetensors

from kd_jax import export, network_files
from kd_jax.export import formats, job, parity, source, stablehlo
from kd_jax.models import base, torch_weights
from tests.helpers import networks_on_disk

FILES = {'card.md', 'meta.json', 'parity.json'}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return networks_on_disk.run(tmp_path_factory.mktemp('run'))


def make(folder, out, format='safetensors', **options):
  """Exports with the smallest effort; what parity.json holds."""
  options = {'data': networks_on_disk.data(), 'seconds': 0.0, **options}
  return export.export(folder, out, format, **options)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The folder of a network without a run."""
  folder = tmp_path_factory.mktemp('alone') / 'net'
  networks_on_disk.save(folder, name='cnn', hidden=8)
  return folder


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
  """The folder of one export."""
  out = tmp_path_factory.mktemp('exported') / 'out'
  make(run, out, license='MIT')
  return out


CASES = [
  ('onnx', ''),
  ('onnx', 'int8'),
  ('stablehlo', ''),
  ('stablehlo', 'bf16'),
  ('safetensors', ''),
  ('safetensors', 'bf16'),
]


@pytest.mark.parametrize('format, quantize', CASES)
def test_a_network_is_written_and_runs(format, quantize, alone, tmp_path):
  if format == 'onnx':
    pytest.importorskip('onnxruntime')
  out = tmp_path / 'deep' / 'out'
  found = make(alone, out, format, quantize=quantize)
  file = job.FORMATS[format].file
  assert {p.name for p in out.iterdir()} == {file, *FILES}
  assert [p.name for p in out.parent.iterdir()] == ['out']
  assert json.loads((out / 'parity.json').read_text()) == found
  assert found['examples'] == 301
  assert found['bytes'] == (out / file).stat().st_size
  assert found['accuracy']['exported'] == pytest.approx(
    found['accuracy']['jax'], abs=0 if not quantize else 0.02
  )
  if quantize:
    assert found['tolerance'] == {'agreement': 0.99}
    assert found['logits']['largest'] > 1e-4  # else nothing was quantized
  else:
    assert found['tolerance'] == {'logits': 1e-4}
    assert found['logits']['largest'] <= 1e-5
  assert found['latency']['teachers'] == {}


def test_all_files_have_the_mode_that_the_user_asks_for(alone, tmp_path):
  before = os.umask(0o027)
  try:
    make(alone, tmp_path / 'out', 'safetensors')
  finally:
    os.umask(before)
  modes = {
    path.name: path.stat().st_mode for path in (tmp_path / 'out').iterdir()
  }
  assert {stat.S_IMODE(mode) for mode in modes.values()} == {0o640}, modes


def test_times_are_taken_beside_jax_and_the_teacher(exported):
  times = json.loads((exported / 'parity.json').read_text())['latency']
  assert set(times['teachers']) == {'teacher'}
  for one in (times['exported'], times['jax'], times['teachers']['teacher']):
    assert set(one) == {'1', '64'}


def test_meta_says_how_to_prepare(exported):
  meta = json.loads((exported / 'meta.json').read_text())
  data = networks_on_disk.data()
  assert meta['inputs'] == [
    {
      'name': 'images',
      'shape': ['batch', 4, 4, 1],
      'dtype': 'float32',
      'layout': 'NHWC',
    }
  ]
  assert meta['prepare'] == {
    'size': [4, 4],
    'fit': 'cover, center',
    'channels': 1,
    'pixels': 'uint8',
    'scale': 255.0,
    'formula': '(pixels / 255 - mean) / std',
    'mean': list(data.mean),
    'std': list(data.std),
  }
  assert meta['output'] == {
    'name': 'logits',
    'shape': ['batch', 6],
    'dtype': 'float32',
  }
  assert meta['predicts'] == 'image'
  assert meta['labels'] == [*'012345']
  assert len({*map(tuple, meta['palette'])}) == 6


def test_card_has_what_one_asks_of_a_student(run, exported):
  card = (exported / 'card.md').read_text()
  for folder in ('student', 'teacher'):
    _, spec = network_files.load_network(run / 'networks' / folder)
    assert spec['hash'] in card
  for words in (
    'license: MIT',
    '| soft | kd | 0.9 | temperature=4.0 |',
    '| seed | 0 |',
    'same top class',
    'adam',
    'Differences are relative to the largest logit.',
    'Times are medians of repeated calls, in brackets the middle half',
    'on the machine that wrote this file',
  ):
    assert words in card
  # A median, and in brackets its quartiles.
  number = r'[\d.e-]+'
  times = rf'{number} \({number} to {number}\)'
  assert re.search(rf'\| exported file \| {times} \| {times} \|', card)
  assert 'unsigned' not in card  # that is said of int8 alone


def test_the_printed_line_says_what_was_measured_and_how(
  alone, tmp_path, monkeypatch, capsys
):
  pytest.importorskip('onnxruntime')
  monkeypatch.setattr(source, 'read_data', lambda *_: networks_on_disk.data())
  out = tmp_path / 'out'
  words = [str(alone), '--quantize', 'int8', '--out', str(out)]
  assert export.main(words) == 0
  line, err = capsys.readouterr()
  assert line.count('\n') == 1 and not err
  assert re.search(
    r'in onnxruntime [\d.]+ with default options, on 301 test images, logits '
    r'differ by at most \S+ relative to the largest logit, same top class',
    line,
  )
  meta = json.loads((out / 'meta.json').read_text())
  assert meta['runtime'] == 'onnxruntime' and 'session' not in meta
  card = (out / 'card.md').read_text()
  assert re.search(r'\| ran in \| onnxruntime [\d.]+, default options \|', card)
  assert '8-bit numbers in the file are unsigned' in card


def test_torch_names_are_those_of_torch_weights(alone, tmp_path):
  make(alone, tmp_path / 'out', names='torch')
  found = safetensors.load_file(tmp_path / 'out/model.safetensors')
  variables, _ = network_files.load_network(alone)
  wanted = torch_weights.state_dict(variables, 'cnn')
  assert found.keys() == wanted.keys()
  for name, array in wanted.items():
    np.testing.assert_array_equal(found[name], array)


def test_fast_forms_of_the_cpu_go_to_every_platform(tmp_path):
  """platform_dependent convolutions keep a branch for each."""
  network = base.from_linen(networks_on_disk.Shuffle())
  images = np.random.default_rng(0).normal(size=(3, 8, 6, 4)).astype('f4')
  variables = network.init(jax.random.key(0), images)
  work = formats.Job(network, variables, (8, 6, 4), {}, '', 'jax', None)
  stablehlo.write(work, tmp_path / 'model')
  wanted = parity.make_forward(network, variables)(images)
  read = jax_export.deserialize(bytearray((tmp_path / 'model').read_bytes()))
  assert set(read.platforms) == {'cpu', 'cuda', 'tpu'}
  assert str(read.in_avals[0].shape[0]) == 'batch'
  got = stablehlo.make_run(work, tmp_path / 'model')(images)
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_of_several_seeds_the_best_on_validation(tmp_path):
  networks_on_disk.run(tmp_path, seeds=3)
  assert source.load(tmp_path).folder.parts[-3] == 'seed_2'
  teacher = source.load(tmp_path, 'teacher')
  assert teacher.folder.parts[-3:] == ('seed_0', 'networks', 'teacher')
  assert source.teachers(teacher) == {}
  # Of a score of which less is better.
  assert source._finished(tmp_path, 'student', -1).parts[-3] == 'seed_0'


def test_a_reused_classifier_is_exported(tmp_path):
  pytest.importorskip('onnxruntime')
  told = {'name': 'simkd', 'layers': [['features', 'features']]}
  networks_on_disk.save(tmp_path / 'net', name='mlp', widths=[8], reuses=told)
  found = make(tmp_path / 'net', tmp_path / 'out', 'onnx')
  assert found['logits']['largest'] <= 1e-5


def test_a_student_trained_for_int8_keeps_its_ranges(tmp_path):
  pytest.importorskip('onnxruntime')
  import onnx

  _, variables = networks_on_disk.save(
    tmp_path / 'net', name='cnn', hidden=8, quantize='int8'
  )
  found = make(tmp_path / 'net', tmp_path / 'out', 'onnx', quantize='int8')
  assert found['agreement'] >= 0.99
  graph = onnx.load(tmp_path / 'out/model.onnx').graph
  held = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
  scales = {
    float(held[n.input[1]]) for n in graph.node if n.op_type == 'QuantizeLinear'
  }
  for layer in variables['ranges'].values():
    wanted = (layer['high'] - layer['low']) / 255
    assert min(abs(s / wanted - 1) for s in scales) < 1e-5


def test_without_int8_the_file_rounds_as_the_student_did(tmp_path):
  onnx = pytest.importorskip('onnx')
  networks_on_disk.save(
    tmp_path / 'net', name='mlp', widths=[8], quantize='int8'
  )
  found = make(tmp_path / 'net', tmp_path / 'out', 'onnx')
  assert found['agreement'] >= 0.99
  nodes = onnx.load(tmp_path / 'out/model.onnx').graph.node
  assert sum(n.op_type == 'Round' for n in nodes) == 2


def test_importing_costs_no_onnx():
  code = (
    'import sys; from kd_jax.export import job; sys.exit(str({"onnx", '
    '"onnxruntime", "tensorflow"} & set(sys.modules) or 0))'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False
  )
  assert done.stderr.strip() in ('', '0'), done.stderr
