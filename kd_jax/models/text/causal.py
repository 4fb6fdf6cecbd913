"""Causal models: GPT-2, Llama, Qwen and Gemma are one network with options."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds, types
from kd_jax.models import base
from kd_jax.models.text import attention, layers, rotary

BIASES = ('query_key_value', 'out', 'mlp')


class Embeddings(nn.Module):
  """[B, L] indices -> [B, L, D], and the table of words for a tied head."""

  vocabulary: int
  width: int
  context: int  # of a table of positions; 0: there is none
  scaled: bool
  dropout: float

  @nn.compact
  def __call__(self, ids, positions, train=False):
    words = layers.embed(self.vocabulary, self.width, 'tokens')
    x = words(ids)
    if self.scaled:
      x *= jnp.asarray(self.width**0.5, x.dtype)
    if self.context:
      layers.check_places(ids.shape[1], self.context)
      x += layers.embed(self.context, self.width, 'positions')(positions)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return x, words.embedding


class Attention(nn.Module):
  """Causal self-attention of H query heads in h groups."""

  heads: int
  kv_heads: int
  head_width: int
  biases: tuple[str, ...]
  head_norms: str  # a kind of norm, of queries and keys; '': none
  epsilon: float
  scale: float
  soft_cap: float
  dropout: float

  @nn.compact
  def __call__(self, x, mask, turn, train=False):
    """`turn`: None, or positions, frequencies and factor of `rotate`."""

    def project(name, heads):
      biased = 'query_key_value' in self.biases
      y = layers.dense(heads * self.head_width, name, biased)(x)
      return attention.split_heads(y, heads)

    query = project('query', self.heads)
    key, value = (project(name, self.kv_heads) for name in ('key', 'value'))
    if self.head_norms:
      query, key = (
        layers.norm(self.head_norms, self.epsilon, f'{name}_norm')(y)
        for name, y in (('query', query), ('key', key))
      )
    if turn is not None:
      query, key = (rotary.rotate(y, *turn) for y in (query, key))
    attend = attention.Attend(self.scale, self.soft_cap, self.dropout)
    y, internals = attend(query, key, value, mask, train=train)
    y = attention.joined(y)
    y = layers.dense(x.shape[-1], 'out', 'out' in self.biases)(y)
    return y, internals


class Block(nn.Module):
  """Norm, attention, norm, dense layers; both are added to their inputs.

  With `post_norms` what is added passes through another norm (Gemma).
  """

  make_attention: Callable[..., nn.Module]
  make_mlp: Callable[..., nn.Module]
  norm: str
  epsilon: float
  post_norms: bool
  dropout: float

  @nn.compact
  def __call__(self, x, mask, turn, train=False):
    def norm(name):
      return layers.norm(self.norm, self.epsilon, name)

    def added(y, name):
      y = norm(name)(y) if self.post_norms else y
      return nn.Dropout(self.dropout, deterministic=not train)(y)

    attend = self.make_attention(name='attention')
    y, internals = attend(norm('attention_norm')(x), mask, turn, train=train)
    x = x + added(y, 'attention_post_norm')
    mlp = self.make_mlp(name='mlp')
    y = mlp(norm('mlp_norm')(x), train=train)
    return x + added(y, 'mlp_post_norm'), internals


class Causal(nn.Module):
  """A decoder alone: each token sees itself and those before it.

  Inputs: 'input_ids' i32 [B, L] and, optionally, 'attention_mask', 'positions'
  and 'segment_ids' (sequences packed in a row: each sees itself alone), all
  i32 [B, L].
  Outputs: 'embeddings', 'layer0', ... [B, L, D]; 'layer0_scores', '_attention'
  f32 [B, H, L, L] before and after the softmax; 'layer0_query' [B, H, L, d],
  '_key', '_value' [B, h, L, d], as they are compared, after rotation; 'final'
  (the last layer after a norm), 'logits' f32 [B, L, V] of the next token.
  """

  make_embeddings: Callable[..., nn.Module]
  make_block: Callable[..., nn.Module]
  classes: int
  depth: int
  head_width: int
  windows: tuple[int, ...]
  thetas: tuple[float, float] | None  # of layers without and with a window
  rope_scaling: Mapping[str, Any] | None
  norm: str
  epsilon: float
  tied: bool
  logit_cap: float

  @nn.compact
  def __call__(self, inputs, train=False):
    ids = attention.check_inputs(inputs)
    positions = attention.positions(inputs)
    embed = self.make_embeddings(name='embed')
    x, table = embed(ids, positions, train=train)
    outputs = {'embeddings': x}
    masks = {w: attention.mask(inputs, True, w) for w in {*self.windows}}
    for i in range(self.depth):
      window = self.windows[i % len(self.windows)]
      block = self.make_block(name=f'layers_{i}')
      turn = self._turn(positions, window > 0)
      x, internals = block(x, masks[window], turn, train=train)
      outputs[f'layer{i}'] = x
      outputs |= {f'layer{i}_{k}': v for k, v in internals.items()}
    x = outputs['final'] = layers.norm(self.norm, self.epsilon, 'norm')(x)
    head = layers.Head(self.classes, soft_cap=self.logit_cap, name='head')
    return {**outputs, 'logits': head(x, table if self.tied else None)}

  def _turn(self, positions, local: bool):
    """Positions, frequencies and factor of the rotation of a layer."""
    if self.thetas is None:
      return None
    # Layers with a base of their own see too little for a longer context.
    separate = local and self.thetas[0] != self.thetas[1]
    return positions, *rotary.frequencies(
      self.head_width,
      self.thetas[local],
      None if separate else self.rope_scaling,
    )


def causal(
  *,
  classes: kinds.Count,
  width: kinds.Count = 768,
  depth: kinds.Count = 12,
  heads: kinds.Count = 12,
  kv_heads: kinds.Whole = 0,
  head_width: kinds.Whole = 0,
  hidden: kinds.Whole = 0,
  context: kinds.Count = 2048,
  rope_theta: kinds.NonNegative = 10000.0,
  local_theta: kinds.NonNegative = 0.0,
  rope_scaling: Mapping[str, Any] | None = None,
  windows: Sequence[kinds.Whole] = (0,),
  norm: str = 'rms',
  epsilon: kinds.Positive = 1e-6,
  biases: Sequence[str] = (),
  head_norms: bool = False,
  post_norms: bool = False,
  activation: str = 'silu',
  gated: bool = True,
  scaled_embeddings: bool = False,
  score_width: kinds.Whole = 0,
  attention_cap: kinds.NonNegative = 0.0,
  logit_cap: kinds.NonNegative = 0.0,
  tied: bool = False,
  dropout: kinds.Fraction = 0.0,
  attention_dropout: kinds.Fraction = 0.0,
) -> base.Network:
  """A `Causal` network.

  Args:
    classes: V, the vocabulary.
    width, depth, heads: D, number of blocks, H.
    kv_heads: h, heads of keys and values; 0 is H.
    head_width: d of a head; 0 is D / H.
    hidden: width inside the blocks; 0 is 4 D.
    context: the most tokens of a sequence; without rotation, the table's size.
    rope_theta: base of the rotary positions; 0: a learned table instead.
    local_theta: likewise, of layers with a window; 0: the same.
    rope_scaling: None, or {'kind', ...} of `rotary.SCALINGS`.
    windows: keys that each layer sees, itself included, repeated over the
      layers; 0 is all.
    norm: a key of `layers.NORMS`.
    epsilon: of the norms.
    biases: the linear layers that have one, of BIASES.
    head_norms: whether queries and keys of each head are normed.
    post_norms: whether there is a norm after attention and dense layers too.
    activation: a key of `layers.ACTIVATIONS`.
    gated: whether the dense layers are (SwiGLU, GeGLU).
    scaled_embeddings: times sqrt(D).
    score_width: scores are divided by its square root; 0 is `head_width`.
    attention_cap, logit_cap: c of c tanh(x / c) on scores and logits; 0: none.
    tied: whether the head multiplies with the table of words.
    dropout: of embeddings and blocks, in training.
    attention_dropout: of attention weights, in training.

  Raises:
    ValueError: one line, for options that do not fit together.
  """
  _check(locals())
  head_width = head_width or width // heads
  attend = functools.partial(
    Attention,
    heads,
    kv_heads or heads,
    head_width,
    tuple(biases),
    norm if head_norms else '',
    epsilon,
    (score_width or head_width) ** -0.5,
    attention_cap,
    attention_dropout,
  )
  mlp = functools.partial(
    layers.MLP, hidden or 4 * width, activation, gated, 'mlp' in biases
  )
  table = 0 if rope_theta else context
  module = Causal(
    functools.partial(
      Embeddings, classes, width, table, scaled_embeddings, dropout
    ),
    functools.partial(Block, attend, mlp, norm, epsilon, post_norms, dropout),
    classes,
    depth,
    head_width,
    tuple(windows),
    (rope_theta, local_theta or rope_theta) if rope_theta else None,
    rope_scaling,
    norm,
    epsilon,
    tied,
    logit_cap,
  )
  return base.from_linen(
    module, head=lambda v: layers.head_of(v, soft_cap=logit_cap)
  )


def _check(options: Mapping[str, Any]) -> None:
  """Refuses options that do not fit together."""
  if not options['head_width']:
    layers.check_widths(options['width'], options['heads'])
  if options['kv_heads'] and options['heads'] % options['kv_heads']:
    raise ValueError(
      f'kv_heads must divide heads: {options["heads"]} by {options["kv_heads"]}'
    )
  for name in set(options['biases']) - set(BIASES):
    raise types.unknown('bias', name, BIASES)
  if not options['windows']:
    raise ValueError("'windows' is empty; legal: (0,), every layer sees all")
  layers.activation(options['activation'])
  layers.norm(options['norm'], 1e-6, 'norm')
  if options['rope_theta']:
    width = options['head_width'] or options['width'] // options['heads']
    if width % 2:
      raise ValueError(f'rotary positions need an even head_width, not {width}')
    theta, scaling = options['rope_theta'], options['rope_scaling']
    rotary.frequencies(width, theta, scaling)
