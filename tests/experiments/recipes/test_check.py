"""`experiments.recipes --check` sees a weight that is not the source's."""

import re

import pytest

from experiments.configs import pairs, weights
from experiments.recipes import (
  __main__,
  check,
  cifar100,
  imagenet,
  origins,
  reasons,
  sources,
)

PAIR = ('resnet32x4', 'resnet8x4')


def alter(monkeypatch, method: str, **changes) -> None:
  """Changes a Loss of CIFAR-100."""
  loss = weights.CIFAR100[method]._replace(**changes)
  monkeypatch.setitem(weights.CIFAR100, method, loss)


def test_no_recipe_differs_without_a_reason(capsys):
  assert __main__.main(['--check']) == 0
  lines = capsys.readouterr().out.splitlines()
  count = 13 * len(weights.CIFAR100) + 2 * len(weights.IMAGENET)
  assert len(lines) == count + 2 and lines[-1].endswith(' 0 without')
  assert lines[-1].startswith(f'{count} recipes: ')
  (line,) = (x for x in lines if x.startswith('at | resnet32x4,resnet8x4'))
  assert line.split(' | ')[2:5] == [
    'hard=1 soft=1000',
    'hard=1 soft=1000',
    'HobbitLong/RepDistiller scripts/run_cifar_distill.sh@b84f547',
  ]


def test_an_altered_weight_exits_with_1(monkeypatch, capsys):
  alter(monkeypatch, 'at', weight=999.0)
  assert __main__.main(['--check']) == 1
  lines = capsys.readouterr().out.splitlines()
  wrong = [line for line in lines if 'DIFFERS WITHOUT A REASON' in line]
  assert len(wrong) == 13 and all(line.startswith('at | ') for line in wrong)
  assert 'soft=999 | hard=1 soft=1000' in wrong[0]
  assert lines[-1].endswith(' 13 without')


@pytest.mark.parametrize(
  'method, changes, settings',
  [
    ('dist', {'options': {'temperature': 1.0}}, ['soft.temperature']),
    ('dist', {'options': {'gamma': 2.0, 'temperature': 4.0}}, ['soft.gamma']),
    ('kd', {'hard': 0.2}, ['hard']),
    ('srrl', {'layers': 'final'}, ['layers']),
    ('srrl', {'more': {}}, ['logits', 'logits.temperature']),
    ('fsp', {'first': 20}, ['epochs', 'first']),
    (
      'review_kd',
      {'training': weights.Training(batch_size=128, learning_rate=0.1)},
      ['nesterov'],
    ),
  ],
)
def test_every_kind_of_setting_is_compared(
  monkeypatch, method, changes, settings
):
  assert not check.compare('cifar100', method, *PAIR).differs
  alter(monkeypatch, method, **changes)
  row = check.compare('cifar100', method, *PAIR)
  assert row.unexplained == settings


def test_a_setting_of_one_pair_is_compared(monkeypatch):
  pair = ('resnet56', 'resnet20')
  assert not check.compare('cifar100', 'dkd+ls', *pair).differs
  monkeypatch.delitem(weights.BY_PAIR['dkd+ls'], pair)
  row = check.compare('cifar100', 'dkd+ls', *pair)
  assert row.unexplained == ['soft.alpha', 'soft.beta', 'soft.temperature']
  assert row.theirs['soft.beta'] == 36 and row.ours['soft.beta'] == 72


def test_a_term_that_the_source_lacks_differs(monkeypatch):
  more = {'logits': dict(method='kd', weight=1.0, temperature=4.0)}
  alter(monkeypatch, 'crd', more=more)
  assert check.compare('cifar100', 'crd', *PAIR).unexplained == ['logits']


def test_a_reason_without_a_difference_is_idle(monkeypatch):
  row = check.compare('cifar100', 'wttm', *PAIR)
  known = {('cifar100', 'wttm'): {**row.reasons, 'soft': 'none'}}
  monkeypatch.setattr(reasons, 'REASONS', known)
  assert check.idle([row]) == [('cifar100', 'wttm', 'soft')]


def test_every_entry_has_a_file_and_a_commit():
  tables = (weights.CIFAR100, cifar100.CIFAR100, pairs.CIFAR100)
  for ours, theirs, of_pairs in (
    tables,
    (weights.IMAGENET, imagenet.IMAGENET, pairs.IMAGENET),
  ):
    assert set(ours) == set(theirs)
    for method in ours:
      for pair in of_pairs:
        place = origins.origin(method, *pair).place
        assert re.fullmatch(r'\S+/\S+ \S+\.\w+@[0-9a-f]{7}', place)
  assert all(re.fullmatch('[0-9a-f]{40}', x) for x in sources.COMMITS.values())
  with pytest.raises(ValueError, match='method with a source'):
    origins.origin('kdd', *PAIR)


def test_it_says_what_to_ask_for(capsys):
  with pytest.raises(SystemExit):
    __main__.main([])
  assert '--check' in capsys.readouterr().err
