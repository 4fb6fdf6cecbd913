"""What pip installs: dependencies, extras, the command, the configs by name."""

import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from packaging import requirements, utils

from kd_jax import cli, config, errors

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
EXTRAS = PROJECT['optional-dependencies']


def parsed(lines) -> dict[str, requirements.Requirement]:
  """{canonical name: requirement}, without comments and empty lines."""
  texts = [line.partition('#')[0].strip() for line in lines]
  each = [requirements.Requirement(text) for text in texts if text]
  return {utils.canonicalize_name(r.name): r for r in each}


def of_file(name: str) -> dict[str, requirements.Requirement]:
  """The requirements of a file at the root."""
  return parsed((ROOT / name).read_text().splitlines())


def test_requirements_are_the_dependencies_and_the_extra_for_tests():
  declared = parsed([*PROJECT['dependencies'], *EXTRAS['test']])
  assert of_file('requirements.txt') == declared


def test_all_is_every_other_extra():
  (everything,) = parsed(EXTRAS['all']).values()
  assert everything.name == PROJECT['name']
  assert everything.extras == set(EXTRAS) - {'all'}


def test_constraints_pin_all_that_is_declared_within_its_range():
  pinned = of_file('constraints.txt')
  for name, extra in {'': PROJECT['dependencies'], **EXTRAS}.items():
    for each in parsed(extra) if name != 'all' else ():
      (pin,) = pinned[each].specifier
      assert pin.operator == '=='
      assert parsed(extra)[each].specifier.contains(pin.version), each


def test_the_command_is_the_launcher():
  assert PROJECT['scripts'] == {'kd-jax': 'kd_jax.cli:main'}
  assert callable(cli.main)


def test_a_packaged_config_is_found_from_anywhere(tmp_path):
  """In a process of its own, outside of the repository's root."""
  command = [sys.executable, '-m', 'kd_jax.cli', '--config']
  done = subprocess.run(
    [*command, 'digits_online:both', '--dry_run'],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert 'stage student' in done.stdout


@pytest.mark.parametrize('path', ['experiments/configs/digits.py', './digits'])
def test_a_path_stays_a_path(path):
  assert cli.packaged(f'{path}:arg') == f'{path}:arg'


def test_a_file_or_folder_of_that_name_comes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert cli.packaged('digits') != 'digits'
  (tmp_path / 'digits').mkdir()
  assert cli.packaged('digits') == 'digits'


def test_every_packaged_config_is_known_and_its_helpers_are_not():
  configs = ROOT / 'experiments/configs'
  assert cli.packaged('cifar100:KD,vgg13,vgg8') == (
    f'{configs / "cifar100.py"}:KD,vgg13,vgg8'
  )
  assert config.read(cli.packaged('digits')).data.name == 'digits'
  with pytest.raises(ValueError, match='unknown packaged config') as error:
    cli.packaged('weights')
  known = re.search('known: (.*)', str(error.value)).group(1).split(', ')
  assert known == [
    path.stem
    for path in sorted(configs.glob('*.py'))
    if path.stem not in ('__init__', 'pairs', 'published', 'weights')
  ]


def test_an_unknown_name_is_one_line(tmp_path, capsys):
  arguments = ['--config', 'digist', '--workdir', str(tmp_path / 'run')]
  assert cli.main(arguments) == errors.USER
  line = capsys.readouterr().err
  assert "did you mean 'digits'?" in line and line.count('\n') == 1


def test_files_that_are_not_python_are_packaged():
  settings = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']
  patterns = settings['setuptools']['package-data']['kd_jax']
  files = [
    path.relative_to(ROOT / 'kd_jax')
    for path in (ROOT / 'kd_jax').rglob('*.*')
    if path.is_file() and path.suffix not in ('.py', '.pyc', '.md')
  ]
  assert files
  assert [f for f in files if not any(map(f.match, patterns))] == []
