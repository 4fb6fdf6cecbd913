"""PyTorch weights: there and back exactly, and what is refused."""

import errno
import os
import pathlib
import pickle
import stat
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from kd_jax import checkpoint, models, network_files
from kd_jax.models import torch_weights
from kd_jax.models.torch_weights import __main__ as command
from tests.helpers import networks_on_disk

KEY = jax.random.key(0)


def _variables(name, classes=3, inputs=None, **options):
  network = models.make_network(name, classes, **options)
  shape = (1, *(inputs or models.example_inputs(name)))
  shapes = jax.eval_shape(
    network.init, KEY, jax.ShapeDtypeStruct(shape, jnp.float32)
  )
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes
  )


def _equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize(
  'name, given',
  [
    ('resnet8', {}),
    ('wrn_16_1', {}),
    ('cnn_teacher', {'inputs': (8, 12, 3)}),
    ('cnn', {'inputs': (8, 8, 1), 'hidden': 12}),
    ('mlp', {'inputs': (4, 4, 1), 'widths': (6, 5)}),
    ('vit_tiny', {'inputs': (8, 8, 3), 'patch': 4, 'distilled': True}),
  ],
)
def test_round_trip_through_a_file_is_exact(name, given, tmp_path):
  variables = _variables(name, **given)
  file = tmp_path / 'new' / 'weights.safetensors'
  torch_weights.save(file, variables, name)
  _equal(torch_weights.load(file, name, **given), variables)
  state = safetensors.load_file(file)
  loaded = torch_weights.load(state, name, **given)
  _equal(torch_weights.state_dict(loaded, name), state)


def test_a_dense_layer_after_flattening_reads_channels_first():
  variables = _variables('cnn_student', inputs=(8, 8, 1))
  state = torch_weights.state_dict(variables, 'cnn_student')
  assert set(state) == {
    f'{layer}.{kind}'
    for kind in ('weight', 'bias')
    for layer in ('features.0', 'features.3', 'classifier.0', 'classifier.2')
  }
  image = np.random.default_rng(1).standard_normal((2, 2, 32))
  ours = image.reshape(-1) @ variables['params']['hidden1']['kernel']
  theirs = state['classifier.0.weight'] @ image.transpose(2, 0, 1).reshape(-1)
  np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_convolutions_and_dense_layers_are_turned():
  variables = _variables('resnet8')
  state = torch_weights.state_dict(variables, 'resnet8')
  kernel = variables['params']['layer2_0']['downsample_0']['kernel']
  ours, theirs = kernel[0, 0, 5, 7], state['layer2.0.downsample.0.weight']
  assert theirs.shape == (32, 16, 1, 1) and theirs[7, 5, 0, 0] == ours
  assert state['fc.weight'].shape == (3, 64)
  assert state['bn1.num_batches_tracked'].dtype == np.int64
  np.testing.assert_array_equal(
    state['bn1.running_var'], variables['batch_stats']['bn1']['var']
  )


def test_a_wrapped_half_precision_state_dict_loads():
  variables = _variables('resnet8')
  state = torch_weights.state_dict(variables, 'resnet8')
  half = {f'module.{k}': x.astype(np.float16) for k, x in state.items()}
  loaded = torch_weights.load(half, 'resnet8')
  assert {x.dtype for x in jax.tree.leaves(loaded)} == {np.dtype('float32')}
  rounded = jax.tree.map(lambda x: x.astype('f2').astype('f4'), variables)
  _equal(loaded, rounded)


def test_what_does_not_fit_is_listed_in_one_line():
  state = torch_weights.state_dict(_variables('resnet8'), 'resnet8')
  del state['layer1.0.bn1.weight']
  state['extra.bias'] = np.zeros(2)
  state['conv1.weight'] = np.zeros((16, 1, 3, 3))
  with pytest.raises(ValueError) as e:
    torch_weights.load(state, 'resnet8')
  assert str(e.value) == (
    "weights do not fit 'resnet8': missing: layer1.0.bn1.weight; unexpected: "
    'extra.bias; misshapen: conv1.weight [16, 1, 3, 3] for [16, 3, 3, 3]'
  )
  with pytest.raises(ValueError, match=r'fc.weight \[3, 64\] for \[4, 64\]'):
    torch_weights.load(state, 'resnet8', classes=4)
  with pytest.raises(ValueError, match=r'missing: .*, \.\.\. \(47 in all\)'):
    torch_weights.load({}, 'resnet8')
  with pytest.raises(ValueError, match="did you mean 'resnet8'"):
    torch_weights.load(state, 'resnet9')


def test_files_that_are_none_are_refused_in_one_line(tmp_path):
  with pytest.raises(ValueError, match='no weights at'):
    torch_weights.load(tmp_path / 'none.pth', 'resnet8')
  bad = tmp_path / 'bad.safetensors'
  bad.write_bytes(b'nonsense')
  with pytest.raises(ValueError, match='not a safetensors file'):
    torch_weights.load(bad, 'resnet8')


def test_without_torch_a_pth_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  file = tmp_path / 'x.pth'
  file.write_bytes(b'')
  with pytest.raises(ValueError, match=r'pip install torch==2\.13\.0'):
    torch_weights.load(file, 'resnet8')


def test_pth_files_load_and_pickles_do_not(tmp_path):
  torch = pytest.importorskip('torch')
  variables = _variables('resnet8')
  state = {
    k: torch.tensor(x)
    for k, x in torch_weights.state_dict(variables, 'resnet8').items()
  }
  file = tmp_path / 'ckpt.pth'
  for content in (
    state,
    {'epoch': 240, 'model': state, 'best_acc': np.float64(79.4)},
  ):
    torch.save(content, file)
    _equal(torch_weights.load(file, 'resnet8'), variables)
  torch.save({'epoch': 240, 'accuracy': 79.4}, file)
  with pytest.raises(ValueError, match='holds no state dict; found dict epoch'):
    torch_weights.load(file, 'resnet8')


class Code:
  """What a pickle would run."""

  def __reduce__(self):
    return print, ('run',)


def dangerous(torch, file, kind: str) -> str:
  """Writes a file that holds more than tensors; what the line says of it."""
  content = {'model': {'a': torch.zeros(2)}, 'run': Code()}
  if kind == 'zip':
    torch.save(content, file)
  elif kind == 'legacy':
    torch.save(content, file, _use_new_zipfile_serialization=False)
  elif kind == 'plain':
    file.write_bytes(pickle.dumps(content['run']))
    return 'not a checkpoint of tensors alone'
  else:
    file.write_bytes(b'nonsense')
    return 'not a checkpoint of tensors alone'
  return 'it holds print, which is not a tensor'


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'plain', 'nonsense'])
def test_pickles_with_code_are_one_line_of_ours(kind, tmp_path, capsys):
  """PyTorch's text, which says how to run the code, and its warning do not
  follow."""
  torch = pytest.importorskip('torch')
  file = tmp_path / 'teacher.pth'
  words = dangerous(torch, file, kind)
  arguments = ['--model', 'resnet8', '--out', str(tmp_path / 'out')]
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    assert command.main([str(file), *arguments]) == 2
  out, err = capsys.readouterr()
  assert not out and err.count('\n') == 1
  assert err.startswith(f'error: {file} does not load with weights_only=True')
  assert words in err
  assert 'False' not in err and 'trust' not in err and 'GLOBAL' not in err
  assert [path.name for path in tmp_path.iterdir()] == ['teacher.pth']


def test_the_command_goes_both_ways(tmp_path, capsys):
  variables = _variables('mlp', 4, (2, 2, 1), widths=(6,))
  source, back = tmp_path / 'a.safetensors', tmp_path / 'b.safetensors'
  torch_weights.save(source, variables, 'mlp')
  folder = tmp_path / 'networks' / 'teacher'
  code = command.main(
    [
      str(source),
      '--model',
      'mlp',
      '--out',
      str(folder),
      '--inputs',
      '2',
      '2',
      '1',
      '--option',
      'widths=[6]',
    ]
  )
  assert code == 0
  assert 'mlp, 4 classes, 58 parameters' in capsys.readouterr().out
  found, spec = network_files.load_network(folder)
  _equal(found, variables)
  assert spec['build'] == {
    'name': 'mlp',
    'classes': 4,
    'widths': [6],
    'inputs': [2, 2, 1],
  }
  assert command.main([str(folder), '--out', str(back)]) == 0
  _equal(safetensors.load_file(back), safetensors.load_file(source))


@pytest.mark.parametrize(
  'given, message',
  [
    (['--out', 'x'], '--model is needed to read weights; known: bert'),
    (
      ['--out', 'x', '--model', 'resnet9'],
      "unknown network 'resnet9'; did you",
    ),
    (['--out', 'x', '--model', 'resnet8'], 'no weights at'),
    (['--out', 'x', '--option', 'patch'], "KEY=VALUE; got 'patch'"),
  ],
)
def test_mistakes_on_the_command_line(given, message, tmp_path, capsys):
  assert command.main([str(tmp_path / 'none.pth'), *given]) == 2
  error = capsys.readouterr().err
  assert message in error and error.count('\n') == 1


def network(folder, **options):
  """The folder of an untrained MLP."""
  networks_on_disk.save(folder, name='mlp', widths=[3], **options)
  return folder


def line_of(capsys, arguments, code: int = 2) -> str:
  """The one line with which the command refuses."""
  assert command.main([str(a) for a in arguments]) == code
  out, err = capsys.readouterr()
  assert not out and err.startswith('error: ') and err.count('\n') == 1, err
  return err


def test_nothing_that_is_there_is_deleted(tmp_path, capsys, caplog):
  """Folders of something else, networks, files: refused or moved aside."""
  weights = tmp_path / 'a.safetensors'
  variables = _variables('mlp', 4, (2, 2, 1), widths=(6,))
  torch_weights.save(weights, variables, 'mlp')
  given = [weights, '--model', 'mlp', '--inputs', 2, 2, 1]
  given += ['--option', 'widths=[6]', '--out']
  thesis = tmp_path / 'mythesis'
  thesis.mkdir()
  (thesis / 'thesis.txt').write_text('x')
  for more in ([], ['--overwrite']):
    line = line_of(capsys, [*given, thesis, *more])
    assert str(thesis) in line and 'thesis.txt' in line
  assert (thesis / 'thesis.txt').read_text() == 'x'
  net = network(tmp_path / 'net')
  before, _ = network_files.load_network(net)
  line = line_of(capsys, [*given, net])
  assert str(net) in line and '--overwrite' in line
  _equal(network_files.load_network(net)[0], before)
  assert command.main([*map(str, given), str(net), '--overwrite']) == 0
  _equal(network_files.load_network(f'{net}.replaced')[0], before)
  _equal(network_files.load_network(net)[0], variables)
  assert f'moved {net} to {net}.replaced' in caplog.text
  capsys.readouterr()
  # The other way.
  content = weights.read_bytes()
  line = line_of(capsys, [f'{net}.replaced', '--out', weights])
  assert str(weights) in line and '--overwrite' in line
  assert weights.read_bytes() == content
  words = [f'{net}.replaced', '--out', str(weights), '--overwrite']
  assert command.main(words) == 0
  assert f'moved {weights} to {weights}.replaced' in capsys.readouterr().err
  assert weights.with_name('a.safetensors.replaced').read_bytes() == content
  assert weights.read_bytes() != content


def test_a_file_has_the_mode_that_the_user_asks_for(tmp_path):
  before = os.umask(0o027)
  try:
    variables = _variables('mlp', 4, (2, 2, 1), widths=(6,))
    torch_weights.save(tmp_path / 'a.safetensors', variables, 'mlp')
  finally:
    os.umask(before)
  mode = (tmp_path / 'a.safetensors').stat().st_mode
  assert stat.S_IMODE(mode) == 0o640


def test_places_that_cannot_be_written_are_named(tmp_path, capsys):
  net = network(tmp_path / 'net')
  (tmp_path / 'file').write_text('x')
  for place in (tmp_path / 'file/s.safetensors', '/proc/s.safetensors'):
    line = line_of(capsys, [net, '--out', place])
    assert f'cannot write {place}: ' in line
  weights = tmp_path / 'a.safetensors'
  assert command.main([str(net), '--out', str(weights)]) == 0
  capsys.readouterr()
  given = [weights, '--model', 'mlp', '--inputs', 4, 4, 1]
  given += ['--option', 'widths=[3]', '--out', '/proc/no_net']
  assert 'cannot write /proc/no_net: ' in line_of(capsys, given)


@pytest.mark.parametrize('direction', ['to', 'from'])
def test_a_full_disk_is_one_line_and_code_1(
  direction, tmp_path, capsys, monkeypatch
):
  net, weights = network(tmp_path / 'net'), tmp_path / 'a.safetensors'
  assert command.main([str(net), '--out', str(weights)]) == 0
  capsys.readouterr()
  out = tmp_path / f'out{".safetensors" if direction == "to" else ""}'
  given = [weights, '--model', 'mlp', '--inputs', 4, 4, 1]
  given += ['--option', 'widths=[3]']
  given = [net] if direction == 'to' else given

  def write(path, data):
    path.touch()
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(pathlib.Path, 'write_bytes', write)
  line = line_of(capsys, [*given, '--out', out], code=1)
  assert line == (
    f'error: cannot write {out}: No space left on device; free some space\n'
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == ['a.safetensors', 'net']


EDITS = {
  'no hash': ({'hash': None}, "lacks 'hash'"),
  'no build': ({'build': None}, 'does not say how its network is built'),
  'widths': (
    {
      'build': {'name': 'mlp', 'classes': 6, 'widths': [4], 'inputs': [4, 4, 1]}
    },
    'does not fit: params/hidden1/bias is (3,) there and (4,)',
  ),
  'inputs': (
    {'build': {'name': 'mlp', 'classes': 6, 'widths': [3], 'inputs': 'abc'}},
    'describes no network for inputs abc',
  ),
  'option': (
    {'build': {'name': 'mlp', 'classes': 6, 'depth': 3}},
    "network 'mlp' has no option 'depth'",
  ),
  'classes': ({'build': {'name': 'mlp'}}, "'classes'"),
  'quantize': (
    {'build': {'name': 'mlp', 'classes': 6, 'exits': ['hidden1']}},
    "'mlp' with 'exits' has no names in PyTorch",
  ),
}


@pytest.mark.parametrize('case', EDITS)
def test_an_edited_network_is_named_in_one_line(case, tmp_path, capsys):
  change, words = EDITS[case]
  net = network(tmp_path / 'net')
  path = net / network_files.SPEC
  spec = {**checkpoint.read_json(path), **change}
  checkpoint.write_json(path, {k: v for k, v in spec.items() if v is not None})
  line = line_of(capsys, [net, '--out', tmp_path / 'a.safetensors'])
  assert words in line
  assert str(net) in line or case == 'quantize'
