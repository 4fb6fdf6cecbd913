"""What building the notebooks refuses, and where it names the repository."""

import importlib.util

import pytest

from colabs import build
from kd_jax import errors


def test_the_repository_is_named_in_one_place():
  owner = build.REPOSITORY.partition('/')[0]
  for source in build.sources():
    text = source.read_text()
    assert f'{owner}/' not in text
    assert text.count('github/REPOSITORY/') == 1
    assert text.count('github.com/REPOSITORY') == 1


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch, capsys):
  monkeypatch.setattr(
    importlib.util, 'find_spec', lambda name: None if name[0] == 'j' else name
  )
  assert build.main([]) == errors.USER
  line = capsys.readouterr().err
  assert 'need jupytext, not installed' in line and line.count('\n') == 1
  assert '.[notebooks]' in line


def test_an_unknown_notebook_is_one_line(capsys):
  assert build.main(['01_soft_target']) == errors.USER
  assert "did you mean '01_soft_targets'?" in capsys.readouterr().err


def test_there_are_six():
  numbers = [f'0{k}' for k in range(1, 7)]
  assert [p.stem[:2] for p in build.sources()] == numbers
  with pytest.raises(ValueError, match='unknown notebook'):
    build.check(['99'])
