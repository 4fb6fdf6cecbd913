"""The golden values hold, and the tool that says so can say otherwise."""

import json

import numpy as np
import pytest

from tests import golden
from tests.helpers import marks
from tests.helpers import reference as ref

FOLDERS = (
  'losses',
  'dense/losses',
  'sequences/losses',
  'more/losses',
  'more/exits',
  'data_free',
)


def _cases(folder):
  index = (golden.VALUES / folder / 'index.json').read_text()
  return [entry['case'] for entry in json.loads(index)]


@pytest.mark.parametrize('folder', marks.slow_but(FOLDERS, ('losses',)))
def test_every_case_of_the_folder(folder):
  results = golden.run(golden.VALUES / folder)
  assert [r.case for r in results] == _cases(folder)
  assert [r for r in results if not r.ok] == []


@pytest.mark.parametrize('part', [golden.dense, golden.sequences])
def test_a_case_of_every_family_on_maps_and_on_tokens(part):
  folder = golden.VALUES / {golden.dense: FOLDERS[1]}.get(part, FOLDERS[2])
  entries = json.loads((folder / 'index.json').read_text())
  first = {entry['case'].split('/')[0]: entry for entry in entries[::-1]}
  for family in part.FAMILIES:
    entry = first[family]
    with np.load(folder / entry['file']) as arrays:
      assert golden.check(entry, dict(arrays)).ok, entry['case']


def test_every_family_has_its_cases():
  cases = [case for folder in FOLDERS for case in _cases(folder)]
  assert {case.split('/')[0] for case in cases} == set(golden.FAMILIES)


def _write(folder, *cases):
  """A folder of golden values out of (case, attrs, arrays, f64 formula)."""
  index = []
  for i, (case, attrs, arrays, formula) in enumerate(cases):
    stored = {name: _stored(value) for name, value in arrays.items()}
    for name in arrays:
      if name.startswith('in_student_'):
        stored[name.replace('in', 'grad', 1)] = ref.slope(
          lambda x, a=arrays, n=name, f=formula: f({**a, n: x}), arrays[name]
        )
    stored['loss'] = np.float64(formula(arrays))
    np.savez(folder / f'{i}.npz', **stored)
    index.append(
      {
        'case': case,
        'file': f'{i}.npz',
        'attrs': attrs,
        'loss': float(stored['loss']),
      }
    )
  (folder / 'index.json').write_text(json.dumps(index))
  return folder


def _stored(value):
  return np.float32(value) if value.dtype == np.float64 else value


def _logits(seed, *shape):
  return {
    'in_student_logits': ref.draw(seed, *shape),
    'in_teacher_logits': ref.draw(seed + 1, *shape),
  }


def _sides(a):
  return a['in_student_logits'], a['in_teacher_logits']


def _kd(a, temperature):
  p, q = (ref.probs(z, temperature) for z in reversed(_sides(a)))
  return temperature**2 * ref.kl(p, q).mean()


KD = (
  'kd/any label',
  {'temperature': 7.0},
  _logits(0, 3, 5),
  lambda a: _kd(a, 7.0),
)
LABELS = {'in_labels': np.array([4, 0, 4])}


def _dkd(a):
  hot = np.eye(5, dtype=bool)[a['in_labels']]
  total = 0
  for power, part in ((0.3, 'target'), (5.0, 'others')):
    p, q = (ref.probs(z, 3.0) for z in reversed(_sides(a)))
    if part == 'target':
      p, q = (np.stack([x[hot], 1 - x[hot]], -1) for x in (p, q))
    else:
      p, q = (x[~hot].reshape(3, 4) for x in (p, q))
      p, q = (x / x.sum(-1, keepdims=True) for x in (p, q))
    total += power * ref.kl(p, q).mean()
  return 9 * total


def _jsd(a):
  q, p = (ref.probs(z, 1.5) for z in _sides(a))
  middle = 0.3 * p + 0.7 * q
  value = 0.3 * ref.kl(p, middle) + 0.7 * ref.kl(q, middle)
  return value[a['in_labels'] != -100].mean()


def _symmetric(a):
  q, p = (ref.probs(z) for z in _sides(a))
  value = 0.75 * -(p * np.log(q)).sum(-1) + 0.25 * ref.kl(q, p)
  return value[a['in_labels'] != -100].mean()


def _features(seed, *shapes):
  return {
    f'in_{side}_feature_{i}': ref.draw(seed + 2 * i + j, *shape)
    for i, shape in enumerate(shapes)
    for j, side in enumerate(('student', 'teacher'))
  }


def _total(a):
  hard = -ref.log_probs(_sides(a)[0])[np.arange(3), a['in_labels']].mean()
  features = sum(
    ((a[f'in_student_feature_{i}'] - a[f'in_teacher_feature_{i}']) ** 2).mean()
    for i in range(3)
  )
  return 0.2 * _kd(a, 2.0) + 0.8 * hard + 7 * features


def _fsp(a):
  def flows(side):
    maps = [a[f'in_{side}_feature_{i}'] for i in range(2)]
    return np.einsum('bhwc,bhwd->bcd', *maps) / 4

  return ((flows('student') - flows('teacher')) ** 2).mean()


def _hint(a):
  out = a['in_student_feature'] @ a['param_kernel'] + a['param_bias']
  return ((out - a['in_teacher_feature']) ** 2).mean()


def test_a_folder_with_other_shapes_layers_and_hyperparameters(tmp_path):
  tokens = {'in_labels': np.array([[1, -100], [-100, -100], [0, 3]])}
  maps = _features(3, (3, 2, 1, 2), (3, 1, 2, 3), (3, 2, 2, 1))
  _write(
    tmp_path,
    KD,
    (
      'dkd',
      {'alpha': 0.3, 'beta': 5.0, 'temperature': 3.0},
      {**_logits(5, 3, 5), **LABELS},
      _dkd,
    ),
    (
      'generalized_jsd/',
      {'beta': 0.3, 'temperature': 1.5},
      {**_logits(6, 3, 2, 4), **tokens},
      _jsd,
    ),
    (
      'seq_symmetric_kl/x',
      {'lam': 0.25},
      {**_logits(7, 3, 2, 4), **tokens},
      _symmetric,
    ),
    (
      'feature_total/x',
      {'temperature': 2.0, 'alpha': 0.2, 'beta': 7.0},
      {**_logits(8, 3, 5), **LABELS, **maps},
      _total,
    ),
    ('fsp/x', {}, _features(9, (2, 2, 2, 2), (2, 2, 2, 3)), _fsp),
    (
      'hint/x',
      {},
      {
        'in_student_feature': ref.draw(1, 2, 2, 1, 3),
        'in_teacher_feature': ref.draw(2, 2, 2, 1, 2),
        'param_kernel': ref.draw(3, 3, 2),
        'param_bias': ref.draw(4, 2),
      },
      _hint,
    ),
  )
  assert [r for r in golden.run(tmp_path) if not r.ok] == []


def test_layers_are_counted_by_number_and_not_by_letter():
  names = [f'feature_{i}' for i in (10, 9, 0)]
  side = {name: i for i, name in enumerate(names)}
  assert golden.layers({**side, 'logits': None}) == (2, 1, 0)


def _edit(folder, **changes):
  """Changes the only case's entry in the index."""
  (entry,) = json.loads((folder / 'index.json').read_text())
  (folder / 'index.json').write_text(json.dumps([{**entry, **changes}]))


def _edit_array(folder, name, change):
  with np.load(folder / '0.npz') as stored:
    arrays = dict(stored)
  arrays[name] = change(arrays[name])
  np.savez(folder / '0.npz', **arrays)


def _drop_gradient(folder):
  with np.load(folder / '0.npz') as stored:
    arrays = dict(stored)
  del arrays['grad_student_logits']
  np.savez(folder / '0.npz', **arrays)


def _one_nan(gradient):
  return np.where(np.arange(gradient.size).reshape(3, 5) == 7, np.nan, gradient)


WRONG = {
  'the value of the index': lambda f: _edit(f, loss=10.0),
  'the value of the file': lambda f: _edit_array(
    f, 'loss', lambda x: x * (1 + 2e-5)
  ),
  'one number of the gradient': lambda f: _edit_array(
    f, 'grad_student_logits', lambda x: x + 1e-2 * (x == x.max())
  ),
  'NaN in the gradient': lambda f: _edit_array(
    f, 'grad_student_logits', _one_nan
  ),
  'a gradient of another shape': lambda f: _edit_array(
    f, 'grad_student_logits', lambda x: x[:2]
  ),
  'no gradient': _drop_gradient,
  'a family that nobody knows': lambda f: _edit(f, case='kdd/T7'),
  'a hyperparameter that nobody knows': lambda f: _edit(
    f, attrs={'temperature': 7.0, 'weight': 1.0}
  ),
  'another hyperparameter': lambda f: _edit(f, attrs={'temperature': 7.01}),
  'a file that is not there': lambda f: _edit(f, file='1.npz'),
  'no case at all': lambda f: (f / 'index.json').write_text('[]'),
}


@pytest.mark.parametrize('change', WRONG.values(), ids=WRONG)
def test_what_is_wrong_fails(change, tmp_path, capsys):
  change(_write(tmp_path, KD))
  assert golden.main([str(tmp_path)]) == 1
  out = capsys.readouterr().out
  assert 'FAIL' in out or '0 of 0' in out


def test_what_is_right_prints_one_line_a_case(tmp_path, capsys):
  _write(tmp_path, KD)
  assert golden.main([str(tmp_path)]) == 0
  first, last = capsys.readouterr().out.splitlines()
  assert first.startswith('kd/any label') and first.endswith('ok')
  assert last == '1 of 1 cases ok'


def test_what_is_not_covered_says_so(tmp_path, capsys):
  _write(tmp_path, ('kdd/x', *KD[1:]))
  golden.main([str(tmp_path)])
  assert 'FAIL not covered' in capsys.readouterr().out


def test_a_folder_without_an_index_is_refused(tmp_path):
  assert golden.main([str(tmp_path)]) == 2
  assert golden.main([]) == 2
