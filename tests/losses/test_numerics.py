"""The log-space pieces, where a naive formula would give NaN or no digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import mixtures, numerics


def test_f32_widens_but_never_narrows():
  assert numerics.f32(jnp.ones(1, jnp.bfloat16)).dtype == jnp.float32
  with jax.enable_x64(True):
    assert numerics.f32(jnp.ones(1, jnp.float64)).dtype == jnp.float64


def test_kl_allows_zeros_on_either_side():
  log_p = jnp.log(jnp.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
  log_q = jnp.log(jnp.array([[0.25, 0.75, 0.0], [0.5, 0.25, 0.25]]))
  value, gradient = jax.value_and_grad(lambda p: numerics.kl(p, log_q).sum())(
    log_p
  )
  expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3) + np.log(2)
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  assert np.isfinite(gradient).all()


def test_kl_is_infinite_where_it_must_be():
  got = numerics.kl(jnp.log(jnp.array([0.5, 0.5])), jnp.array([0, -jnp.inf]))
  assert got == jnp.inf


def test_root_has_no_slope_at_zero():
  value, slope = jax.vmap(jax.value_and_grad(numerics.root))(
    jnp.array([0.0, 4.0])
  )
  np.testing.assert_array_equal(value, [0, 2])
  np.testing.assert_array_equal(slope, [0, 0.25])


def test_is_target():
  logits = jnp.zeros((3, 4))
  got = numerics.is_target(jnp.array([3, -100, 4]), logits)
  np.testing.assert_array_equal(np.argwhere(got), [[0, 3]])
  soft = jnp.array([[0.1, 0.6, 0.2, 0.1]] * 3)
  got = numerics.is_target(soft, logits)
  np.testing.assert_array_equal(np.argwhere(got)[:, 1], [1, 1, 1])


@pytest.mark.parametrize('share', [1e-12, 1e-4, 0.5, 1 - 1e-4])
def test_log_mix_has_all_its_digits(share):
  gap = np.array([-30.0, -1.0, -1e-3, 1e-6, 1.0, 30.0, 70.0])
  got = mixtures.log_mix(*map(jnp.float32, (gap, share, 1 - share)))
  gap = np.float32(gap).astype(np.float64)
  expected = np.log1p(share * np.expm1(gap))
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_an_unknown_variant_lists_the_known_ones():
  numerics.need_variant('paper', ('code', 'paper'))
  with pytest.raises(ValueError, match="'xyz'; known: code, paper"):
    numerics.need_variant('xyz', ('code', 'paper'))
