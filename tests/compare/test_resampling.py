"""Draws of a test set: what is drawn, and that intervals hold what they say."""

import numpy as np
import pytest

from kd_jax import tasks
from kd_jax.compare import resampling, statistics, verdict

TASK = tasks.SEGMENTATION


def sums_of(rng, count: int = 60, rate: float = 0.8) -> dict:
  """Confusion matrices of images whose pixels are right at about `rate`."""
  shares = np.clip(rng.normal(rate, 0.08, (count, 3)), 0, 1)
  right = np.round(100 * shares).astype(int)
  confusion = np.zeros((count, 3, 3), np.int64)
  for k in range(3):
    confusion[:, k, k] = right[:, k]
    confusion[:, k, (k + 1) % 3] = 100 - right[:, k]
  return {
    'confusion': confusion,
    'nll': np.ones(count),
    'count': np.full(count, 300),
  }


def test_every_draw_has_as_many_examples_and_they_are_drawn_equally_often():
  draws = resampling.make_draws(50)
  assert (draws.counts.sum(1) == 50).all()
  np.testing.assert_allclose(draws.counts.mean(0), 1, atol=0.15)
  again = resampling.make_draws(50)
  np.testing.assert_array_equal(draws.counts, again.counts)


def test_frames_of_few_films_are_drawn_as_blocks_of_neighbors():
  groups = np.repeat([0, 1], [40, 24])
  draws = resampling.make_draws(64, groups)
  assert 'blocks of 4 neighboring frames' in draws.how
  assert (draws.counts.sum(1) == 64).all()
  # Ends of a film are drawn as often as its middle.
  np.testing.assert_allclose(draws.counts.mean(0), 1, atol=0.25)
  near = np.corrcoef(draws.counts[:, 10], draws.counts[:, 11])[0, 1]
  far = np.corrcoef(draws.counts[:, 10], draws.counts[:, 30])[0, 1]
  assert near > 0.5 and abs(far) < 0.2


def test_many_sequences_are_drawn_whole():
  groups = np.repeat(np.arange(25), 3)
  draws = resampling.make_draws(75, groups)
  assert 'whole sequences' in draws.how
  parts = draws.counts.reshape(-1, 25, 3)
  assert (parts == parts[..., :1]).all()


def test_neighbors_that_are_alike_make_the_interval_wider():
  rng = np.random.default_rng(0)
  one = sums_of(rng, 16)
  copies = {name: np.repeat(x, 8, 0) for name, x in one.items()}
  groups = np.zeros(128, int)
  apart = resampling.score(TASK, copies, resampling.make_draws(128))
  blocks = resampling.score(TASK, copies, resampling.make_draws(128, groups))
  assert apart.value == blocks.value
  assert blocks.error() > 1.5 * apart.error()


def test_a_score_is_of_summed_matrices_and_the_interval_covers_it():
  sums = sums_of(np.random.default_rng(1))
  drawn = resampling.score(TASK, sums, resampling.make_draws(60))
  whole = sums['confusion'].sum(0)
  assert drawn.value == pytest.approx(
    TASK.scores({'confusion': whole, 'nll': 60.0, 'count': 18000})['miou']
  )
  low, high = drawn.interval(0.95)
  assert low < drawn.value < high
  assert high - low == pytest.approx(4 * drawn.error(), rel=0.1)


def test_a_difference_is_paired():
  rng = np.random.default_rng(2)
  sums = sums_of(rng)
  better = {**sums, 'confusion': sums['confusion'].copy()}
  better['confusion'][:, 0, 0] += 3
  better['confusion'][:, 0, 1] -= 3
  draws = resampling.make_draws(60)
  ours, theirs = (resampling.score(TASK, x, draws) for x in (better, sums))
  difference = ours.minus(theirs)
  assert difference.error() < 0.2 * ours.error()
  run = verdict.of_drawn_run(ours, theirs, TASK)
  assert run['outcome'] == verdict.UNKNOWN
  assert 0 < run['interval'][0] < run['difference'] < run['interval'][1]
  assert run['p_examples'] == 1 / resampling.DRAWS
  assert 'points of test mean IoU' in run['text']
  assert 'images drawn 1000 times' in run['evidence']


def test_over_seeds_both_variations_count_and_less_may_be_better():
  rng = np.random.default_rng(3)
  draws = resampling.make_draws(60)
  scores = [
    (
      resampling.score(TASK, sums_of(rng, rate=0.85), draws),
      resampling.score(TASK, sums_of(rng, rate=0.7), draws),
    )
    for _ in range(3)
  ]
  ours, theirs = zip(*scores)
  mean = statistics.minus(*map(statistics.over_runs, (ours, theirs)))
  values = [[x.value for x in of] for of in (ours, theirs)]
  found = verdict.of_seeds(*values, mean, TASK)
  alone = verdict.of_seeds(*values, None, TASK)
  assert found['outcome'] == verdict.HELPED
  assert found['interval'][0] < alone['interval'][0]
  assert found['p'] < 0.05 and found['examples'] == 60
  worse = TASK._replace(better=-1, unit='', title='loss')
  hurt = verdict.of_seeds(*values, mean, worse)
  assert hurt['outcome'] == verdict.HURT
  assert 'better in 0 of 3' in hurt['evidence']
  assert 'points' not in hurt['text'] and 'test loss' in hurt['text']


def test_a_gap_that_may_be_zero_has_no_share():
  sums = sums_of(np.random.default_rng(4))
  draws = resampling.make_draws(60)
  low, middle, high = (
    resampling.score(TASK, sums_of(np.random.default_rng(k), rate=rate), draws)
    for k, rate in ((5, 0.5), (6, 0.7), (7, 0.9))
  )
  share = statistics.gap_closed(high, low, middle)
  gap = high.value - low.value
  assert share == pytest.approx((middle.value - low.value) / gap)
  assert statistics.gap_closed(low, high, middle) is None
  same = resampling.score(TASK, sums, draws)
  assert statistics.gap_closed(same, same, middle) is None


def test_without_any_prediction_nothing_is_known():
  empty = {
    'confusion': np.zeros((4, 3, 3), int),
    'nll': np.zeros(4),
    'count': np.zeros(4),
  }
  drawn = resampling.score(TASK, empty, resampling.make_draws(4))
  assert np.isnan(drawn.value) and np.isnan(drawn.interval(0.95)).all()
  assert np.isnan(drawn.error())
