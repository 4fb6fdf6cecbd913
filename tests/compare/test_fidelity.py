"""Numbers from logits, intervals, and verdicts that claim no more than that.

Wilson: Newcombe (1998), Statistics in Medicine 17, 857, table I, method 3.
"""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from kd_jax.compare import fidelity, resampling, statistics, verdict


def logits(seed=0, size=200, classes=7):
  return 2 * np.random.default_rng(seed).normal(size=(size, classes))


def labels(seed=1, size=200, classes=7):
  return np.random.default_rng(seed).integers(0, classes, size)


def test_kl_is_the_sum_it_says():
  p, q = ([0.7, 0.2, 0.1], [0.5, 0.3, 0.2])
  wanted = sum(a * math.log(a / b) for a, b in zip(p, q))
  # Logits that differ by a constant for each example are the same.
  moved = np.log([p, p]) + np.array([[3.0], [-1.0]])
  found = fidelity.kl(moved, np.log([q, q]))
  assert found == pytest.approx(wanted, abs=1e-12)
  assert fidelity.kl(np.log([q]), np.log([p])) != pytest.approx(wanted)


def test_kl_is_zero_at_equality_and_finite_at_the_extremes():
  assert fidelity.kl(logits(), logits()) == pytest.approx(0, abs=1e-12)
  far = 1e4 * np.sign(logits())
  assert np.isfinite(fidelity.kl(far, -far))
  assert np.isfinite(fidelity.nll(far.astype(np.float32), labels()))


def test_nll_of_hard_labels_is_that_of_their_one_hot():
  hard = labels()
  soft = np.eye(7)[hard]
  wanted = reference.log_loss(
    hard, np.exp(fidelity.log_softmax(logits())), labels=range(7)
  )
  assert fidelity.nll(logits(), hard) == pytest.approx(wanted)
  assert fidelity.nll(logits(), soft) == pytest.approx(wanted)
  assert (fidelity.hard(soft) == hard).all()


def test_agreement_counts_the_teachers_class_among_the_first():
  teacher = np.array([[9.0, 1, 0], [0, 9, 1], [1, 0, 9], [9, 0, 1]])
  student = np.array([[9.0, 1, 0], [9, 1, 0], [9, 1, 0], [5, 0, 1]])
  assert fidelity.agreement(student, teacher) == 0.5
  assert fidelity.agreement(student, teacher, 2) == 0.75
  assert fidelity.agreement(student, teacher, 3) is None
  five = fidelity.agreement(logits(0), logits(5), 5)
  assert fidelity.agreement(logits(0), logits(5)) < five < 1


def test_calibration_error_by_hand():
  # Confidences 0.93, 0.93, 0.65, 0.65; right: yes, no, yes, yes.
  p = np.array([[0.93, 0.07], [0.93, 0.07], [0.65, 0.35], [0.65, 0.35]])
  bins = fidelity.reliability(np.log(p), np.array([0, 1, 0, 0]), bins=10)
  assert bins['count'] == [0] * 6 + [2, 0, 0, 2]
  assert bins['accuracy'][9] == 0.5
  assert bins['accuracy'][0] is None
  wanted = 0.5 * abs(0.5 - 0.93) + 0.5 * abs(1 - 0.65)
  assert fidelity.calibration_error(bins) == pytest.approx(wanted)
  # A bin is closed above: one half lies in the first of two.
  assert fidelity.reliability(np.zeros((3, 2)), [0, 1, 0], 2)['count'] == [3, 0]


def test_calibration_error_vanishes_where_confidence_is_accuracy():
  rng = np.random.default_rng(0)
  sure = rng.uniform(0.5, 1, 100_000)
  right = rng.random(sure.size) < sure
  p = np.stack([sure, 1 - sure], -1)
  bins = fidelity.reliability(np.log(p), np.where(right, 0, 1))
  assert fidelity.calibration_error(bins) < 0.01
  assert sum(bins['count']) == sure.size


def test_confusion_and_accuracy_by_class():
  found = fidelity.confusion(logits(), labels())
  wanted = reference.confusion_matrix(
    labels(), logits().argmax(-1), labels=range(7)
  )
  assert (found == wanted).all()
  recall = reference.recall_score(labels(), logits().argmax(-1), average=None)
  assert fidelity.per_class(logits(), labels()) == pytest.approx(list(recall))
  assert fidelity.per_class(np.eye(3)[:2], np.array([0, 1]))[2] is None


def hsic_cka(x, y):
  """CKA from centered Gram matrices, as the paper defines it."""
  n = len(x)
  h = np.eye(n) - 1 / n
  k, el = (h @ a @ a.T @ h for a in (x, y))
  return np.trace(k @ el) / math.sqrt(np.trace(k @ k) * np.trace(el @ el))


@pytest.mark.parametrize('width', [5, 90])  # fewer and more than examples
def test_cka_is_the_papers(width):
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(40, width)), rng.normal(size=(40, 12))
  y[:, :3] += 2 * x[:, :3]
  assert fidelity.cka(x, y) == pytest.approx(hsic_cka(x, y))


def test_cka_sees_neither_rotation_nor_scale_nor_shift():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(60, 2, 2, 3))
  turn, _ = np.linalg.qr(rng.normal(size=(12, 12)))
  turned = 3 * x.reshape(60, -1) @ turn + 5
  assert fidelity.cka(x, turned) == pytest.approx(1)
  stretched = x.reshape(60, -1) * np.linspace(0.01, 3, 12)
  assert fidelity.cka(x, stretched) < 0.95
  assert fidelity.cka(x, np.ones((60, 4))) is None


def test_mean_of_teachers_is_the_mean_of_their_probabilities():
  one, two = logits(0), logits(1)
  found = np.exp(fidelity.log_softmax(fidelity.mean_of([one, two])))
  wanted = sum(np.exp(fidelity.log_softmax(x)) for x in (one, two)) / 2
  np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_examples_are_what_the_teacher_taught():
  right, wrong, sure = [1.0, 0.0], [0.0, 1.0], [9.0, 0.0]
  teacher = np.array([right, right, wrong, right, right])
  baseline = np.array([wrong, right, wrong, wrong, wrong])
  student = np.array([right, wrong, right, wrong, sure])
  found = fidelity.examples(np.zeros(5, int), teacher, baseline, student)
  assert found == {'learned': [4, 0], 'lost': [1]}


@pytest.mark.parametrize(
  'correct, count, low, high',
  [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
   (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilson_is_newcombes_table(correct, count, low, high):
  assert statistics.wilson(correct, count) == pytest.approx(
    (low, high), abs=5e-5
  )
  # The other way round is the mirror image.
  mirror = statistics.wilson(count - correct, count)
  assert mirror == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize('split', [(0, 0), (1, 0), (3, 12), (12, 3), (8, 8)])
def test_mcnemar_is_the_exact_binomial_test(split):
  wanted = stats.binomtest(split[0], sum(split)).pvalue if any(split) else 1
  assert statistics.mcnemar(*split) == pytest.approx(wanted)


def test_interval_over_examples_is_agresti_and_mins():
  b, c, n = 12, 3, 360
  difference = np.r_[np.ones(b), -np.ones(c), np.zeros(n - b - c)]
  # Half an example more in each cell of the two by two table.
  b, c, n = b + 0.5, c + 0.5, n + 2
  middle, se = (b - c) / n, math.sqrt(b + c - (b - c) ** 2 / n) / n
  wanted = middle - 1.959964 * se, middle + 1.959964 * se
  assert statistics.over_examples(difference) == pytest.approx(wanted, abs=1e-7)
  low, high = statistics.over_examples(np.zeros(100))
  assert low < 0 < high


def test_interval_over_seeds_is_the_paired_t():
  ours, theirs = [0.91, 0.93, 0.94, 0.90], [0.90, 0.91, 0.90, 0.91]
  wanted = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
  found = statistics.over_seeds(np.subtract(ours, theirs))
  assert found == pytest.approx(tuple(wanted))
  with pytest.raises(ValueError, match='two'):
    statistics.over_seeds([0.1])


@pytest.mark.parametrize('size', [0, 40, 4000])
def test_the_p_of_seeds_and_examples_is_that_of_their_interval(size):
  rng = np.random.default_rng(size)
  for _ in range(40):
    seeds = rng.normal(0.02, 0.02, rng.integers(2, 6))
    examples = rng.choice([-1, 0, 1], size) if size else None
    p = statistics.p_over_both(seeds, examples)
    low, high = statistics.over_both(seeds, examples, 1 - p)
    # The interval of level 1 - p ends at zero.
    assert min(abs(low), abs(high)) < 1e-9 or high - low > 1
    low, high = statistics.over_both(seeds, examples)
    assert (p < 0.05) == (not low <= 0 <= high)
    if examples is None:
      assert p == pytest.approx(stats.ttest_1samp(seeds, 0).pvalue)


def test_the_p_of_seeds_at_its_ends():
  examples = np.r_[np.ones(5), np.zeros(95)]
  assert statistics.p_over_both([0.0, 0.0], examples) == 1
  assert statistics.p_over_both([0.1, -0.1], examples) == 1
  # The same gain in every seed: only the examples are uncertain.
  equal = statistics.p_over_both([0.05, 0.05, 0.05], examples)
  assert 0 < equal < 0.05
  assert statistics.p_over_both([0.25, 0.25, 0.25]) == 0
  assert statistics.p_over_both([0.3, 0.30001] * 8) < 1e-30
  # The quantile of such a p is infinite from four seeds on.
  assert statistics.p_over_both([0.25] * 8) == 0
  assert 0 < statistics.p_over_both([0.25] * 8, examples) < 1e-3


def test_where_a_seed_has_no_score_there_is_neither_p_nor_interval():
  values = [np.nan, 0.1]
  assert np.isnan(statistics.p_over_both(values))
  assert np.isnan(statistics.over_both(values, np.ones(40))).all()


def test_the_interval_of_an_accuracy_covers_seeds_and_examples():
  assert statistics.of_accuracy([0.9], 360) == statistics.wilson(324, 360)
  low, high = statistics.of_accuracy([0.9, 0.9], 360)
  assert (low, high) == pytest.approx(statistics.wilson(324, 360))
  wide = statistics.of_accuracy([0.86, 0.94, 0.90], 360)
  seeds = statistics.over_seeds([0.86, 0.94, 0.90])
  assert wide[0] < min(low, seeds[0]) and wide[1] == 1.0


def test_gap_closed():
  teacher = np.ones(100, bool)
  baseline, student = (np.arange(100) < k for k in (60, 80))
  assert statistics.gap_closed(teacher, baseline, student) == pytest.approx(0.5)
  assert statistics.gap_closed(teacher, student, baseline) == pytest.approx(-1)
  # A gap of one example in a hundred may be none.
  near = np.arange(100) < 99
  assert statistics.gap_closed(teacher, near, student) is None


def split(only, other, both=100, size=300):
  """Where two networks are right: (student, baseline), bool [size]."""
  student = np.arange(size) < both + only
  baseline = np.arange(size) < both
  baseline[both + only : both + only + other] = True
  return student, baseline


@pytest.mark.parametrize('only, other', [(30, 5), (5, 30), (9, 5), (0, 0)])
def test_one_run_gives_no_verdict(only, other):
  found = verdict.of_run(*split(only, other))
  assert found['outcome'] == verdict.UNKNOWN
  assert 'p' not in found
  words = f'{found["text"]} {found["evidence"]}'.lower()
  assert 'one run, so no verdict' in words and 'seeds' in words
  for word in ('helped', 'hurt', 'negative', 'no difference', 'measurable'):
    assert word not in words
  assert found['difference'] == pytest.approx((only - other) / 300)
  low, high = found['interval']
  assert f'{100 * low:+.1f} to {100 * high:+.1f}' in found['text']
  assert 'over the 300 test examples' in found['text']
  assert 'One training run' in found['evidence']
  assert found['p_examples'] == statistics.mcnemar(only, other)


def test_verdict_of_seeds_needs_both_seeds_and_examples():
  baseline = [0.90, 0.91, 0.92]
  sure = np.r_[np.ones(60), np.zeros(940)]
  helped = verdict.of_seeds([0.96, 0.97, 0.98], baseline, sure)
  assert helped['outcome'] == verdict.HELPED
  assert helped['differences'] == pytest.approx([0.06] * 3)
  # The same gain in each seed, but of three examples in fifty.
  few = np.r_[np.ones(3), np.zeros(47)]
  found = verdict.of_seeds([0.96, 0.97, 0.98], baseline, few)
  assert found['outcome'] == verdict.SAME
  # As many examples, but one seed in three does not gain.
  spread = verdict.of_seeds([0.88, 1.0, 1.0], baseline, sure)
  assert spread['outcome'] == verdict.SAME
  assert '3 seeds' in spread['text']
  assert (
    verdict.of_seeds(baseline, [x + 0.06 for x in baseline], -sure)['outcome']
    == verdict.HURT
  )


def claims(rng, seeds, size=200, rounds=300):
  """How often a difference is claimed where there is none."""
  count = 0
  for _ in range(rounds):
    # Some examples are harder for all; each run has a level of its own.
    ease = rng.beta(8, 1, size)
    ours, theirs = (
      rng.random((seeds, size))
      < ease ** np.exp(0.3 * rng.normal(size=(seeds, 1)))
      for _ in range(2)
    )
    found = verdict.of_seeds(
      ours.mean(1), theirs.mean(1), (ours * 1.0 - theirs).mean(0)
    )
    count += found['outcome'] != verdict.SAME
  return count / rounds


@pytest.mark.parametrize('seeds', [2, 5])
def test_where_there_is_no_difference_few_are_claimed(seeds):
  # 5 % is promised; 8.8 % is three standard errors of 300 rounds above.
  assert claims(np.random.default_rng(seeds), seeds) < 0.088


def test_intervals_hold_what_they_promise():
  rng = np.random.default_rng(0)
  count = rng.binomial(80, 0.93, 2000)
  inside = [
    low <= 0.93 <= high
    for low, high in (statistics.wilson(k, 80) for k in count)
  ]
  assert 0.93 < np.mean(inside) < 0.98
  draws = rng.choice([-1, 0, 1], (2000, 150), p=[0.04, 0.86, 0.10])
  covered = [
    low <= 0.06 <= high for low, high in map(statistics.over_examples, draws)
  ]
  assert 0.93 < np.mean(covered) < 0.97


def test_a_difference_of_perplexities_may_exceed_one():
  draws = resampling.Resampled(13.0, np.linspace(12.5, 13.5, 101), 50, 'rows')
  low, high = statistics.over_both([12.9, 13.0, 13.1], draws)
  assert 12 < low < 13 < high < 14 and high - 13 == pytest.approx(13 - low)
