"""Rotary positions: relative, and scaled as `transformers` scales them."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.models.text import rotary, t5

SCALINGS = {
  'linear': dict(factor=4.0),
  'llama3': dict(factor=8.0, low=1.0, high=4.0, context=32),
  'yarn': dict(factor=4.0, context=32),
}
THEIRS = {
  'low': 'low_freq_factor',
  'high': 'high_freq_factor',
  'context': 'original_max_position_embeddings',
}


def test_products_depend_on_the_distance_alone():
  rng = np.random.default_rng(0)
  query, key = (
    jnp.asarray(rng.normal(size=(1, 1, 1, 16)), jnp.float32) for _ in range(2)
  )
  turn, factor = rotary.frequencies(16, 1e4)

  def product(i, j):
    sides = (
      rotary.rotate(x, jnp.array([[at]]), turn, factor)
      for x, at in ((query, i), (key, j))
    )
    return float(jnp.vdot(*sides))

  assert product(3, 1) == pytest.approx(product(9, 7), rel=1e-4)
  assert product(5, 5) == pytest.approx(float(jnp.vdot(query, key)), rel=1e-5)
  assert product(3, 1) != pytest.approx(product(1, 3), rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize('kind', SCALINGS)
def test_scalings_beside_transformers(kind):
  transformers = pytest.importorskip('transformers')
  from transformers import modeling_rope_utils

  options = SCALINGS[kind]
  rope = {THEIRS.get(k, k): v for k, v in options.items()}
  config = transformers.LlamaConfig(
    hidden_size=64,
    num_attention_heads=2,
    max_position_embeddings=128,
    rope_parameters={'rope_type': kind, 'rope_theta': 5e3, **rope},
  )
  make = modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind]
  theirs, their_factor = make(config, 'cpu')
  ours, factor = rotary.frequencies(32, 5e3, {'kind': kind, **options})
  np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-6)
  assert factor == pytest.approx(their_factor)
  assert not np.allclose(ours, rotary.frequencies(32, 5e3)[0])


@pytest.mark.slow
@pytest.mark.parametrize('causal', [False, True])
def test_distances_of_t5_beside_transformers(causal):
  torch = pytest.importorskip('torch')
  pytest.importorskip('transformers')
  from transformers.models.t5 import modeling_t5

  ahead = np.arange(700)[None] - np.arange(700)[:, None]
  theirs = modeling_t5.T5Attention._relative_position_bucket(
    torch.tensor(ahead),
    bidirectional=not causal,
    num_buckets=32,
    max_distance=128,
  )
  ours = t5.bucket(ahead, 32, 128, causal)
  np.testing.assert_array_equal(ours, theirs.numpy())
