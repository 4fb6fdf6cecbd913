"""VkD: its map keeps distances, before and after it has learned."""

import jax
import numpy as np
import pytest

from kd_jax.methods import vkd
from tests.helpers.methods import feature_runs

SHAPES = [(3, 5), (5, 3), (4, 4)]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('framed', [False, True])
def test_the_shorter_side_is_orthonormal(shape, framed):
  x = jax.random.normal(jax.random.key(0), shape)
  frame = jax.random.orthogonal(jax.random.key(1), max(shape))
  kernel = np.asarray(vkd.semi_orthogonal(x, frame if framed else None))
  assert kernel.shape == shape
  long = kernel if shape[0] >= shape[1] else kernel.T
  np.testing.assert_allclose(long.T @ long, np.eye(min(shape)), atol=1e-5)


def test_it_starts_at_the_frame():
  frame = jax.random.orthogonal(jax.random.key(1), 5)
  start = vkd.semi_orthogonal(np.zeros((5, 3), np.float32), frame)
  np.testing.assert_allclose(start, frame[:, :3], atol=1e-6)


def test_it_learns_the_map_alone():
  student = feature_runs.outputs(x=(6, 4))
  teacher = feature_runs.outputs(1, y=(2, 2, 3))
  runner = feature_runs.make('vkd', student, teacher, layers=[('x', 'y')])
  means, variables = runner.descend(30, 0.3)
  assert means[-1] < 0.95 * means[0]
  pair = variables['params']['pair0']['skew'], variables['state']['pair0']
  kernel = np.asarray(vkd.semi_orthogonal(pair[0], pair[1]['frame']))
  assert feature_runs.norm(pair[0]) > 0
  np.testing.assert_allclose(kernel.T @ kernel, np.eye(3), atol=1e-5)
