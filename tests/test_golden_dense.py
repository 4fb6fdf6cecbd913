"""Resizing and scores are those of the golden values; the tool can say no."""

import json
import shutil

import numpy as np
import pytest

from tests import golden, golden_dense

VALUES = golden.VALUES / 'dense'


def test_every_case_agrees(capsys):
  assert golden_dense.main([str(VALUES)]) == 0
  assert capsys.readouterr().out.endswith('5 of 5 cases ok\n')


def _copy(folder, kind, name, change):
  """The first case of a kind, one of its arrays changed."""
  entry = json.loads((VALUES / kind / 'index.json').read_text())[0]
  (folder / kind).mkdir()
  (folder / kind / 'index.json').write_text(json.dumps([entry]))
  with np.load(VALUES / kind / entry['file']) as stored:
    arrays = dict(stored)
  arrays[name] = change(arrays.get(name))
  np.savez(folder / kind / entry['file'], **arrays)


def _first(x):
  """The array with its first number changed by a little, or by one."""
  x = x.copy()
  x.flat[0] += 1 if np.issubdtype(x.dtype, np.integer) else 3e-5
  return x


@pytest.mark.parametrize(
  'kind, name',
  [
    ('ops', 'bilinear_align_True'),
    ('ops', 'nearest_exact'),
    ('metrics', 'confusion'),
    ('metrics', 'predictions'),
    ('metrics', 'frequency_weighted_iou'),
  ],
)
def test_what_is_wrong_fails_and_is_named(kind, name, tmp_path, capsys):
  _copy(tmp_path, kind, name, _first)
  assert golden_dense.main([str(tmp_path)]) == 1
  assert f'FAIL {name}\n0 of 1' in capsys.readouterr().out


def test_what_is_not_there_or_not_known_fails(tmp_path, capsys):
  assert golden_dense.main([str(tmp_path)]) == golden_dense.main([]) == 2
  _copy(tmp_path, 'metrics', 'recall', lambda _: np.ones(1))
  assert golden_dense.main([str(tmp_path)]) == 1
  assert 'FAIL recall (unknown)' in capsys.readouterr().out
  shutil.rmtree(tmp_path / 'metrics')
  (tmp_path / 'ops').mkdir()
  np.savez(tmp_path / 'ops/0.npz', in_map=np.ones((1, 2, 2, 1)))
  index = [{'case': 'resize/none', 'file': '0.npz'}]
  (tmp_path / 'ops/index.json').write_text(json.dumps(index))
  assert golden_dense.main([str(tmp_path)]) == 1
  assert 'FAIL nothing to compare' in capsys.readouterr().out
  shutil.rmtree(tmp_path / 'ops')
  _copy(tmp_path, 'ops', 'nearest_exact', lambda _: np.float64(np.nan))
  assert golden_dense.main([str(tmp_path)]) == 1
