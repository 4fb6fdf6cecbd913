"""Every program here runs a few times only: it is compiled in a hurry."""

import jax
import pytest


@pytest.fixture(autouse=True, scope='module')
def in_a_hurry():
  before = jax.config.read('jax_disable_most_optimizations')
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', before)
