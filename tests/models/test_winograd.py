"""Winograd's convolution gives what `lax.conv_general_dilated` gives."""

import functools

import jax
import jax.export
import numpy as np
import pytest

from kd_jax.models import convolution, winograd

SAME = ((1, 1), (1, 1))
NUMBERS = ('NHWC', 'HWIO', 'NHWC')


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
  'padding', [SAME, ((0, 0), (0, 0)), ((2, 2), (2, 2)), ((0, 1), (2, 0))]
)
@pytest.mark.parametrize('side', [(6, 8), (7, 5)])
def test_equal_to_the_plain_one(side, padding):
  x, kernel = draw(2, *side, 5), draw(3, 3, 5, 4, seed=1)

  def loss(function, x, kernel):
    y = function(x, kernel)
    return (y**3).sum(), y

  both = jax.jit(jax.grad(loss, (1, 2), has_aux=True), static_argnums=0)
  ours = both(functools.partial(winograd.convolve, padding), x, kernel)
  plain = both(
    functools.partial(
      jax.lax.conv_general_dilated,
      window_strides=(1, 1),
      padding=padding,
      dimension_numbers=NUMBERS,
    ),
    x,
    kernel,
  )
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * abs(b).max())


def convolve(x, kernel, stride=1, padding=SAME):
  return convolution.convolve(
    x, kernel, (stride, stride), padding, dimension_numbers=NUMBERS
  )


def products(x, kernel, **more) -> bool:
  """Whether a CPU is given no convolution for it."""
  traced = jax.jit(functools.partial(convolve, **more)).trace(x, kernel)
  lowered = traced.lower(lowering_platforms=('cpu',)).as_text()
  return 'stablehlo.convolution' not in lowered


def test_it_is_taken_where_it_is_faster():
  x, kernel = draw(64, 8, 8, 64), draw(3, 3, 64, 70)
  assert products(x, kernel)
  for slow in (
    products(x[:32], kernel),
    products(np.repeat(x, 8, 0), kernel),
    products(x[..., :32], kernel[:, :, :32]),
    products(x, kernel[..., :32]),
    products(x.reshape(64, 4, 16, 64), kernel),
    products(x, kernel, stride=2),
    products(x, kernel, padding=((3, 3), (3, 3))),
    products(x.astype('bfloat16'), kernel.astype('bfloat16')),
  ):
    assert not slow


def test_an_accelerator_is_given_the_convolution():
  traced = jax.jit(convolve).trace(draw(64, 8, 8, 64), draw(3, 3, 64, 64))
  for platform in ('cuda', 'tpu'):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert 'stablehlo.convolution' in text


def test_a_batch_without_a_number_is_plain():
  (batch,) = jax.export.symbolic_shape('b')
  shape = jax.ShapeDtypeStruct((batch, 32, 32, 64), np.float32)
  made = jax.export.export(jax.jit(convolve))(shape, draw(3, 3, 64, 64))
  assert 'stablehlo.convolution' in made.mlir_module()
