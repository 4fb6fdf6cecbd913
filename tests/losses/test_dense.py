"""Losses on maps of predictions, beside NumPy's in float64.

Golden values of other implementations: test_golden.py; laws of every loss:
test_feature_laws.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import dense
from tests.helpers import reference as ref

LABELS = np.array(
  [
    [0, 0, 0, 1, 1],
    [0, 0, 0, 1, 1],
    [0, 0, 0, -100, -100],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 2],
  ],
  np.int32,
)


def test_cwd_compares_places_and_not_classes():
  s, t = ref.draw(0, 2, 2, 3, 4), ref.draw(1, 2, 2, 3, 4)
  p, q = (ref.probs(np.moveaxis(x.reshape(2, 6, 4), 1, 2), 3.0) for x in (t, s))
  found = jax.jit(lambda s, t: dense.cwd(s, t, temperature=3.0))(s, t)
  np.testing.assert_allclose(found, 9 * ref.kl(p, q).mean(1), rtol=1e-5)
  shifted = dense.cwd(s + np.arange(4.0)[None, None, None], t, temperature=3.0)
  np.testing.assert_allclose(shifted, found, rtol=1e-5)


def test_cwd_refuses_what_has_no_places_or_other_channels():
  with pytest.raises(ValueError, match='student must be a map'):
    dense.cwd(jnp.ones((2, 3)), jnp.ones((2, 2, 2, 3)))
  with pytest.raises(ValueError, match='one place'):
    dense.cwd(jnp.ones((2, 1, 1, 3)), jnp.ones((2, 1, 1, 3)))
  with pytest.raises(ValueError, match='differ in shape'):
    dense.cwd(jnp.ones((2, 2, 2, 3)), jnp.ones((2, 2, 2, 4)))


def test_ifvd_leaves_void_alone_and_counts_it():
  s, t = ref.draw(2, 1, 5, 5, 3), ref.draw(3, 1, 5, 5, 4)

  def maps(x):
    cosine = np.ones((5, 5))
    for k in range(3):
      of = k == LABELS
      mean = x[0][of].mean(0)
      sizes = np.linalg.norm(x[0][of], axis=1) * np.linalg.norm(mean)
      cosine[of] = x[0][of] @ mean / sizes
    return cosine

  expected = ((maps(s) - maps(t)) ** 2).mean()
  found = dense.ifvd(s, t, jnp.asarray(LABELS[None]), classes=3)
  np.testing.assert_allclose(found, [expected], rtol=1e-5)
  # Labels of a larger grid: the upper left of each square.
  large = np.full((1, 10, 10), 2, np.int32)
  large[0, ::2, ::2] = LABELS
  again = dense.ifvd(s, t, jnp.asarray(large), classes=3)
  np.testing.assert_array_equal(again, found)
  with pytest.raises(ValueError, match=r'\[B, H, W\]'):
    dense.ifvd(s, t, jnp.zeros(1, jnp.int32), classes=3)


def _band(labels, width):
  """The definition: two classes in the square around a labelled pixel."""
  band = np.zeros(labels.shape, bool)
  for i, j in np.ndindex(labels.shape):
    rows = slice(max(i - width, 0), i + width + 1)
    columns = slice(max(j - width, 0), j + width + 1)
    near = labels[rows, columns]
    band[i, j] = labels[i, j] >= 0 and len(set(near[near >= 0])) > 1
  return band


@pytest.mark.parametrize('width', [1, 2])
def test_the_boundary_is_where_two_classes_meet(width):
  found = dense.boundary(jnp.asarray(LABELS[None]), width)[0]
  np.testing.assert_array_equal(found, _band(LABELS, width))
  assert not dense.boundary(jnp.full((1, 4, 4), -100), width).any()
  assert not dense.boundary(jnp.zeros((1, 4, 4), jnp.int32), width).any()


def test_boundary_kd_weighs_the_band():
  s, t = ref.draw(4, 1, 5, 5, 3), ref.draw(5, 1, 5, 5, 3)
  plain = ref.kl(ref.probs(t, 2.0), ref.probs(s, 2.0)) * 4
  weights = np.where(_band(LABELS, 1), 7, 0.5)
  labels = jnp.asarray(LABELS[None])
  found = dense.boundary_kd(
    s, t, labels, temperature=2.0, edge_weight=7.0, body_weight=0.5
  )
  np.testing.assert_allclose(found, weights[None] * plain, rtol=1e-5)
  with pytest.raises(ValueError, match='differ in size'):
    dense.boundary_kd(s, t, labels[:, :3])


def test_a_student_of_another_size_comes_to_the_teachers_places():
  s, t = jnp.asarray(ref.draw(6, 2, 2, 2, 3)), ref.draw(7, 2, 4, 6, 3)
  ours, theirs = dense.places(s, t)
  assert ours.shape == theirs.shape == (2, 4, 6, 3)
  assert ours.dtype == jnp.float32
