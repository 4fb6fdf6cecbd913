"""What is known of a run's surroundings."""

import json
import re

from kd_jax.runs import folders


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
