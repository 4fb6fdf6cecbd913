"""What is known of a run's surroundings."""

import json
import pathlib
import re
import shutil

import pytest

from kd_jax.runs import folders

RUN = {'seed': 0}, {'data': 'a'}, '{"ö": 1}'


def test_the_environment_names_versions_devices_and_the_commit():
  found = folders.environment()
  assert re.fullmatch('[0-9a-f]{40}|unknown', found['commit'])
  assert found['jax'] and found['devices']


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path))
  assert folders.environment()['commit'] == 'unknown'
  folder = tmp_path / 'run'
  folders.claim(folder, {'seed': 0}, {})
  stored = json.loads((folder / 'environment.json').read_text())
  assert stored['commit'] == 'unknown'


def test_a_run_on_text_keeps_its_tokenizer(tmp_path):
  folders.claim(tmp_path / 'text', {}, {}, '{"ö": 1}')
  kept = (tmp_path / 'text' / 'tokenizer.json').read_bytes()
  assert kept == '{"ö": 1}'.encode()
  folders.claim(tmp_path / 'images', {}, {})
  assert not (tmp_path / 'images' / 'tokenizer.json').exists()


class Killed(BaseException):
  """In place of SIGKILL."""


def leftovers(claim, folder, monkeypatch):
  """The folder as it is after a kill before and after each write of a claim."""
  for moment in range(100):
    shutil.rmtree(folder, ignore_errors=True)
    count = iter(range(moment + 1))

    def killed(write, count=count):
      def before_or_after(*args, **options):
        if next(count, None) is None:
          raise Killed
        result = write(*args, **options)
        if next(count, None) is None:
          raise Killed
        return result

      return before_or_after

    with monkeypatch.context() as patch:
      for name in ('touch', 'unlink', 'write_text', 'replace'):
        patch.setattr(pathlib.Path, name, killed(getattr(pathlib.Path, name)))
      try:
        claim(folder)
        return
      except Killed:
        pass
    yield moment


CLAIMS = {
  'run': lambda folder: folders.claim(folder, *RUN),
  'sweep': lambda folder: folders.claim_sweep(folder, RUN[0]),
}


@pytest.mark.parametrize('kind', CLAIMS)
def test_a_claim_that_is_killed_is_continued_or_overwritten(
  kind, tmp_path, monkeypatch, capsys
):
  claim, folder = CLAIMS[kind], tmp_path / 'run'
  claim(tmp_path / 'whole')
  whole = {path.name for path in (tmp_path / 'whole').iterdir()}
  moments = 0
  for moment in leftovers(claim, folder, monkeypatch):
    moments += 1
    shutil.copytree(folder, tmp_path / f'again_{moment}')
    claim(tmp_path / f'again_{moment}')
    there = {path.name for path in (tmp_path / f'again_{moment}').iterdir()}
    assert whole <= there
    folders.make_room(folder)
    folders.claim(folder, {'seed': 1}, {'data': 'b'})
  assert moments > 6
  assert 'moved' in capsys.readouterr().err


def test_what_a_claim_does_not_leave_is_kept(tmp_path):
  claim = CLAIMS['run']
  # The inputs of another run: a kill left them before the data changed.
  (tmp_path / 'inputs.json').write_text('{"data": "b"}')
  with pytest.raises(ValueError, match=r'other inputs: data is .* overwrite'):
    claim(tmp_path)
  for name in ('tokenizer.json', '.inputs.json.txt', 'inputs.json.1'):
    folder = tmp_path / name.strip('.')
    folder.mkdir()
    (folder / name).write_text('mine')
    with pytest.raises(ValueError, match='is not empty and is not a run'):
      claim(folder)
    with pytest.raises(ValueError, match='it is not moved aside'):
      folders.make_room(folder)
    assert [path.name for path in folder.iterdir()] == [name]
