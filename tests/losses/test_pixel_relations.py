"""Relations between pixels, beside NumPy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import pixel_relations
from tests.helpers import reference as ref


def _unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _skd(s, t):
  """Two by two regions of a 4x6 map."""

  def similar(x):
    regions = x.reshape(len(x), 2, 2, 2, 3, -1).max((2, 4))
    u = _unit(regions.reshape(len(x), 4, -1))
    return u @ u.swapaxes(1, 2)

  return ((similar(s) - similar(t)) ** 2).mean((1, 2))


def test_skd_variants_have_one_value_and_two_gradients():
  s, t = ref.draw(0, 2, 4, 6, 5), ref.draw(1, 2, 4, 6, 3)
  gradients = {}
  for variant in ('code', 'paper'):

    def loss(x, variant=variant):
      return pixel_relations.skd_pairwise(x, t, variant=variant)

    values, gradients[variant] = ref.value_and_slope(loss, s)
    assert ref.apart(values, _skd(s, t)) < 3e-6
  slope = ref.slope(lambda x: _skd(x, t), s)
  assert ref.apart(gradients['paper'], slope) < 1e-5
  assert ref.apart(gradients['code'], slope) > 0.1
  with pytest.raises(ValueError, match="did you mean 'cirkd'"):
    pixel_relations.skd_pairwise(s, t, variant='cird')


def _cirkd(s, t, temperature):
  (s, t), n = (_unit(x.reshape(len(x), -1, x.shape[-1])) for x in (s, t)), 0
  rows = np.zeros(len(s))
  for i in range(len(s)):
    for j in range(len(s)):
      p, q = (ref.probs(x[i] @ x[j].T, temperature) for x in (t, s))
      rows[i] += ref.kl(p, q).mean() / len(s)
      n += 1
  assert n == len(s) ** 2
  return rows


def test_cirkd_rows_are_means_over_the_images():
  s, t = ref.draw(2, 3, 2, 3, 4), ref.draw(3, 3, 2, 3, 6)
  ref.agree(
    lambda x: pixel_relations.cirkd_minibatch(x, t, temperature=0.5),
    lambda x: _cirkd(x, t, 0.5),
    s,
    5e-6,
  )


def test_cirkd_pools_what_is_large():
  side = jax.ShapeDtypeStruct((1, 256, 260, 2), 'float32')
  jaxpr = jax.make_jaxpr(pixel_relations.cirkd_minibatch)(side, side)
  assert f'{64 * 65},{64 * 65}]' in str(jaxpr)


def test_cirkd_memory_compares_with_what_is_given():
  s, t, rows = ref.draw(4, 2, 3, 4), ref.draw(5, 2, 3, 4), ref.draw(6, 5, 4)
  rows = _unit(rows)
  p, q = (ref.probs(_unit(x) @ rows.T / 0.2, 3.0) for x in (t, s))
  found = pixel_relations.cirkd_memory(
    s, t, jnp.asarray(rows), temperature=0.2, kd_temperature=3.0
  )
  np.testing.assert_allclose(found, 9 * ref.kl(p, q), rtol=1e-5)
