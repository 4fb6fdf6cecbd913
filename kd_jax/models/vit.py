"""Vision transformers with a class token and, as DeiT, a distillation token."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from kd_jax.models import base, layers

_normal = nn.initializers.truncated_normal(0.02)


class Attention(nn.Module):
  """Self-attention; also returns scores, queries, keys and values."""

  heads: int
  dtype: str

  @nn.compact
  def __call__(self, x):
    dtype = layers.compute_dtype(self.dtype)
    b, l, d = x.shape
    x = nn.Dense(3 * d, dtype=dtype, kernel_init=_normal, name='qkv')(x)
    x = x.reshape(b, l, 3, self.heads, d // self.heads)
    query, key, value = x.transpose(2, 0, 3, 1, 4)
    scores = jnp.einsum(
      'bhqd,bhkd->bhqk', query, key, preferred_element_type=jnp.float32
    ) / jnp.sqrt(d // self.heads)
    weights = nn.softmax(scores).astype(value.dtype)
    x = jnp.einsum('bhqk,bhkd->bqhd', weights, value).reshape(b, l, d)
    x = nn.Dense(d, dtype=dtype, kernel_init=_normal, name='proj')(x)
    return x, {'scores': scores, 'query': query, 'key': key, 'value': value}


class MLP(nn.Module):
  """Two dense layers with the exact GELU, four times as wide in between."""

  dtype: str

  @nn.compact
  def __call__(self, x):
    dtype = layers.compute_dtype(self.dtype)
    d = x.shape[-1]
    x = nn.Dense(4 * d, dtype=dtype, kernel_init=_normal, name='fc1')(x)
    x = nn.gelu(x, approximate=False)
    return nn.Dense(d, dtype=dtype, kernel_init=_normal, name='fc2')(x)


class Block(nn.Module):
  """Attention and dense layers, each after a norm and added to its input."""

  heads: int
  dtype: str

  @nn.compact
  def __call__(self, x):
    y, internals = Attention(self.heads, self.dtype, name='attn')(
      _norm(self.dtype, 'norm1')(x)
    )
    x = x + y
    y = MLP(self.dtype, name='mlp')(_norm(self.dtype, 'norm2')(x))
    return x + y, internals


class Patches(nn.Module):
  """[B, H, W, C] -> [B, L, D]: a linear map of each patch."""

  width: int
  patch: int
  dtype: str

  @nn.compact
  def __call__(self, x):
    b, h, w, _ = x.shape
    if h % self.patch or w % self.patch:
      raise ValueError(f'patch must divide the image: {h}x{w} by {self.patch}')
    size = (self.patch, self.patch)
    x = nn.Conv(
      self.width,
      size,
      size,
      'VALID',
      kernel_init=_normal,
      name='proj',
      dtype=layers.compute_dtype(self.dtype),
    )(x)
    return x.reshape(b, -1, self.width)


class ViT(nn.Module):
  """Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, as in timm.

  With `distilled`, the distillation token of Touvron et al. 2021 (DeiT),
  https://arxiv.org/abs/2012.12877: a second token with a separate linear
  layer. Inputs [B, H, W, C], H and W multiples of `patch`. L counts the tokens:
  class, then distillation, then patches by rows.
  Outputs: 'block1', 'block2', ... [B, L, D] (each block); 'block1_scores'
  f32 [B, heads, L, L] (attention before the softmax), 'block1_query', '_key',
  '_value' [B, heads, L, d]; 'tokens' [B, L, D] (after the last norm),
  'pooled' [B, D] (its class token), 'logits' [B, K]. With `distilled` also
  'class_logits', 'dist_logits' [B, K] of the two tokens; 'logits' is then
  their mean. DeiT's training reads 'class_logits' for the hard loss
  and 'dist_logits' for the teacher's.
  """

  width: int
  depth: int
  heads: int
  classes: int
  patch: int = 16
  distilled: bool = False
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    dtype = layers.compute_dtype(self.dtype)
    x = Patches(self.width, self.patch, self.dtype, name='patch_embed')(
      layers.cast(x, dtype)
    )
    x = self._with_tokens(x)
    outputs = {}
    for i in range(1, self.depth + 1):
      block = Block(self.heads, self.dtype, name=f'blocks_{i - 1}')
      x, internals = block(x)
      outputs[f'block{i}'] = x
      outputs |= {f'block{i}_{k}': v for k, v in internals.items()}
    x = outputs['tokens'] = _norm(self.dtype, 'norm')(x)
    outputs['pooled'] = x[:, 0]

    def linear(name):
      return nn.Dense(self.classes, dtype=dtype, kernel_init=_normal, name=name)

    logits = linear('head')(x[:, 0]).astype(jnp.float32)
    if self.distilled:
      dist_logits = linear('head_dist')(x[:, 1]).astype(jnp.float32)
      outputs |= {'class_logits': logits, 'dist_logits': dist_logits}
      logits = (logits + dist_logits) / 2
    return {**outputs, 'logits': logits}

  def _with_tokens(self, x):
    """Puts the learned tokens before the patches, and adds the positions."""
    b, l, d = x.shape
    names = ['cls_token', 'dist_token'] if self.distilled else ['cls_token']
    tokens = [
      jnp.broadcast_to(self.param(n, _normal, (1, 1, d)), (b, 1, d))
      for n in names
    ]
    x = jnp.concatenate([*(t.astype(x.dtype) for t in tokens), x], 1)
    position = self.param('pos_embed', _normal, (1, l + len(names), d))
    return x + position.astype(x.dtype)


def vit(width: int) -> Callable[..., base.Network]:
  """Maker of the transformer of this width: 12 blocks, heads of 64."""

  def make(
    *,
    classes: int,
    patch: int = 16,
    distilled: bool = False,
    dtype: str = 'float32',
  ) -> base.Network:
    layers.compute_dtype(dtype)
    if patch < 1:
      raise ValueError(f'patch must be at least 1; got {patch}')
    module = ViT(width, 12, width // 64, classes, patch, distilled, dtype)
    return base.from_linen(module, head='head')

  return make


def _norm(dtype, name):
  return nn.LayerNorm(
    epsilon=1e-6, dtype=layers.compute_dtype(dtype), name=name
  )
