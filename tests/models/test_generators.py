"""Generators make normalized images of any size, and tables keep theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.models import generators
from tests.helpers import marks

KEY = jax.random.key(0)


@pytest.mark.parametrize(
  'shape', [(6, 9, 3), pytest.param((8, 8, 1), marks=marks.SLOW)]
)
def test_an_upsampler_makes_normalized_images(shape):
  made = generators.upsampler(shape, codes=5, width=4)
  batch = {'codes': jax.random.normal(KEY, (16, 5))}
  variables = made.init(KEY, batch)
  images, state = made.apply(variables, batch, rng=KEY)
  assert made.codes == 5 and images.shape == (16, *shape)
  np.testing.assert_allclose(images.mean((0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(images.std((0, 1, 2)), 1, rtol=1e-3)
  assert state.keys() == variables.keys() - {'params'}
  # The last norm has neither scale nor bias.
  assert len([k for k in variables['params'] if 'BatchNorm' in k]) == 3


def test_twice_the_size_repeats_each_pixel():
  x = jnp.arange(12.0).reshape(1, 2, 3, 2)
  expected = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
  np.testing.assert_array_equal(generators.twice(x), expected)


def test_a_table_gives_its_images_rolled_alike():
  made = generators.table((4, 5, 1), 6, jitter=1)
  batch = {'index': jnp.asarray([4, 0])}
  variables = made.init(KEY, batch)
  own = np.asarray(variables['params']['images'])
  still, _ = generators.table((4, 5, 1), 6).apply(variables, batch, rng=KEY)
  np.testing.assert_array_equal(still, own[[4, 0]])
  offsets = set()
  for seed in range(30):
    images, state = made.apply(variables, batch, rng=jax.random.key(seed))
    (by,) = (
      (i, j)
      for i in (-1, 0, 1)
      for j in (-1, 0, 1)
      if np.array_equal(images, np.roll(own[[4, 0]], (i, j), (1, 2)))
    )
    offsets.add(by)
  assert state == {} and len(offsets) == 9
