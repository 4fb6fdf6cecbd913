"""Identities: the first difference is the one that a person changed."""

from kd_jax import identities


def test_the_first_difference_is_named():
  a, b = {'x': {'y': 1, 'z': [1, 2]}}, {'x': {'y': 2, 'z': (1, 2)}}
  assert identities.first_difference(a, b) == 'x.y is 1 now and 2 there'
  b['x']['y'] = 1
  assert identities.first_difference(a, b) is None


def test_the_outermost_difference_comes_first():
  """A seed stands before what follows it."""
  a, b = {'data': {'seed': 7}, 'seed': 7}, {'data': {'seed': 0}, 'seed': 0}
  assert identities.first_difference(a, b) == 'seed is 7 now and 0 there'


def test_a_hash_of_contents_is_cut():
  difference = identities.first_difference(
    {'data': 'f8ae245b' + '0' * 56}, {'data': '868d8d70' + '0' * 56}
  )
  assert difference == 'data is content f8ae245b now and content 868d8d70 there'
