"""The fast forms give what `lax.conv_general_dilated` gives, both ways."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from kd_jax.models import convolution

# size, stride, groups, width, channels of the input, images.
CASES = {
  'per channel, strided': (3, 2, 12, 12, 12, 2),
  'pointwise, strided': (1, 2, 1, 7, 12, 2),
  'pointwise, grouped': (1, 1, 3, 6, 12, 2),
  'two filters a channel': (3, 1, 12, 24, 12, 2),
  'full': (3, 1, 1, 7, 12, 2),
  'full, strided': (3, 2, 1, 7, 12, 2),
  'full, an odd number of images': (3, 1, 1, 7, 12, 3),
  'full and large': (5, 1, 1, 7, 12, 2),
  'full and wide': (3, 1, 1, 6000, 12, 2),
  'few channels': (3, 1, 1, 7, 3, 2),
  'few channels, strided': (3, 2, 1, 7, 1, 2),
}


@pytest.mark.parametrize('padding', ['by hand', 'SAME', 'VALID'])
@pytest.mark.parametrize('case', CASES)
def test_equal_to_the_plain_one(case, padding):
  size, stride, groups, width, channels, images = CASES[case]
  x = jax.random.normal(jax.random.key(0), (images, 7, 6, channels))

  def loss(variables, x, function):
    module = nn.Conv(
      width,
      (size, size),
      (stride, stride),
      size // 2 if padding == 'by hand' else padding,
      feature_group_count=groups,
      conv_general_dilated=function,
    )
    y = module.apply(variables, x)
    return (y**3).sum(), y

  kernel = jax.random.normal(
    jax.random.key(1), (size, size, channels // groups, width)
  )
  variables = {'params': {'kernel': kernel, 'bias': kernel[0, 0, 0]}}
  both = jax.jit(jax.grad(loss, (0, 1), has_aux=True), static_argnums=2)
  ours = both(variables, x, convolution.convolve)
  plain = both(variables, x, jax.lax.conv_general_dilated)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=1e-5 * float(abs(b).max())
    ),
    ours,
    plain,
  )


def test_the_cpu_takes_no_convolution_per_channel():
  x = np.ones((1, 4, 4, 3), np.float32)
  kernel = np.ones((3, 3, 1, 3), np.float32)

  def lowered(platform):
    run = jax.jit(
      lambda x, k: convolution.convolve(
        x,
        k,
        (1, 1),
        ((1, 1), (1, 1)),
        feature_group_count=3,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )
    )
    traced = run.trace(x, kernel)
    return traced.lower(lowering_platforms=(platform,)).as_text()

  assert 'stablehlo.convolution' not in lowered('cpu')
  assert 'stablehlo.convolution' in lowered('cuda')
