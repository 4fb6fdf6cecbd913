"""Families of comparisons: corrected, and honest where nothing differs.

Holm: the example of R's p.adjust, method 'holm'.
"""

import numpy as np
import pytest

from kd_jax import tasks
from kd_jax.compare import family, statistics, verdict


def test_holm_is_rs_p_adjust():
  p = [0.04, 0.01, 0.03, 0.02, 0.05]
  adjusted = statistics.holm(p)
  assert adjusted == pytest.approx([0.09, 0.05, 0.09, 0.08, 0.09])
  assert statistics.holm([0.5, 0.9]) == [1.0, 1.0]
  assert statistics.holm([0.03]) == [0.03]
  assert statistics.holm([]) == []


def judged(mean: float, size: int = 2000) -> dict:
  """A verdict of three seeds with this difference."""
  examples = np.zeros(size)
  examples[: round(abs(mean) * size)] = np.sign(mean)
  seeds = np.array([0.9, 0.91, 0.92])
  return verdict.of_seeds(
    seeds + mean * np.array([0.99, 1, 1.01]), seeds, examples
  )


def test_a_family_keeps_what_is_strong_and_says_how_many_it_compares():
  verdicts = {f'weak{k}': judged(0.004) for k in range(20)}
  verdicts |= {'strong': judged(0.2), 'bad': judged(-0.2), 'alone': None}
  assert verdicts['weak0']['outcome'] == verdict.HELPED
  rows = family.correct(verdicts)
  assert {row['comparisons'] for row in rows.values()} == {22}
  assert rows['strong']['outcome'] == verdict.HELPED
  assert rows['bad']['outcome'] == verdict.HURT
  assert rows['weak3']['outcome'] == verdict.SAME
  assert rows['weak3']['p'] < 0.05 < rows['weak3']['p_holm']
  assert rows['alone'] == {
    'p': None, 'p_holm': None, 'outcome': None, 'comparisons': 22,
  }  # fmt: skip
  text = family.sentence(rows)
  assert text.startswith('2 of 22 comparisons')
  assert 'Holm' in text and '22 would without it' in text
  assert 'better: strong' in text and 'worse: bad' in text


def test_a_family_of_single_runs_has_no_verdict():
  run = verdict.of_run(np.ones(200, bool), np.arange(200) < 100)
  rows = family.correct({'a': run, 'b': run, 'c': None})
  assert rows['a']['p'] is rows['a']['p_holm'] is None
  assert rows['a']['outcome'] == verdict.UNKNOWN
  text = family.sentence(rows)
  assert text.startswith('2 comparisons rest on one run each')
  assert 'hold' not in text
  mixed = family.sentence(family.correct({'a': run, 'strong': judged(0.2)}))
  assert mixed.startswith('The one comparison holds')
  assert mixed.endswith(
    '1 comparison rests on one run, which gives no verdict: intervals are over '
    'the test examples alone, other seeds are unknown.'
  )
  assert family.sentence({}) == family.sentence(family.correct({'c': None}))


def test_what_has_no_score_is_not_of_the_family():
  lost = verdict.of_seeds([np.nan, 0.9], [0.5, 0.4], task=tasks.REGRESSION)
  assert lost['outcome'] == verdict.UNDEFINED and lost['p'] is None
  assert (
    'the distilled student in 1 of 2 seeds, because all pred' in lost['text']
  )
  rows = family.correct({'strong': judged(0.2), 'lost': lost})
  assert rows['lost']['p_holm'] is None
  assert rows['strong']['comparisons'] == 1
  assert family.sentence(rows).endswith(
    'better: strong. 1 comparison has no score, and so no p.'
  )
  both = family.sentence(family.correct({'a': lost, 'b': lost}))
  assert both == '2 comparisons have no score, and so no p.'


def false_positives(rng, methods: int, seeds: int, rounds: int) -> list:
  """Per round, the smallest p of methods without effect, plain and Holm's."""
  size, smallest = 300, []
  for _ in range(rounds):
    ease = rng.beta(8, 1, size)

    def trained(many, ease=ease):
      # Each run has a level of its own; the examples are the same for all.
      level = np.exp(0.3 * rng.normal(size=(many, seeds, 1)))
      return rng.random((many, seeds, size)) < ease**level

    (alone,) = trained(1)
    verdicts = {
      str(k): verdict.of_seeds(
        ours.mean(1), alone.mean(1), (ours * 1.0 - alone).mean(0)
      )
      for k, ours in enumerate(trained(methods))
    }
    rows = family.correct(verdicts).values()
    smallest.append([min(r[key] for r in rows) for key in ('p', 'p_holm')])
  return smallest


@pytest.mark.parametrize('seeds', [2, 3, 10])
def test_without_any_effect_few_families_have_a_false_difference(seeds):
  rng = np.random.default_rng(seeds)
  smallest = np.array(false_positives(rng, 20, seeds, 200))
  plain, corrected = (smallest <= 0.05).mean(0)
  assert corrected <= 0.05
  assert plain > 0.15  # what the correction is for
