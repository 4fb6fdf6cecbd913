"""Tests of the contrastive losses, memories and draws of negatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import contrastive

LABELS = np.asarray([2, 0, 1, 2, 0, 2, 1, 0, 0, 2], np.int32)


def _unit_rows(seed, shape):
  x = np.random.default_rng(seed).normal(size=shape)
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_crd_nce():
  scores = np.random.default_rng(0).uniform(0.01, 3, (4, 9))
  noise = 8 / 50
  expected = -np.log(scores[:, 0] / (scores[:, 0] + noise + 1e-7))
  for k in range(1, 9):
    expected -= np.log(noise / (scores[:, k] + noise + 1e-7))
  found = contrastive.crd_nce(scores.astype(np.float32), 50)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_crd_nce_is_finite_for_scores_of_any_size():
  scores = jnp.asarray([[0.0, 0.0], [1e-30, 1e30], [1e30, 1e-30]])
  value, slope = jax.value_and_grad(lambda x: contrastive.crd_nce(x, 10).sum())(
    scores
  )
  assert jnp.isfinite(value)
  assert jnp.isfinite(slope).all()


def test_crd_nce_falls_with_the_positive_and_rises_with_negatives():
  scores = jnp.full((3, 5), 0.7)
  slope = jax.grad(lambda x: contrastive.crd_nce(x, 20).sum())(scores)
  assert (slope[:, 0] < 0).all()
  assert (slope[:, 1:] > 0).all()


def test_info_nce():
  s, t = (np.random.default_rng(i).normal(size=(5, 6)) for i in (1, 2))
  unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (s, t)]
  logits = unit[0] @ unit[1].T / 0.2
  expected = np.log(np.exp(logits).sum(1)) - np.diagonal(logits)
  sides = s.astype(np.float32), t.astype(np.float32)
  loss = jax.jit(contrastive.info_nce)
  found = loss(*sides, temperature=0.2)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  scaled = loss(sides[0] * 9, sides[1] / 9, temperature=0.2)
  np.testing.assert_allclose(scaled, expected, rtol=1e-5)
  slope = jax.jit(jax.grad(lambda s: loss(s, sides[1], temperature=1e-3).sum()))
  assert jnp.isfinite(slope(sides[0])).all()


def test_info_nce_knows_nothing_where_all_rows_are_equal():
  same = jnp.ones((7, 3))
  found = contrastive.info_nce(same, same)
  np.testing.assert_allclose(found, np.log(7), rtol=1e-6)


@pytest.mark.parametrize('size', [30, 300])
def test_memory_logits_either_way(size):
  anchors, memory = _unit_rows(3, (4, 8)), _unit_rows(4, (size, 8))
  index = np.random.default_rng(5).integers(0, size, (4, 6)).astype(np.int32)
  expected = np.einsum('bd,bkd->bk', anchors, memory[index]) / 0.07
  found = contrastive.memory_logits(
    anchors.astype(np.float32), memory.astype(np.float32), index
  )
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_scores_over_the_normalizer_have_mean_one_over_n():
  logits = np.random.default_rng(6).normal(size=(4, 7))
  log_z = contrastive.log_normalizer(logits.astype(np.float32), 100)
  expected = np.exp(logits).mean() * 100
  assert float(jnp.exp(log_z)) == pytest.approx(expected, rel=1e-5)
  cold = contrastive.log_normalizer(1000 * logits.astype(np.float32), 100)
  assert jnp.isfinite(cold)


def test_update_memory():
  memory = _unit_rows(7, (9, 4)).astype(np.float32)
  new = _unit_rows(8, (3, 4)).astype(np.float32)
  index = jnp.asarray([5, 0, 9])  # the last one is padding
  found = contrastive.update_memory(memory, index, new, 0.25)
  expected = memory.copy()
  for row, v in zip((5, 0), new):
    mixed = 0.25 * memory[row] + 0.75 * v
    expected[row] = mixed / np.linalg.norm(mixed)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_update_memory_is_in_place_when_donated():
  memory = jnp.asarray(_unit_rows(9, (50, 4)), jnp.float32)
  new = jnp.asarray(_unit_rows(10, (2, 4)), jnp.float32)
  update = jax.jit(contrastive.update_memory, donate_argnums=0)
  place = memory.unsafe_buffer_pointer()
  moved = update(memory, jnp.asarray([3, 1]), new, 0.5)
  assert moved.unsafe_buffer_pointer() == place
  assert memory.is_deleted()


def _draw(seed, labels, count, mode):
  key = jax.random.key(seed)
  draw = jax.jit(contrastive.draw_negatives, static_argnums=(3, 4))
  labels = np.asarray(labels, np.int32)
  return np.asarray(draw(key, labels, LABELS, count, mode))


def test_exact_negatives_are_of_other_classes_and_uniform():
  labels = [0, 1, 2]
  drawn = _draw(0, labels, 6000, 'exact')
  assert drawn.shape == (3, 6000)
  assert drawn.dtype == np.int32
  for label, row in zip(labels, drawn):
    counts = np.bincount(row, minlength=10)
    others = label != LABELS
    assert (counts[~others] == 0).all()
    expected = 6000 / others.sum()
    assert abs(counts[others] - expected).max() < 6 * np.sqrt(expected)


def test_relaxed_negatives_are_of_any_class():
  counts = np.bincount(_draw(1, [0], 6000, 'relax')[0], minlength=10)
  assert abs(counts - 600).max() < 6 * np.sqrt(600)


def test_labels_without_a_class_or_without_others():
  counts = np.bincount(_draw(2, [-100], 6000, 'exact')[0], minlength=10)
  assert abs(counts - 600).max() < 6 * np.sqrt(600)
  key, one_class = jax.random.key(3), jnp.zeros(10, jnp.int32)
  alone = contrastive.draw_negatives(key, one_class[:1], one_class, 500)
  assert set(np.asarray(alone[0]).tolist()) == set(range(10))


def test_draws_follow_the_key():
  one, again = _draw(4, [0], 50, 'exact'), _draw(4, [0], 50, 'exact')
  np.testing.assert_array_equal(one, again)
  assert (one != _draw(5, [0], 50, 'exact')).any()


def test_unknown_mode_is_refused():
  with pytest.raises(ValueError, match="'exakt' of negatives; known: exact"):
    contrastive.draw_negatives(None, LABELS, LABELS, 3, 'exakt')
