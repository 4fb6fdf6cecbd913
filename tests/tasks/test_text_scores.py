"""Tasks of text: what their labels are, and their scores, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from kd_jax import tasks
from kd_jax.tasks import multilabel, regression, tagging

rng = np.random.default_rng(0)
N, L, K = 6, 5, 4
LOGITS = rng.normal(size=(N, L, K)).astype(np.float32)
LABELS = rng.integers(0, K, (N, L))
LABELS[:, -2:] = -100
LABELS[2] = -100  # nothing of it counts
VOID = tasks.VOID


def sums(task, logits, labels, shape, classes):
  """The parts of each example, and their sums."""
  stored = task.labels(labels, shape, classes, None, 'test')
  inside, mask = tasks.counted(stored, np)
  parts = task.per_example(jnp.asarray(logits), inside, mask)
  parts = {name: np.asarray(x) for name, x in parts.items()}
  return parts, {name: x.sum(0) for name, x in parts.items()}


def test_perplexity_is_of_all_tokens():
  parts, whole = sums(tasks.LANGUAGE, LOGITS, LABELS, (N, L), K)
  counts = LABELS >= 0
  nll = -special.log_softmax(LOGITS.astype(np.float64), -1)
  nll = np.take_along_axis(nll, np.where(counts, LABELS, 0)[..., None], -1)
  nll = nll[..., 0][counts]
  scores = tasks.LANGUAGE.scores(whole)
  assert next(iter(scores)) == tasks.LANGUAGE.score
  assert scores['nll'] == pytest.approx(nll.mean(), rel=1e-6)
  assert scores['perplexity'] == pytest.approx(np.exp(nll.mean()), rel=1e-6)
  right = (LOGITS.argmax(-1) == LABELS)[counts].mean()
  assert scores['token_accuracy'] == pytest.approx(right)
  assert parts['count'].tolist() == counts.sum(1).tolist()
  # ln 256 nats a byte are eight bits.
  assert tasks.bits_per_byte(np.log(256), 1.0) == pytest.approx(8)
  assert tasks.bits_per_byte(np.log(256), 4.0) == pytest.approx(2)
  empty = tasks.LANGUAGE.scores({name: 0 * x for name, x in whole.items()})
  assert all(np.isnan(x) for x in empty.values())


def test_a_label_that_does_not_count_is_said_in_three_ways():
  labels = np.array([[0, -100], [VOID, 9], [1, 2]])
  stored = tasks.LANGUAGE.labels(labels, (3, 2), 3, 9, 'x')
  assert stored.tolist() == [[0, VOID], [VOID, VOID], [1, 2]]
  assert stored.dtype == np.int32


def test_f1_of_tags():
  _, whole = sums(tasks.TAGGING, LOGITS, LABELS, (N, L), K)
  counts, named = LABELS >= 0, LOGITS.argmax(-1)
  want = []
  for k in range(K):
    hits = ((named == k) & (k == LABELS) & counts).sum()
    precision = hits / ((named == k) & counts).sum()
    recall = hits / (k == LABELS).sum()
    harmonic = 2 * precision * recall / max(precision + recall, 1e-9)
    want.append(harmonic)
  found = tagging.f1(whole)
  np.testing.assert_allclose(found, want)
  scores = tasks.TAGGING.scores(whole)
  assert scores['macro_f1'] == pytest.approx(np.mean(want))
  assert scores['token_accuracy'] == pytest.approx(
    (named == LABELS)[counts].mean()
  )
  absent = {**whole, 'labelled': [0] * K, 'named': [0] * K}
  assert np.isnan(tagging.f1(absent)).all()


def test_correlations_of_numbers():
  x = rng.normal(2, 1, (40, 1)).astype(np.float32)
  y = np.round(x[:, 0] + rng.normal(size=40), 0)  # with ties
  parts, whole = sums(tasks.REGRESSION, x, y, (40,), 1)
  scores = tasks.REGRESSION.scores(whole)
  pearson = stats.pearsonr(x[:, 0], y).statistic
  assert scores['pearson'] == pytest.approx(pearson, abs=1e-5)
  assert scores['mse'] == pytest.approx(np.square(x[:, 0] - y).mean(), rel=1e-5)
  spearman = stats.spearmanr(x[:, 0], y).statistic
  assert regression.further(parts)['spearman'] == pytest.approx(spearman)
  padded = {k: np.append(v, 0) for k, v in parts.items()}
  assert regression.further(padded) == regression.further(parts)
  for value in (
    0,
    0.3,
    100.1,
    31234.5,
  ):  # the rounding of a square is no spread
    constant = sums(tasks.REGRESSION, 0 * x + value, y, (40,), 1)[1]
    assert np.isnan(tasks.REGRESSION.scores(constant)['pearson'])


def test_f1_of_several_labels():
  logits = rng.normal(size=(30, K)).astype(np.float32)
  labels = rng.integers(0, 2, (30, K))
  _, whole = sums(tasks.MULTILABEL, logits, labels, (30,), K)
  named = logits > 0
  hits = (named & (labels > 0)).sum()
  scores = tasks.MULTILABEL.scores(whole)
  micro = 2 * hits / (named.sum() + labels.sum())
  assert scores['micro_f1'] == pytest.approx(micro)
  assert scores['exact'] == pytest.approx((named == labels).all(1).mean())
  p = special.expit(logits)
  nll = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum(1).mean()
  assert scores['nll'] == pytest.approx(nll, rel=1e-5)
  assert multilabel.MULTILABEL.per_class(whole).shape == (K,)


ONES = np.ones((N, L), int)
WRONG = {
  'rank': ('language', ONES[:, 0], r'legal: integers \[N, L\]'),
  'length': ('language', ONES[:, 1:], 'a label for every token'),
  'range': ('language', ONES * K, 'out of range, the first is 4'),
  'floats': ('tagging', ONES * 0.5, r'legal: integers \[N, L\]'),
  'count': ('tagging', ONES[1:], '6 sequences but 5 labels'),
  'numbers': ('regression', ONES, r'legal: numbers \[N\]'),
  'NaN': ('regression', np.full(N, np.nan), 'NaN or infinite'),
  'columns': ('multilabel', ONES, r'legal: 0 and 1, \[N, 4\]'),
  'values': ('multilabel', 2 * ONES[:, 1:], 'the value 2'),
}


@pytest.mark.parametrize('name', WRONG)
def test_other_labels_are_one_line(name):
  task, labels, words = WRONG[name]
  classes = 1 if task == 'regression' else K
  with pytest.raises(ValueError, match=words) as mistake:
    tasks.make_task(task).labels(labels, (N, L), classes, None, "'x' train")
  assert '\n' not in str(mistake.value)
