"""A network.json that was edited by hand is one line, wherever it is read."""

import json

import pytest

from kd_jax import checkpoint, cli
from tests.helpers import networks_on_disk, quick


def without(key: str):
  return lambda spec: {k: v for k, v in spec.items() if k != key}


EDITS = {
  'no hash': (without('hash'), "lacks 'hash'"),
  'hash': (lambda spec: {**spec, 'hash': 5}, "'hash' of network.json is a num"),
  'list': (lambda spec: [spec], 'is not an object but a list'),
  'null': (lambda spec: None, 'is not an object but null'),
  'build': (lambda spec: {**spec, 'build': []}, "'build' of network.json is a"),
  'name': (lambda spec: {**spec, 'build': {}}, "no 'name' that is text"),
  'data': (
    lambda spec: {**spec, 'data': 'x'},
    "'data' of network.json is text",
  ),
  'scores': (lambda spec: {**spec, 'validation': True}, 'is a boolean'),
}


def edit(folder, change) -> None:
  """Changes what the network.json of a folder holds."""
  path = folder / checkpoint.SPEC
  path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize('case', EDITS)
def test_it_is_named_with_what_is_wrong(case, tmp_path):
  change, words = EDITS[case]
  networks_on_disk.save(tmp_path / 'net', name='mlp', widths=[3])
  edit(tmp_path / 'net', change)
  with pytest.raises(ValueError) as caught:
    checkpoint.load_network(tmp_path / 'net')
  line = str(caught.value)
  assert '\n' not in line and str(tmp_path / 'net') in line and words in line


@pytest.mark.parametrize(
  'change, words',
  [
    (without('hash'), "lacks 'hash'"),
    (without('build'), 'networks.teacher.load'),
  ],
)
def test_a_config_that_loads_it_is_refused(change, words, tmp_path, capsys):
  folder = tmp_path / 'net'
  networks_on_disk.save(folder, name='mlp', widths=[3])
  edit(folder, change)
  code = cli.main(
    [
      '--config',
      quick.__file__,
      '--workdir',
      str(tmp_path / 'run'),
      f'--config.networks.teacher={{"load":"{folder}"}}',
    ]
  )
  line = capsys.readouterr().err
  assert code == 2 and line.startswith('error: ') and line.count('\n') == 1
  assert str(folder) in line and words in line
  assert not (tmp_path / 'run').exists()
