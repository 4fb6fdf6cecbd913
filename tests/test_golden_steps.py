"""DOT's steps beside the authors', and what is not equal to them."""

import json

import numpy as np
import pytest

from tests import golden, golden_steps

STEPS = golden.VALUES / 'more' / 'steps'


def test_every_step_agrees(capsys):
  assert golden_steps.main([str(STEPS.parent)]) == 0
  assert golden_steps.main([str(STEPS)]) == 0
  assert capsys.readouterr().out.count('2 of 2 cases ok') == 2


def _copy(folder, **changes):
  """The first case, with its entry or arrays changed."""
  entry = json.loads((STEPS / 'index.json').read_text())[0]
  with np.load(STEPS / entry['file']) as stored:
    arrays = dict(stored)
  for name, change in changes.items():
    if name in arrays:
      arrays[name] = change(arrays[name])
    else:
      entry[name] = change(entry[name])
  np.savez(folder / entry['file'], **arrays)
  (folder / 'index.json').write_text(json.dumps([entry]))
  return str(folder)


WRONG = {
  'one number': {'out_param_0': lambda x: x + 2e-6 * (x == x.max())},
  'NaN': {'out_param_1': lambda x: np.where(x == x.max(), np.nan, x)},
  'fewer numbers': {'out_param_1': lambda x: x[..., :2]},
  'another delta': {'attrs': lambda x: {**x, 'delta': 0.076}},
  'an unknown number': {'attrs': lambda x: {**x, 'beta': 1.0}},
  'another optimizer': {'case': lambda x: 'sgd/default'},
  'a file that is not there': {'file': lambda x: 'none.npz'},
}


@pytest.mark.parametrize('changes', WRONG.values(), ids=WRONG)
def test_what_is_wrong_fails(changes, tmp_path, capsys):
  folder = _copy(tmp_path, **changes)
  if 'file' in changes:
    (tmp_path / 'none.npz').unlink()
  assert golden_steps.main([folder]) == 1
  assert 'FAIL' in capsys.readouterr().out


def test_a_folder_without_an_index_is_refused(tmp_path):
  assert golden_steps.main([str(tmp_path)]) == 2
  assert golden_steps.main([]) == 2
  (tmp_path / 'index.json').write_text('[]')
  assert golden_steps.main([str(tmp_path)]) == 1
