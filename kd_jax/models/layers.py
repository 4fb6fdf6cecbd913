"""Building blocks of the zoo: convolution, norm, pooling, checks."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import types
from kd_jax.models import convolution

# He et al. 2015, https://arxiv.org/abs/1502.01852: the variance that a ReLU
# layer keeps, by what comes in (dense) and by what goes out (convolutions
# followed by a norm, as the CIFAR literature draws them).
he_in = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')
he_out = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')

DTYPES = ('float32', 'bfloat16')


def compute_dtype(name):
  """The dtype called `name`, one of DTYPES."""
  if name not in DTYPES:
    raise types.unknown('dtype', name, DTYPES)
  return jnp.dtype(name)


def rate(name, value):
  """A probability of dropping, checked: at least 0 and below 1."""
  if not 0 <= value < 1:
    raise ValueError(f'{name} must be at least 0 and below 1; got {value}')
  return float(value)


def conv(features, size=3, stride=1, *, groups=1, bias=False, dtype, name):
  """A square convolution, padded by size // 2 as PyTorch's is."""
  pad = size // 2
  return convolution.conv(
    features,
    (size, size),
    (stride, stride),
    padding=((pad, pad), (pad, pad)),
    feature_group_count=groups,
    use_bias=bias,
    dtype=dtype,
    kernel_init=he_out,
    name=name,
  )


def batch_norm(train, *, dtype, name):
  """Batch norm with PyTorch's constants; its arithmetic is f32 throughout."""
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    dtype=dtype,
    name=name,
  )


def max_pool(x, window=2):
  """The maximum of each window; what is left of an odd side is cut off.

  As reshape and max: the gradient of `nn.max_pool` (select-and-scatter) makes
  a small network three times slower on CPU. With a gradient, as choices, rows
  before columns: that of `max` asks which elements equal the maximum, and none
  do, 0 / 0, where XLA computes them again with other rounding.

  Args:
    x: [B, H, W, C].
    window: side of the windows, which do not overlap.

  Returns:
    [B, H // window, W // window, C].
  """
  h, w = x.shape[1:3]
  if min(h, w) < window:
    raise ValueError(f'images are too small for this network: pooling {h}x{w}')
  h, w = h // window, w // window
  return _pooled(x[:, : h * window, : w * window], window)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _pooled(x, window):
  b, h, w, c = x.shape
  x = x.reshape(b, h // window, window, w // window, window, c)
  return x.max((2, 4))


@_pooled.defjvp
def _pooled_jvp(window, primals, tangents):
  def chosen(x):
    b, h, w, c = x.shape
    x = x.reshape(b, h // window, window, w, c)
    x = functools.reduce(larger, (x[:, :, i] for i in range(window)))
    x = x.reshape(b, h // window, w // window, window, c)
    return functools.reduce(larger, (x[:, :, :, i] for i in range(window)))

  return jax.jvp(chosen, primals, tangents)


def larger(x, y):
  """The elementwise maximum; the gradient goes to the one that is taken."""
  return jnp.where(x >= y, x, y)


def max_pool_3_2(x):
  """The maximum of 3x3 windows at every second place, padded by one.

  As maxima of shifted slices, rows and columns apart, for the same reason.
  """
  return _max_3_2(_max_3_2(x, 1), 2)


def _max_3_2(x, axis):
  size = (x.shape[axis] + 1) // 2
  pad = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
  x = jnp.pad(x, pad, constant_values=-jnp.inf)
  at = lambda i: tuple(  # noqa: E731
    slice(i, i + 2 * size - 1, 2) if j == axis else slice(None)
    for j in range(x.ndim)
  )
  return functools.reduce(larger, (x[at(i)] for i in range(3)))


def classify(outputs, x, classes, dtype, name):
  """`outputs` with the end of every convolutional network of the zoo.

  Args:
    outputs: features by name, so far.
    x: [B, H, W, D], the last map: 'final'.
    classes, dtype, name: of the linear layer on its mean over space.

  Returns:
    outputs and 'final', 'pooled' [B, D], 'logits' [B, classes].
  """
  pooled = x.mean((1, 2), dtype=jnp.float32).astype(x.dtype)
  logits = nn.Dense(classes, dtype=dtype, name=name)(pooled)
  return {**outputs, 'final': x, 'pooled': pooled, 'logits': logits}


def flatten(x):
  """[B, H, W, C] -> [B, H*W*C], channels fastest (PyTorch: W fastest)."""
  return x.reshape(x.shape[0], -1)
