"""Building blocks of the networks: convolution, norm, pooling, checks."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import types
from kd_jax.models import convolution

# He et al. 2015, https://arxiv.org/abs/1502.01852: the variance that a ReLU
# layer preserves, by its inputs (dense) or by its outputs (convolutions before
# a norm, as in the CIFAR literature).
he_in = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')
he_out = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')

DTYPES = ('float32', 'bfloat16')


def compute_dtype(name):
  """The dtype called `name`, one of DTYPES, as Linen's layers take it.

  'float32' is None, the dtype of inputs and parameters: they are f32, unless
  `compute.with_precision` rounds them.
  """
  if name not in DTYPES:
    raise types.unknown('dtype', name, DTYPES)
  return None if name == 'float32' else jnp.dtype(name)


def cast(x, dtype):
  """`x` in a dtype of `compute_dtype`."""
  return x if dtype is None else x.astype(dtype)


def rate(name, value):
  """A drop rate as float; refuses one outside [0, 1)."""
  if not 0 <= value < 1:
    raise ValueError(f'{name} must be at least 0 and below 1; got {value}')
  return float(value)


def conv(
  features, size=3, stride=1, *, groups=1, dilation=1, bias=False, dtype, name
):
  """A square convolution, padded by dilation (size // 2) as in PyTorch."""
  pad = dilation * (size // 2)
  return convolution.conv(
    features,
    (size, size),
    (stride, stride),
    padding=((pad, pad), (pad, pad)),
    feature_group_count=groups,
    kernel_dilation=(dilation, dilation),
    use_bias=bias,
    dtype=dtype,
    kernel_init=he_out,
    name=name,
  )


def batch_norm(train, *, dtype, name):
  """Batch norm with PyTorch's constants; it computes in f32 for any dtype."""
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    dtype=dtype,
    name=name,
  )


def max_pool(x, window=2):
  """The maximum of each window; an incomplete window at a border is dropped.

  It is computed by reshape and max: the gradient of `nn.max_pool`
  (select-and-scatter) makes a small network three times slower on CPU. The
  gradient is that of pairwise choices, first over rows, then over columns. The
  gradient of `max` would look for the elements equal to the maximum; where XLA
  recomputes them with different rounding there are none, and it is 0 / 0.

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
  """The elementwise maximum; the gradient goes to the larger, x if equal."""
  return jnp.where(x >= y, x, y)


def max_pool_3_2(x):
  """The maximum of 3x3 windows at stride 2, padded by one.

  It is a maximum of shifted slices, first of rows, then of columns, for the
  same reason as in `max_pool`.
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
  """The outputs of a convolutional network: features, pooled map, logits.

  Args:
    outputs: features by name.
    x: [B, H, W, D], the last map: 'final'.
    classes, dtype, name: of the linear layer on the map's mean over space.

  Returns:
    outputs and 'final', 'pooled' [B, D], 'logits' [B, classes].
  """
  pooled = x.mean((1, 2), dtype=jnp.float32).astype(x.dtype)
  logits = nn.Dense(classes, dtype=dtype, name=name)(pooled)
  return {**outputs, 'final': x, 'pooled': pooled, 'logits': logits}


def unit(
  x, features, size=3, stride=1, *, train, dtype, name, first=0, relu=True,
  **options,
):  # fmt: skip
  """A convolution, batch norm and, unless told otherwise, a ReLU.

  Args:
    x: [B, H, W, C].
    features, size, stride: of the convolution.
    train, dtype: of both.
    name: of PyTorch's Sequential of them, whose entry `first` is the
      convolution and the next one the norm.
    first, relu: as said.
    **options: groups and dilation of the convolution.
  """
  x = conv(
    features, size, stride, dtype=dtype, name=f'{name}_{first}', **options
  )(x)
  x = batch_norm(train, dtype=dtype, name=f'{name}_{first + 1}')(x)
  return nn.relu(x) if relu else x


def classify_pixels(outputs, x, classes, dtype, name):
  """The outputs of a network for every pixel: features, 'final', logits.

  Args:
    outputs: features by name.
    x: [B, h, w, D], the last map.
    classes, dtype, name: of the 1x1 convolution, with bias, on it.

  Returns:
    outputs and 'final' [B, h, w, D], 'logits' [B, h, w, classes].
  """
  logits = conv(classes, 1, bias=True, dtype=dtype, name=name)(x)
  return {**outputs, 'final': x, 'logits': logits}


def flatten(x):
  """[B, H, W, C] -> [B, H*W*C], channels fastest (PyTorch: W fastest)."""
  return x.reshape(x.shape[0], -1)
