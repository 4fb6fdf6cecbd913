"""What cannot be exported is refused in one line, and nothing is left."""

import errno
import sys

import pytest

from kd_jax import checkpoint, errors, export
from kd_jax.export import job, parity, source
from kd_jax.export.onnx import walk
from tests.helpers import networks_on_disk


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return networks_on_disk.run(tmp_path_factory.mktemp('run'))


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The folder of a network without a run."""
  folder = tmp_path_factory.mktemp('alone') / 'net'
  networks_on_disk.save(folder, name='cnn', hidden=8)
  return folder


def one_line(capsys) -> str:
  out, err = capsys.readouterr()
  assert out == ''
  assert err.startswith('error: ')
  assert err.count('\n') == 1
  return err


def refuse(capsys, *arguments) -> str:
  """The one line with which the command refuses; exit code 2."""
  assert export.main([str(a) for a in arguments]) == 2
  return one_line(capsys)


@pytest.mark.parametrize('change', ['LOGITS', 'AGREEMENT'])
def test_what_differs_is_not_kept(change, alone, tmp_path, monkeypatch, capsys):
  value = {'LOGITS': -1.0, 'AGREEMENT': 1.1}[change]
  monkeypatch.setattr(parity, change, value)
  monkeypatch.setattr(source, 'read_data', lambda *_: networks_on_disk.data())
  quantize = {'LOGITS': '', 'AGREEMENT': 'bf16'}[change]
  code = export.main(
    [
      str(alone),
      '--format',
      'safetensors',
      '--out',
      str(tmp_path / 'out'),
      '--quantize',
      quantize,
    ]
  )
  assert code == 1
  assert one_line(capsys)
  assert not list(tmp_path.iterdir())


def test_a_nan_differs():
  found = {'logits': {'largest': float('nan')}, 'agreement': float('nan')}
  found['examples'] = 3
  for exact in (True, False):
    with pytest.raises(errors.DifferentError):
      parity.judge(found, exact)


@pytest.mark.parametrize(
  'arguments, words',
  [
    (['--format', 'onxn'], ['onxn', "'onnx'", 'stablehlo']),
    (['--format', 'tflite'], ['tflite', 'onnx', 'safetensors', 'stablehlo']),
    (['--quantize', 'int4'], ['int4', 'int8', 'bf16']),
    (['--format', 'safetensors', '--quantize', 'int8'], ['int8', 'onnx']),
    (['--quantize', 'bf16'], ['onnx', 'bf16', 'stablehlo', 'safetensors']),
    (['--format', 'safetensors', '--names', 'tf'], ["'tf'", 'torch']),
    (['--format', 'stablehlo', '--names', 'torch'], ['safetensors']),
    (
      ['--format', 'safetensors', '--network', 'pupil'],
      ["'pupil'", 'student', 'teacher'],
    ),
    (['--format', 'safetensors', '--config', 'no.py'], ['no.py']),
  ],
)
def test_a_mistake_is_one_line(arguments, words, run, tmp_path, capsys):
  line = refuse(capsys, run, '--out', tmp_path / 'out', *arguments)
  assert all(word in line for word in words), line
  assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_are_refused(run, tmp_path, capsys):
  out = tmp_path / 'out'
  arguments = '--format', 'safetensors', '--out', out
  assert 'no folder' in refuse(capsys, tmp_path / 'nowhere', *arguments)
  assert 'no run' in refuse(capsys, tmp_path, *arguments)
  (tmp_path / 'begun').mkdir()
  checkpoint.write_json(tmp_path / 'begun/config.json', {})
  line = refuse(capsys, tmp_path / 'begun', *arguments)
  assert "no finished network 'student'" in line
  out.mkdir()
  assert 'exists' in refuse(capsys, run, *arguments)


def test_a_place_that_cannot_be_written_is_named(
  alone, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(source, 'read_data', lambda *_: networks_on_disk.data())
  (tmp_path / 'file').write_text('x')
  for out in (tmp_path / 'file/out', '/proc/out'):
    line = refuse(capsys, alone, '--format', 'safetensors', '--out', out)
    assert f'cannot write {out}: ' in line
  assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_network_without_data_asks_for_a_config(tmp_path, capsys):
  networks_on_disk.save(tmp_path / 'net', name='mlp', widths=[3])
  networks_on_disk.edit(tmp_path / 'net/network.json', data=None)
  line = refuse(
    capsys,
    tmp_path / 'net',
    '--format',
    'safetensors',
    '--out',
    tmp_path / 'out',
  )
  assert '--config FILE' in line


BUILD = {'name': 'cnn', 'classes': 6, 'hidden': 8, 'inputs': [4, 4, 1]}
# {case: (file of the run, its changes, words of the line)}
EDITS = {
  'no hash': ('networks/student/network.json', {'hash': None}, "lacks 'hash'"),
  'widths': (
    'networks/student/network.json',
    {'build': {**BUILD, 'hidden': 12}},
    'does not fit: params/conv1/bias is (2,) there and (3,) in the network',
  ),
  'inputs': (
    'networks/student/network.json',
    {'build': {**BUILD, 'inputs': [4, 4]}},
    'describes no network for inputs',
  ),
  'option': (
    'networks/student/network.json',
    {'build': {**BUILD, 'depth': 3}},
    "network 'cnn' has no option 'depth'",
  ),
  'no classes': (
    'networks/student/network.json',
    {'build': {'name': 'cnn'}},
    "'classes'",
  ),
  'scores': (
    'networks/student/network.json',
    {'validation': {'last': 'good'}},
    'is damaged: could not convert',
  ),
  'teacher': ('networks/teacher/network.json', {'hash': None}, "lacks 'hash'"),
  'terms': ('config.json', {'terms': [3]}, 'is damaged'),
  'weight': ('config.json', {'terms': {'a': {'weight': 'x'}}}, 'is damaged'),
  'train': ('config.json', {'train': 5}, 'is damaged'),
  'networks': ('config.json', {'networks': [1]}, 'is damaged'),
  'report': ('report.json', {'rows': None}, 'is damaged: rows is missing'),
  'row': ('report.json', {'rows': 5}, 'is damaged'),
  'students': ('report.json', {'students': [1]}, 'is damaged'),
  'list': ('report.json', [1], 'is damaged: it is [1]'),
  'text': ('config.json', 'x', 'is damaged: it holds a str and no object'),
  'empty': ('report.json', {}, 'is damaged'),
}


@pytest.mark.parametrize('case', EDITS)
def test_an_edited_file_is_named_in_one_line(
  case, tmp_path, capsys, monkeypatch
):
  """Before any work: nothing is written."""
  name, changes, words = EDITS[case]
  run = networks_on_disk.run(tmp_path / 'run')
  report = networks_on_disk.report('teacher', 'student')
  checkpoint.write_json(run / 'report.json', report)
  monkeypatch.setattr(
    source,
    'read_data',
    lambda student, _: source.fitting(student, networks_on_disk.data()),
  )
  monkeypatch.setattr(job, 'write', None)
  if isinstance(changes, dict) and changes:
    networks_on_disk.edit(run / name, **changes)
  else:
    checkpoint.write_json(run / name, changes)
  arguments = '--format', 'safetensors', '--out', tmp_path / 'out'
  line = refuse(capsys, run, *arguments)
  folder = run / name
  named = str(folder if folder.parent == run else folder.parent)
  assert words in line and named in line, line
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('text', ['', '{', '[1', '\xff'])
@pytest.mark.parametrize('name', ['report.json', 'config.json'])
def test_a_truncated_file_is_named_in_one_line(name, text, tmp_path, capsys):
  run = networks_on_disk.run(tmp_path / 'run')
  (run / name).write_bytes(text.encode('latin1'))
  line = refuse(
    capsys, run, '--format', 'safetensors', '--out', tmp_path / 'out'
  )
  assert f'{run / name} is damaged: ' in line


@pytest.mark.parametrize('format', ['safetensors', 'stablehlo', 'onnx'])
def test_a_full_disk_is_one_line_and_code_1(
  format, alone, tmp_path, capsys, monkeypatch
):
  if format == 'onnx':
    pytest.importorskip('onnxruntime')
  monkeypatch.setattr(source, 'read_data', lambda *_: networks_on_disk.data())

  def write(job, path):
    path.write_bytes(b'part')
    raise OSError(errno.ENOSPC, 'No space left on device')

  full = job.FORMATS[format]._replace(write=write)
  monkeypatch.setitem(job.FORMATS, format, full)
  out = tmp_path / 'out'
  words = [str(alone), '--format', format, '--out', str(out)]
  assert export.main(words) == 1
  assert one_line(capsys) == (
    f'error: cannot write {out}: No space left on device; free some space\n'
  )
  assert not list(tmp_path.iterdir())


def test_data_of_another_shape_is_refused(tmp_path):
  networks_on_disk.save(tmp_path / 'net', name='mlp', widths=[3])
  student = source.load(tmp_path / 'net')
  other = networks_on_disk.data()
  other = other._replace(classes=7)
  with pytest.raises(ValueError, match='6 classes.*of 7'):
    source.fitting(student, other)


def test_a_missing_package_names_its_command(
  run, tmp_path, capsys, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'onnx', None)
  line = refuse(capsys, run, '--format', 'onnx', '--out', tmp_path / 'out')
  assert 'pip install onnx onnxruntime' in line


def test_an_unknown_operation_is_one_line(alone, tmp_path, capsys, monkeypatch):
  pytest.importorskip('onnxruntime')
  monkeypatch.delitem(walk.WRITERS, 'conv_general_dilated')
  monkeypatch.setattr(source, 'read_data', lambda *_: networks_on_disk.data())
  line = refuse(capsys, alone, '--out', tmp_path / 'out')
  assert "operation 'conv_general_dilated'" in line
  assert not list(tmp_path.iterdir())
