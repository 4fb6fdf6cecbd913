"""Convolutions that XLA's CPU backend is slow at, in a form that is not.

The numbers are those of `lax.conv_general_dilated`; on GPU and TPU it is that
function. Measured on two CPU cores, f32, batch 64, time with the gradient in
brackets: 3x3 per channel on 16x16x116 takes 156 (759) ms as a convolution and
3 (65) as nine shifted multiply-adds; 1x1 in three groups on 16x16x240 takes
29 (1003) ms and as a batched product 30 (69).
"""

import functools

import jax.numpy as jnp
from jax import lax


def convolve(
  x, kernel, window_strides, padding, *, dimension_numbers,
  feature_group_count=1, lhs_dilation=None, rhs_dilation=None, precision=None,
):
  """`lax.conv_general_dilated` for a Linen Conv on [B, H, W, C].

  Fast on CPU where the convolution is 1x1 or has a filter for each channel;
  undilated, one stride for both sides.
  """
  plain = functools.partial(
    lax.conv_general_dilated, window_strides=window_strides, padding=padding,
    lhs_dilation=lhs_dilation, rhs_dilation=rhs_dilation, precision=precision,
    dimension_numbers=dimension_numbers,
    feature_group_count=feature_group_count,
  )
  stride, groups = window_strides[0], feature_group_count
  if groups == x.shape[-1] == kernel.shape[-1]:
    fast = functools.partial(_per_channel, stride=stride, pad=padding[0][0])
  elif kernel.shape[:2] == (1, 1):
    fast = functools.partial(_pointwise, stride=stride, groups=groups)
  else:
    return plain(x, kernel)
  return lax.platform_dependent(x, kernel, cpu=fast, default=plain)


def _pointwise(x, kernel, stride, groups):
  """1x1: a matrix product for each group."""
  x = x[:, ::stride, ::stride]
  *space, c = x.shape
  if groups == 1:
    return x @ kernel[0, 0]
  x = x.reshape(-1, groups, c // groups)
  kernel = kernel.reshape(c // groups, groups, -1)
  return jnp.einsum('ngi,igo->ngo', x, kernel).reshape(*space, -1)


def _per_channel(x, kernel, stride, pad):
  """One filter a channel: shifted copies of x, multiplied and added in f32."""
  size, dtype = kernel.shape[0], x.dtype
  h, w = ((n + 2 * pad - size) // stride + 1 for n in x.shape[1:3])
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
  total = 0.0
  for i in range(size):
    for j in range(size):
      rows = slice(i, i + (h - 1) * stride + 1, stride)
      columns = slice(j, j + (w - 1) * stride + 1, stride)
      total += x[:, rows, columns] * kernel[i, j][None, None]
  return total.astype(dtype)
