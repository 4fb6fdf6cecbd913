"""What decays, and by how much."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import optim

PARAMS = {'kernel': jnp.ones((2, 3)), 'bias': jnp.ones(3)}
HPARAMS = {'learning_rate': jnp.float32(0.5), 'weight_decay': jnp.float32(0.1)}


def moved(**options) -> dict:
  """What a step of SGD along no gradient adds."""
  tx = optim.make_optimizer('sgd', **options)
  still = {k: jnp.zeros_like(v) for k, v in PARAMS.items()}
  updates, _ = tx.update(still, tx.init(PARAMS), PARAMS, hparams=HPARAMS)
  return updates


def test_biases_and_norms_decay_only_with_all():
  np.testing.assert_allclose(moved()['kernel'], -0.05)
  np.testing.assert_allclose(moved()['bias'], 0.0)
  np.testing.assert_allclose(moved(decay='all')['kernel'], -0.05)
  np.testing.assert_allclose(moved(decay='all')['bias'], -0.05)


@pytest.mark.parametrize('name', optim.OPTIMIZERS)
def test_an_unknown_decay_is_named(name):
  with pytest.raises(ValueError, match="unknown decay 'al'.*did you mean"):
    optim.make_optimizer(name, decay='al')
