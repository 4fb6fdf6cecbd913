"""ITRD: the least value, constant channels, and the paper's entropies."""

import numpy as np
import pytest

from kd_jax.losses import information
from tests.helpers import reference as ref

S, T = ref.draw(0, 6, 4), ref.draw(1, 6, 4)
S32, T32 = np.float32(S), np.float32(T)


def test_the_least_value_is_at_equality():
  got = information.itrd_correlation(T32, 3 * T32 + 1, alpha=1.5)
  np.testing.assert_allclose(got, np.log2(4) - 3 * np.log2(6), rtol=1e-5)
  assert (information.itrd_correlation(S32, T32) > got).all()


def test_a_constant_channel_has_no_correlation():
  still = S32.copy()
  still[:, 1] = 0.1
  ref.finite(lambda s: information.itrd_correlation(s, T32), still)
  ref.finite(lambda s: information.itrd_mutual(s, T32), 0 * S32)
  rest = information.itrd_correlation(still[:, [0, 2, 3]], T32[:, [0, 2, 3]])
  got = information.itrd_correlation(still, T32)
  np.testing.assert_allclose(2**got, 2**rest + 1, rtol=1e-5)


def _mutual(student, bits):
  grams = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student, T)]
  grams = [x @ x.T for x in grams]
  own, joint = (
    ((g / np.trace(g)) ** 2).sum() for g in (grams[0], grams[0] * grams[1])
  )
  value = np.log2(own) - np.log2(joint) if bits else own - joint
  return np.full(6, value)


@pytest.mark.parametrize('variant', ['code', 'paper'])
def test_mutual_information(variant):
  ref.agree(
    lambda s: information.itrd_mutual(s, T32, variant=variant),
    lambda s: _mutual(s, variant == 'paper'),
    S,
  )


def test_widths_may_differ_in_one_of_the_two():
  information.itrd_mutual(S32[:, :3], T32)
  with pytest.raises(ValueError, match='differ in shape'):
    information.itrd_correlation(S32[:, :3], T32)
  with pytest.raises(ValueError, match='unknown variant'):
    information.itrd_mutual(S32, T32, variant='bits')
