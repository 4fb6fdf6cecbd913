"""Faster forms of convolutions at which XLA's CPU backend is slow.

They compute `lax.conv_general_dilated`, and call it on GPU and TPU.
`python -m experiments.benchmarks.operations` measures both.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from kd_jax.models import winograd

FEW_CHANNELS = 3  # the most channels of images, whose patches are small
WIDE = 256 * 256  # C * C' beyond which XLA's gradient of the kernel is fast


def convolve(
  x,
  kernel,
  window_strides,
  padding,
  *,
  dimension_numbers,
  feature_group_count=1,
  lhs_dilation=None,
  rhs_dilation=None,
  precision=None,
):
  """`lax.conv_general_dilated` for a Linen Conv on [B, H, W, C].

  Faster on CPU where the convolution is 1x1, depthwise, or small and in f32,
  and its kernel is not dilated. It has one stride for both sides. Small
  convolutions and those by Winograd's method have reverse-mode derivatives
  only.
  """
  if not isinstance(padding, str):
    padding = tuple(map(tuple, padding))
  plain = _with(
    lax.conv_general_dilated,
    window_strides=window_strides,
    padding=padding,
    lhs_dilation=lhs_dilation,
    rhs_dilation=rhs_dilation,
    precision=precision,
    dimension_numbers=dimension_numbers,
    feature_group_count=feature_group_count,
  )
  if not set(rhs_dilation or ()) <= {1}:
    return plain(x, kernel)
  size, (c, out) = kernel.shape[:2], kernel.shape[2:]
  stride, groups = window_strides[0], feature_group_count
  if isinstance(padding, str):
    padding = tuple(
      lax.padtype_to_pads(x.shape[1:3], size, window_strides, padding)
    )
  if groups == x.shape[-1] == out:
    fast = _with(shifted_adds, stride=stride, padding=padding)
  elif size == (1, 1):
    fast = _with(_pointwise, stride=stride, groups=groups)
  elif groups > 1 or x.dtype != jnp.float32 or math.prod(size) > 9:
    return plain(x, kernel)
  elif winograd.suits(x, kernel, stride, padding):
    fast = _with(winograd.convolve, padding)
  elif c <= FEW_CHANNELS:
    fast = _with(_patches, stride=stride, padding=padding)
  elif c * out <= WIDE:
    fast = _with(_small, plain, stride, padding)
  else:
    return plain(x, kernel)
  return lax.platform_dependent(x, kernel, cpu=fast, default=plain)


@functools.lru_cache(1024)
def _with(function, *args, **options):
  """Cached `functools.partial`: one object for equal arguments.

  JAX caches compilation by a function's identity, so it traces one function
  for all layers of a shape.
  """
  return functools.partial(function, *args, **options)


# `nn.Conv`, with these forms.
conv = functools.partial(nn.Conv, conv_general_dilated=convolve)


def _pointwise(x, kernel, stride, groups):
  """A 1x1 convolution: a matrix product for each group."""
  x = x[:, ::stride, ::stride]
  *space, c = x.shape
  if groups == 1:
    return x @ kernel[0, 0]
  x = x.reshape(-1, groups, c // groups)
  kernel = kernel.reshape(c // groups, groups, -1)
  return jnp.einsum('ngi,igo->ngo', x, kernel).reshape(*space, -1)


def _shifts(x, size, stride, padding):
  """The input that each element of a kernel reads: a list of [B, H', W', C]."""
  h, w = (
    (n + sum(pads) - k) // stride + 1
    for n, k, pads in zip(x.shape[1:3], size, padding)
  )
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  return [
    x[
      :,
      i : i + (h - 1) * stride + 1 : stride,
      j : j + (w - 1) * stride + 1 : stride,
    ]
    for i in range(size[0])
    for j in range(size[1])
  ]


def shifted_adds(x, kernel, stride, padding):
  """A depthwise convolution: a weighted sum of shifted copies of x, in f32.

  x is [B, H, W, C], the kernel [h, w, 1, C']; C or C' may be 1.
  """
  weights = kernel.astype(jnp.float32).reshape(-1, 1, 1, 1, kernel.shape[-1])
  shifts = _shifts(x.astype(jnp.float32), kernel.shape[:2], stride, padding)
  return sum(s * w for s, w in zip(shifts, weights)).astype(x.dtype)


def _patches(x, kernel, stride, padding):
  """For few channels: every patch as a row, times the kernel as a matrix."""
  patches = jnp.concatenate(_shifts(x, kernel.shape[:2], stride, padding), -1)
  return patches @ kernel.reshape(-1, kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _small(plain, stride, padding, x, kernel):
  """`plain`, with the kernel's gradient as one product per kernel element."""
  return plain(x, kernel)


def _small_forward(plain, stride, padding, x, kernel):
  return plain(x, kernel), (x, kernel)


def _small_backward(plain, stride, padding, saved, gradient):
  # Without it XLA fuses the operation that computes x into every shift.
  (x, kernel), gradient = lax.optimization_barrier((saved, gradient))
  (to_x,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(gradient)
  halves = 2 - len(x) % 2  # one per core: XLA runs so thin a product on one

  def rows(a):
    return a.reshape(halves, -1, a.shape[-1])

  to_kernel = jnp.stack(
    [
      jnp.einsum('pni,pno->pio', rows(shift), rows(gradient)).sum(0)
      for shift in _shifts(x, kernel.shape[:2], stride, padding)
    ]
  )
  return to_x, to_kernel.reshape(kernel.shape)


_small.defvjp(_small_forward, _small_backward)
