"""Adapters: which is chosen, what it makes, what cannot be brought together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import spatial
from kd_jax.methods import adapters

B = 3
# name, student's shape, teacher's: what the adapter can do.
FITS = [
  ('none', (4, 4, 2), (4, 4, 2)),
  ('pool', (4, 6, 2), (2, 3, 2)),
  ('pool', (5, 4, 2), (3, 4, 2)),
  ('pool', (4, 4, 2), (2,)),
  ('resize', (4, 2, 2), (2, 6, 2)),
  ('bilinear', (4, 2, 2), (3, 5, 2)),
  ('1x1', (4, 4, 2), (4, 4, 3)),
  ('1x1', (4, 4, 2), (2, 6, 3)),
  ('1x1', (5, 2), (5, 3)),
  ('3x3', (5, 4, 2), (3, 8, 3)),
  ('transposed', (2, 3, 2), (4, 9, 3)),
  ('transposed', (2, 3, 2), (2, 6, 3)),
  ('linear', (4,), (7,)),
  ('linear', (5, 2), (5, 3)),
  ('linear', (4, 4, 2), (7,)),
  ('linear', (4,), (2, 2, 3)),
]
REFUSED = [
  ('none', (4,), (5,)),
  ('pool', (2, 2, 2), (4, 4, 2)),
  ('pool', (4, 4, 2), (2, 2, 3)),
  ('pool', (4, 4, 2), (3,)),
  ('resize', (4, 4, 2), (2, 2, 3)),
  ('bilinear', (5, 2), (5, 3)),
  ('1x1', (4,), (5,)),
  ('1x1', (5, 2), (6, 3)),
  ('3x3', (5, 2), (5, 3)),
  ('transposed', (4, 4, 2), (6, 6, 2)),
  ('transposed', (4, 4, 2), (4, 4, 3)),
  ('auto', (4, 4, 2), (7,)),
  ('auto', (5, 2), (6, 2)),
  ('auto', (5,), (2, 2, 5)),
]
CHOSEN = [
  ('none', (4, 4, 2), (4, 4, 2)),
  ('none', (5,), (5,)),
  ('linear', (4,), (5,)),
  ('pool', (4, 4, 2), (2,)),
  ('pool', (4, 4, 2), (2, 2, 2)),
  ('1x1', (4, 4, 2), (2, 2, 3)),
  ('1x1', (4, 4, 2), (6, 6, 2)),
  ('1x1', (5, 2), (5, 3)),
  ('transposed', (4, 4, 2), (8, 8, 3)),
]


def _make(name, student, teacher):
  return adapters.make_adapter(name, (B, *student), (B, *teacher))


def _input(shape, seed=0):
  return jnp.asarray(
    np.random.default_rng(seed).normal(size=(B, *shape)), jnp.float32
  )


@pytest.mark.parametrize('name, student, teacher', FITS)
def test_makes_the_teachers_shape(name, student, teacher):
  made = _make(name, student, teacher)
  variables = jax.eval_shape(made.init, jax.random.key(0))
  out, state = jax.eval_shape(made.apply, variables, _input(student))
  assert out.shape == (B, *teacher)
  assert out.dtype == jnp.float32
  carried = {k: v for k, v in variables.items() if k != 'params'}
  assert state == carried
  learns = name in ('1x1', '3x3', 'transposed', 'linear')
  assert ('params' in variables) == learns


@pytest.mark.parametrize('name, student, teacher', REFUSED)
def test_refuses_with_both_shapes(name, student, teacher):
  with pytest.raises(ValueError) as error:
    _make(name, student, teacher)
  shown = ['x'.join(map(str, shape)) for shape in (student, teacher)]
  assert str(error.value) == (
    f"adapter '{name}' cannot bring {shown[0]} of the student to {shown[1]} "
    'of the teacher'
  )


@pytest.mark.parametrize('name, student, teacher', CHOSEN)
def test_auto_chooses_the_plainest(name, student, teacher):
  assert adapters.choose((B, *student), (B, *teacher)) == name


def test_unknown_names_are_refused():
  with pytest.raises(ValueError, match=r"unknown adapter '3x4'.*known: 1x1"):
    _make('3x4', (4, 4, 2), (4, 4, 2))


@pytest.mark.parametrize('name', adapters.ADAPTERS)
def test_couples_says_whether_an_example_moves_another(name):
  size = 4 if name == 'transposed' else 2
  made = _make(name, (2, 2, 2), (size, size, 2))
  variables = made.init(jax.random.key(0))
  x = _input((2, 2, 2))
  before, _ = made.apply(variables, x)
  after, _ = made.apply(variables, x.at[1].add(1.0))
  assert (abs(before[0] - after[0]).max() > 1e-3) == adapters.couples(name)
  assert abs(before[1] - after[1]).max() > 1e-3


@pytest.mark.parametrize('size', [(2, 2), (8, 8)])
def test_1x1_is_a_matrix_at_each_place(size):
  """Of a shrunken map, and of a map then stretched: the two commute."""
  made = _make('1x1', (4, 4, 2), (*size, 3))
  variables = made.init(jax.random.key(0))
  x = np.asarray(_input((4, 4, 2)))
  if size == (2, 2):
    x = x.reshape(B, 2, 2, 2, 2, 2).mean((2, 4))
  else:
    x = x.repeat(2, 1).repeat(2, 2)
  kernel = np.asarray(variables['params']['Dense_0']['kernel'])
  out, _ = made.apply(variables, _input((4, 4, 2)))
  np.testing.assert_allclose(out, x @ kernel, atol=1e-5)


def test_pool_to_a_vector_is_the_mean_over_places():
  made = _make('pool', (4, 4, 2), (2,))
  x = _input((4, 4, 2))
  out, _ = made.apply({}, x)
  np.testing.assert_allclose(out, np.asarray(x).mean((1, 2)), atol=1e-6)


@pytest.mark.parametrize('size', [(2, 2), (8, 8)])
def test_bilinear_maps_channels_where_they_differ(size):
  made = _make('bilinear', (4, 4, 2), (*size, 3))
  variables = made.init(jax.random.key(0))
  kernel = variables['params']['Dense_0']['kernel']
  out, _ = made.apply(variables, _input((4, 4, 2)))
  resized = spatial.bilinear(_input((4, 4, 2)), size)
  np.testing.assert_allclose(out, np.asarray(resized) @ kernel, atol=1e-5)
  plain = _make('bilinear', (4, 4, 2), (*size, 2)).apply({}, _input((4, 4, 2)))
  np.testing.assert_array_equal(plain[0], resized)
