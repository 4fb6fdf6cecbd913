"""The rungs below CIFAR-100's recipes, and the tables of what they show."""

import pathlib

import numpy as np
import pytest

from experiments import ladder, pages
from experiments.configs import cifar100, cifar100_ladder
from kd_jax import build, config
from tests import recipes

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUNGS, METHODS = cifar100_ladder.RUNGS, cifar100_ladder.METHODS
WARMUP = {'name': 'constant', 'warmup': 20 / 240}
EVERY = [f'{name}@{rung}' for rung in RUNGS for name in METHODS]


def read(arg: str):
  """A rung of a method."""
  return config.resolve(
    config.read(f'experiments/configs/cifar100_ladder.py:{arg}')
  )


@pytest.mark.parametrize('arg', EVERY)
def test_a_rung_shortens_the_recipe_and_leaves_its_weights(arg):
  name, _, rung = arg.partition('@')
  c = read(arg)
  config.validate(c)
  whole = config.resolve(
    cifar100.get_config(','.join([name, *cifar100_ladder.SOURCE]))
  )
  epochs = {'minutes': (8, 2), 'tenth': (24, 24)}[rung]
  usual = whole.teacher.optimizer
  for part, count in zip((c.teacher, c.train), epochs, strict=True):
    assert (part.epochs, part.batch_size) == (count, whole.teacher.batch_size)
    short = part.optimizer
    assert short.weight_decay == usual.weight_decay == 5e-4
    assert short.options.to_dict() == usual.options.to_dict()
    np.testing.assert_allclose(
      short.schedule.boundaries, usual.schedule.boundaries
    )
  assert c.terms.to_dict() == whole.terms.to_dict()
  rises = {'weight': WARMUP} if name in ('dkd', 'review_kd') else None
  assert c.terms.to_dict()['soft'].get('schedule') == rises
  assert c.networks.student.init == c.networks.teacher.init == 'pytorch'


def test_rates_are_tried_on_the_student_alone():
  c = read('alone')
  assert 'teacher' not in c.networks and not c.baseline
  assert c.data.validation and c.train.epochs == 2
  rates = cifar100_ladder.sweep_rates()
  key = 'train.optimizer.learning_rate'
  assert c.train.optimizer.learning_rate in [s[key] for s in rates]
  assert {s['arg'] for s in cifar100_ladder.sweep_methods()} == {*METHODS}
  for wrong in ('kdd', 'kd@tens'):
    with pytest.raises(ValueError, match='did you mean'):
      cifar100_ladder.get_config(wrong)


@pytest.mark.parametrize('arg', EVERY)
def test_every_rung_builds(arg):
  c = read(arg)
  for part in (c.train, c.teacher):
    part.update(cifar100.SMOKE)
  experiment = build.make_experiment(c, recipes.data('cifar100'))
  assert [stage.name for stage in experiment.stages] == [
    'teacher', 'baseline', 'student'
  ]  # fmt: skip


def right(share: float, seeds: int = 3) -> np.ndarray:
  """bool [S, N]: a share of 1,000 images, and 0, 2, .. more by the seed."""
  counts = 1000 * share + 2 * np.arange(seeds)[:, None]
  return np.arange(1000) < counts


def rows() -> list[dict]:
  """All comparisons: the two best in the published order, the rest swapped."""
  students = dict(zip(ladder.ranked(), map(right, (0.6, 0.5, 0.4, 0.45))))
  students |= {ladder.ALONE: right(0.4), ladder.TEACHER: right(0.7)}
  pairs = [('dkd', 'alone'), ('at', 'alone'), ('kd', 'alone')]
  pairs += [('dkd', 'review_kd'), ('kd', 'at')]
  return [ladder.compare(students, *pair) for pair in pairs]


def test_rows_are_compared_as_published():
  assert ladder.ranked() == ['dkd', 'review_kd', 'kd', 'at']
  by_pair = {(r['method'], r['rival']): r for r in rows()}
  row = by_pair['dkd', 'alone']
  assert row['difference'] == pytest.approx(0.2)
  assert row['low'] < 0.2 < row['high'] and row['teacher'] == 0.7
  comparisons = ladder.corrected(rows())
  holds = {pair: c['outcome'] for pair, c in comparisons.items()}
  assert holds['dkd', 'review_kd'] == 'helped'
  assert holds['kd', 'at'] == 'hurt'
  assert holds['kd', 'alone'] == 'no difference'
  assert 'Of the 2 pairs of methods 1 come out in the published order, 1' in (
    ladder.summary(rows())
  )
  first = ladder.levels(rows()).splitlines()[4]
  assert first.startswith('| `dkd` | 71.97 (+2.91) | 60.2 ± 0.2 | **+20.0** (')
  assert '`dkd` over `review_kd` | +0.08 | **+10.0** (' in ladder.order(rows())


def test_more_seeds_tell_a_smaller_difference():
  row = {'test': [0.42, 0.40, 0.44], 'alone': [0.40] * 3, 'difference': 0.02}
  seeds = ladder.seeds_needed(row, 10)
  for count, told in ((seeds, True), (seeds - 1, False)):
    assert (pages.half_width(0.02, count, 10) < 0.02) == told
  assert ladder.seeds_needed({**row, 'difference': 0.0}, 10) is None


def test_the_page_shows_the_rows_of_the_file():
  committed = ladder.read()
  pairs = {(row['method'], row['rival']) for row in committed}
  count = len({method for method, _ in pairs})
  assert len(pairs) == len(committed) == count * (count + 1) / 2
  for row in committed:
    difference = np.mean(row['test']) - np.mean(row['alone'])
    assert difference == pytest.approx(row['difference'], abs=1e-5)
  page = (ROOT / 'experiments/README.md').read_text()
  first, last = (f'<!-- {x}{ladder.SECTION} -->' for x in ('', 'end of '))
  shown = page.split(first, 1)[1].split(last, 1)[0].strip()
  assert shown == ladder.text(committed)
