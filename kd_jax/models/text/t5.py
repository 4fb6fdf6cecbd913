"""T5: an encoder and a decoder with relative positions."""

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kd_jax import kinds
from kd_jax.models import base
from kd_jax.models.text import attention, layers


class Distances(nn.Module):
  """f32 [1, H, Q, S]: what is added to the score of each distance.

  Half of the buckets (of each sign, unless `causal`) are single distances, the
  rest grow in size with log distance up to `furthest`.
  """

  heads: int
  buckets: int
  furthest: int
  causal: bool

  @nn.compact
  def __call__(self, length):
    ahead = np.arange(length)[None] - np.arange(length)[:, None]
    table = layers.embed(self.buckets, self.heads, 'table')
    index = bucket(ahead, self.buckets, self.furthest, self.causal)
    return table(index).transpose(2, 0, 1)[None]


def bucket(ahead: np.ndarray, buckets: int, furthest: int, causal: bool):
  """The bucket of each distance (key minus query), as integers from 0."""
  count = buckets if causal else buckets // 2
  far = np.maximum(-ahead, 0) if causal else np.abs(ahead)
  exact = count // 2
  # In f32, as T5 was trained: some distances lie on a border.
  grown = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact))
  share = grown / np.float32(math.log(furthest / exact))
  large = exact + (share * np.float32(count - exact)).astype(np.int32)
  index = np.where(far < exact, far, np.minimum(large, count - 1))
  return index if causal else index + count * (ahead > 0)


class Attention(nn.Module):
  """Attention without biases; scores are not scaled."""

  heads: int
  head_width: int
  dropout: float

  @nn.compact
  def __call__(self, x, keys, mask, bias=None, train=False):
    query, key, value = (
      attention.split_heads(
        layers.dense(self.heads * self.head_width, name, bias=False)(y),
        self.heads,
      )
      for name, y in (('query', x), ('key', keys), ('value', keys))
    )
    attend = attention.Attend(1.0, dropout=self.dropout)
    y, internals = attend(query, key, value, mask, bias, train=train)
    y = layers.dense(x.shape[-1], 'out', bias=False)(attention.joined(y))
    return y, internals


class Block(nn.Module):
  """Self-attention, cross-attention where there is a source, dense layers."""

  make_attention: Callable[..., nn.Module]
  make_mlp: Callable[..., nn.Module]
  epsilon: float
  dropout: float

  @nn.compact
  def __call__(self, x, mask, bias, source=None, source_mask=None, train=False):
    def norm(name):
      return layers.norm('rms', self.epsilon, name)

    drop = nn.Dropout(self.dropout, deterministic=not train)
    attend = self.make_attention(name='attention')
    y = norm('attention_norm')(x)
    y, internals = attend(y, y, mask, bias, train=train)
    x = x + drop(y)
    if source is not None:
      cross = self.make_attention(name='cross')
      y, more = cross(norm('cross_norm')(x), source, source_mask, train=train)
      internals |= {f'cross_{k}': v for k, v in more.items()}
      x = x + drop(y)
    mlp = self.make_mlp(name='mlp')
    x = x + drop(mlp(norm('mlp_norm')(x), train=train))
    return x, internals


class T5(nn.Module):
  """Raffel et al. 2019, https://arxiv.org/abs/1910.10683, as in transformers.

  Inputs: 'input_ids', 'decoder_input_ids' (the target, shifted right), both
  i32 [B, L], and, optionally, 'attention_mask', 'decoder_attention_mask'.
  Outputs of the decoder: 'embeddings', 'layer0', ... [B, L, D];
  'layer0_scores', '_attention' f32 [B, H, L, L]; 'layer0_query', '_key',
  '_value' [B, H, L, d];
  'layer0_cross_scores', ... likewise over the source; 'final', 'logits' f32
  [B, L, V]. Those of the encoder begin with 'encoder_': 'encoder_embeddings',
  'encoder_layer0', ..., 'encoder_final'.
  """

  make_block: Callable[..., nn.Module]
  classes: int
  width: int
  depth: int
  decoder_depth: int
  buckets: int
  furthest: int
  heads: int
  tied: bool
  scaled: bool
  epsilon: float
  dropout: float

  @nn.compact
  def __call__(self, inputs, train=False):
    words = layers.Words(self.classes, self.width, name='embed')
    drop = nn.Dropout(self.dropout, deterministic=not train)
    sides = []
    for name in ('input_ids', 'decoder_input_ids'):
      x, table = words(attention.check_inputs(inputs, name))
      sides.append(drop(x))
    source = {
      key: inputs[key]
      for key in ('input_ids', 'attention_mask')
      if key in inputs
    }
    target = {'input_ids': inputs['decoder_input_ids']}
    if 'decoder_attention_mask' in inputs:
      target['attention_mask'] = inputs['decoder_attention_mask']
    outputs, x = self._stack('encoder', sides[0], source, None, train)
    outputs = {f'encoder_{name}': value for name, value in outputs.items()}
    seen = jnp.ones((1, 1, target['input_ids'].shape[1], 1), bool)
    source_mask = attention.mask(source)[:, :, :1] & seen
    more, x = self._stack('decoder', sides[1], target, (x, source_mask), train)
    outputs |= more
    scale = self.width**-0.5 if self.scaled else 1.0
    head = layers.Head(self.classes, scale=scale, name='head')
    return {**outputs, 'logits': head(x, table if self.tied else None)}

  def _stack(self, side, x, inputs, source, train):
    """Outputs of the encoder or the decoder, and its last, normed states."""
    causal = side == 'decoder'
    mask = attention.mask(inputs, causal)
    bias = Distances(
      self.heads, self.buckets, self.furthest, causal, name=f'{side}_distances'
    )(x.shape[1])
    outputs = {'embeddings': x}
    for i in range(self.decoder_depth if causal else self.depth):
      block = self.make_block(name=f'{side}_{i}')
      x, internals = block(x, mask, bias, *(source or ()), train=train)
      outputs[f'layer{i}'] = x
      outputs |= {f'layer{i}_{k}': v for k, v in internals.items()}
    x = layers.norm('rms', self.epsilon, f'{side}_norm')(x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return {**outputs, 'final': x}, x


def t5(
  *,
  classes: kinds.Count,
  width: kinds.Count = 512,
  depth: kinds.Count = 6,
  decoder_depth: kinds.Whole = 0,
  heads: kinds.Count = 8,
  head_width: kinds.Count = 64,
  hidden: kinds.Whole = 0,
  buckets: kinds.Count = 32,
  furthest: kinds.Count = 128,
  activation: str = 'relu',
  gated: bool = False,
  tied: bool = True,
  scaled: bool = True,
  epsilon: kinds.Positive = 1e-6,
  dropout: kinds.Fraction = 0.1,
) -> base.Network:
  """A `T5`.

  Args:
    classes: V, the vocabulary of both sides.
    width, depth, heads, head_width: D, blocks of the encoder, H, d.
    decoder_depth: blocks of the decoder; 0 is `depth`.
    hidden: width inside the blocks; 0 is 4 D.
    buckets, furthest: of the relative positions.
    activation: a key of `layers.ACTIVATIONS`.
    gated: whether the dense layers are (T5 v1.1: 'gelu_tanh').
    tied: whether the head multiplies with the table of words.
    scaled: whether logits are times D^-1/2 (not in v1.1).
    epsilon: of the norms.
    dropout: of embeddings, blocks and attention weights, in training.
  """
  layers.activation(activation)
  if buckets < 4 or furthest < buckets:
    raise ValueError(
      f"'buckets' must be at least 4 and 'furthest' no less; got {buckets} and "
      f'{furthest}'
    )
  block = functools.partial(
    Block,
    functools.partial(Attention, heads, head_width, dropout),
    functools.partial(
      layers.MLP, hidden or 4 * width, activation, gated, False, dropout
    ),
    epsilon,
    dropout,
  )
  module = T5(
    block,
    classes,
    width,
    depth,
    decoder_depth or depth,
    buckets,
    furthest,
    heads,
    tied,
    scaled,
    epsilon,
    dropout,
  )
  scale = width**-0.5 if scaled else 1.0
  return base.from_linen(module, head=lambda v: layers.head_of(v, scale))
