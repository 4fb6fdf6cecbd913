"""Equal arguments, one object: JAX traces and compiles it once."""

import jax
import jax.numpy as jnp
import pytest

from kd_jax import memoize, models


def test_equal_arguments_give_the_very_same():
  made = memoize.memoize(lambda *args, **options: object())
  assert made(1, a={'b': [2]}) is made(1, a={'b': (2,)})
  assert made(1) is not made(1.0) is not made(True)
  assert made(a=1, b=2) is made(b=2, a=1)
  what = object()
  assert made(what) is not made(what)  # not JSON


def test_only_the_last_ones_are_kept():
  made = memoize.memoize(lambda number: object())
  first, last = made(0), made(memoize.KEPT)
  for number in range(memoize.KEPT):
    made(number)
  assert made(memoize.KEPT) is last
  made(memoize.KEPT + 1)
  assert made(0) is not first


def test_what_is_refused_is_refused_again():
  for _ in range(2):
    with pytest.raises(ValueError, match="unknown network 'nmlp'"):
      models.make_network('nmlp', 10)


def test_an_equal_network_is_compiled_once(caplog):
  inputs, key = jnp.zeros((2, 4, 4, 1)), jax.random.key(0)

  def compiled(*widths) -> bool:
    caplog.clear()
    network = models.make_network('mlp', 3, widths=list(widths))
    with jax.log_compiles():
      jax.jit(network.init)(key, inputs)
    return 'Finished XLA compilation of jit(init)' in caplog.text

  assert compiled(5)
  assert not compiled(5)
  assert compiled(6)
