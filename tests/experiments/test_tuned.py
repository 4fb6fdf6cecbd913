"""The tuned methods: README has what the committed rows say, and no more."""

import pathlib

import numpy as np
import pytest

from experiments import pages, tuned
from experiments.configs import digits_methods, methods_tuned
from kd_jax.compare import statistics
from kd_jax.runs import sweep_run

ROOT = pathlib.Path(__file__).resolve().parents[2]


def row(method: str, gain: float, spread: float, **more) -> dict:
  """A row of five seeds whose differences are about `gain`."""
  alone = [0.80, 0.82, 0.81, 0.83, 0.79]
  change = gain + spread * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
  low, high = statistics.over_seeds(change)
  return {
    'method': method,
    'chosen': {'terms.soft.weight': 2.0, 'terms.soft.temperature': 4.0},
    'trials': [[{}, 0.8]] * 3,
    'validation': 0.84,
    'test': (alone + change).tolist(),
    'alone': alone,
    'teacher': 0.95,
    'difference': gain,
    'low': low,
    'high': high,
    'p': statistics.p_over_both(change),
    'examples': 1000,
    'ms': 1.5,
    'parameters': 10,
    'bytes': 40,
    **more,
  }


ROWS = [row('at', -0.01, 0.02), row('kd', 0.04, 0.002), row('fsp', 0.02, 0.015)]
TABLES = {tuned.FEW: ROWS, tuned.WRONG: ROWS[:1]}


def test_the_best_comes_first_and_what_holds_is_bold():
  lines = tuned.table(TABLES).splitlines()[2:]
  assert [line.split('`')[1] for line in lines] == ['kd', 'fsp', 'at']
  # fsp alone excludes zero, at 5 %, and does not after the correction.
  assert ['**' in line for line in lines] == [True, False, False]
  assert '| **+4.0** (+3.8 to +4.2) | < 0.001 | 2, 4.0 | - | - |' in lines[0]
  assert [line.count('|') for line in lines] == [10] * 3


def test_the_sentences_count_what_holds():
  text = ' '.join(tuned.sentence(TABLES).split())
  assert 'of 3 on few labels 1 help and 0 hurt (`kd` +4.0 points)' in text
  assert text.endswith('; of 1 on wrong labels 0 help and 0 hurt.')
  text = tuned.summary({tuned.FEW: ROWS})
  assert '1,000 test images: teacher 95.0 %, student alone 81.0 ± 1.6' in text
  assert 'for all 3 comparisons' in text


def test_the_least_that_is_told_has_the_p_of_the_correction():
  rows = [row(str(i), 0.0, 0.02) for i in range(4)]
  gain = tuned.least_told(rows, 4) / 100
  change = gain + 0.02 * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
  assert statistics.p_over_both(change) == pytest.approx(0.05 / 4, rel=1e-3)
  assert tuned.least_told(rows, 4, 2) < tuned.least_told(rows, 4)


def test_rows_come_back_from_their_file(tmp_path):
  path = tmp_path / 'results/rows.jsonl'
  pages.write_rows(ROWS, path)
  assert tuned.read({tuned.FEW: path, tuned.WRONG: tmp_path / 'none'}) == {
    tuned.FEW: ROWS
  }
  assert len(path.read_text().splitlines()) == len(ROWS)


def test_every_method_is_among_the_rivals():
  names = set(methods_tuned.rivals())
  assert names == {
    *digits_methods.SOFT,
    *digits_methods.BESIDE,
    methods_tuned.SMOOTH,
  }
  file = str(ROOT / 'experiments/configs/methods_tuned.py')
  for task in ('methods_tuned', 'methods_noisy'):
    settings = sweep_run.named(file, task)
    assert {methods_tuned.parts_of(s['arg'])[0] for s in settings} == names
    assert all(methods_tuned.search_space(s['arg']) for s in settings)
  with pytest.raises(ValueError, match='is not METHOD'):
    methods_tuned.get_config('kd@nosiy')


def section(page: pathlib.Path) -> str:
  """What lies between the markers of a page."""
  text = page.read_text()
  first, last = (f'<!-- {x}{tuned.SECTION} -->' for x in ('', 'end of '))
  return text.split(first, 1)[1].split(last, 1)[0].strip()


def test_the_pages_show_the_rows_of_the_files():
  tables = tuned.read()
  assert tuned.FEW in tables
  for rows in tables.values():
    assert {row['method'] for row in rows} <= set(methods_tuned.rivals())
    assert len({len(row['trials']) for row in rows}) == 1  # equal budgets
    for row in rows:
      difference = np.mean(row['test']) - np.mean(row['alone'])
      assert difference == pytest.approx(row['difference'], abs=1e-5)
  assert section(ROOT / 'experiments/README.md') == tuned.text(tables)
  assert section(ROOT / 'README.md') == tuned.sentence(tables)
