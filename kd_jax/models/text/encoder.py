"""Encoders: BERT, DistilBERT and RoBERTa are one network with options."""

import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds, types
from kd_jax.models import base
from kd_jax.models.text import attention, layers

HEADS = ('masked_lm', 'sequence', 'token', 'none')
POOLERS = ('', 'tanh', 'relu')


class Embeddings(nn.Module):
  """[B, L] indices -> [B, L, D]: words, places and kinds, then a norm.

  The table of words is returned too, for a tied head.
  """

  vocabulary: int
  width: int
  context: int
  offset: int
  token_types: int
  epsilon: float
  dropout: float

  @nn.compact
  def __call__(self, inputs, train=False):
    ids = attention.check_inputs(inputs)
    layers.check_places(ids.shape[1], self.context)
    words = layers.embed(self.vocabulary, self.width, 'tokens')
    places = layers.embed(self.context + self.offset, self.width, 'positions')
    x = words(ids) + places(attention.positions(inputs) + self.offset)
    if self.token_types:
      kinds_of = inputs.get('token_type_ids', jnp.zeros_like(ids))
      x += layers.embed(self.token_types, self.width, 'types')(kinds_of)
    x = layers.norm('layer', self.epsilon, 'norm')(x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return x, words.embedding


class Block(nn.Module):
  """Attention and two dense layers, each added to its input, then a norm."""

  heads: int
  hidden: int
  activation: str
  epsilon: float
  dropout: float
  attention_dropout: float

  @nn.compact
  def __call__(self, x, mask, train=False):
    drop = nn.Dropout(self.dropout, deterministic=not train)
    width = x.shape[-1]
    query, key, value = (
      attention.split_heads(layers.dense(width, name)(x), self.heads)
      for name in ('query', 'key', 'value')
    )
    attend = attention.Attend(
      (width // self.heads) ** -0.5, dropout=self.attention_dropout
    )
    y, internals = attend(query, key, value, mask, train=train)
    y = layers.dense(width, 'out')(attention.joined(y))
    x = layers.norm('layer', self.epsilon, 'attention_norm')(x + drop(y))
    y = layers.MLP(self.hidden, self.activation, name='mlp')(x)
    x = layers.norm('layer', self.epsilon, 'mlp_norm')(x + drop(y))
    return x, internals


class Encoder(nn.Module):
  """Devlin et al. 2018, https://arxiv.org/abs/1810.04805, as in transformers.

  Inputs: 'input_ids' i32 [B, L] and, optionally, 'attention_mask', 'positions',
  'segment_ids' (sequences packed in a row: each sees itself alone),
  'token_type_ids' (first or second sentence), all i32 [B, L].
  Outputs: 'embeddings', 'layer0', ... [B, L, D]; 'layer0_scores', '_attention'
  f32 [B, heads, L, L] before and after the softmax; 'layer0_query', '_key',
  '_value' [B, heads, L, d]; 'pooled' [B, D] (of the first token) where there is
  a pooler; 'final', what the head reads; 'logits' f32: [B, L, classes] of
  'masked_lm' and 'token', [B, classes] of 'sequence', and 'final' of 'none'.
  """

  vocabulary: int
  classes: int
  head: str
  width: int
  depth: int
  heads: int
  hidden: int
  context: int
  offset: int
  token_types: int
  activation: str
  pooler: str
  tied: bool
  epsilon: float
  dropout: float
  attention_dropout: float

  @nn.compact
  def __call__(self, inputs, train=False):
    x, table = Embeddings(
      self.vocabulary,
      self.width,
      self.context,
      self.offset,
      self.token_types,
      self.epsilon,
      self.dropout,
      name='embed',
    )(inputs, train=train)
    outputs, mask = {'embeddings': x}, attention.mask(inputs)
    for i in range(self.depth):
      x, internals = Block(
        self.heads,
        self.hidden,
        self.activation,
        self.epsilon,
        self.dropout,
        self.attention_dropout,
        name=f'layers_{i}',
      )(x, mask, train=train)
      outputs[f'layer{i}'] = x
      outputs |= {f'layer{i}_{k}': v for k, v in internals.items()}
    if self.head in ('sequence', 'none') and self.pooler:
      pooled = layers.dense(self.width, 'pooler')(x[:, 0])
      outputs['pooled'] = layers.activation(self.pooler)(pooled)
    return self._classify(outputs, x, table, train)

  def _classify(self, outputs, x, table, train):
    """The outputs with 'final' and 'logits'."""
    if self.head == 'none':
      return {**outputs, 'final': x, 'logits': x}
    if self.head == 'masked_lm':
      x = layers.activation(self.activation)(
        layers.dense(self.width, 'transform')(x)
      )
      x = layers.norm('layer', self.epsilon, 'transform_norm')(x)
    else:
      x = outputs.get('pooled', x[:, 0]) if self.head == 'sequence' else x
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    tied = table if self.head == 'masked_lm' and self.tied else None
    logits = layers.Head(self.classes, bias=True, name='head')(x, tied)
    return {**outputs, 'final': x, 'logits': logits}


def encoder(
  *,
  classes: kinds.Count,
  vocabulary: kinds.Whole = 0,
  head: str = 'masked_lm',
  width: kinds.Count = 768,
  depth: kinds.Count = 12,
  heads: kinds.Count = 12,
  hidden: kinds.Whole = 0,
  context: kinds.Count = 512,
  offset: kinds.Whole = 0,
  token_types: kinds.Whole = 2,
  activation: str = 'gelu',
  pooler: str = 'tanh',
  tied: bool = True,
  epsilon: kinds.Positive = 1e-12,
  dropout: kinds.Fraction = 0.1,
  attention_dropout: kinds.Fraction = 0.1,
) -> base.Network:
  """An `Encoder`.

  Args:
    classes: of the head: the vocabulary of 'masked_lm', the width of 'none'.
    vocabulary: number of tokens; 0 is `classes`, of a 'masked_lm'.
    head: one of HEADS.
    width, depth, heads: D, number of blocks, heads of each.
    hidden: width inside the blocks; 0 is 4 D.
    context: the most tokens of a sequence.
    offset: rows of the table of positions before the first (RoBERTa: 2).
    token_types: kinds of tokens, of 'token_type_ids'; 0: none.
    activation: a key of `layers.ACTIVATIONS`.
    pooler: what follows the linear layer on the first token; '': no layer.
    tied: whether a 'masked_lm' multiplies with the table of words.
    epsilon: of the norms.
    dropout: of embeddings, blocks and the head's input, in training.
    attention_dropout: of attention weights, in training.

  Raises:
    ValueError: one line, for options that do not fit together.
  """
  if head not in HEADS:
    raise types.unknown('head', head, HEADS)
  if pooler not in POOLERS:
    raise types.unknown('pooler', pooler, POOLERS)
  if head != 'masked_lm' and not vocabulary:
    raise ValueError(f"a text network with head='{head}' needs 'vocabulary'")
  vocabulary = vocabulary or classes
  wanted = {'masked_lm': vocabulary, 'none': width}.get(head, classes)
  if classes != wanted:
    raise ValueError(f"head='{head}' gives {wanted} classes, not {classes}")
  layers.check_widths(width, heads)
  layers.activation(activation)
  module = Encoder(
    vocabulary,
    classes,
    head,
    width,
    depth,
    heads,
    hidden or 4 * width,
    context,
    offset,
    token_types,
    activation,
    pooler,
    tied,
    epsilon,
    dropout,
    attention_dropout,
  )
  return base.from_linen(
    module, head=None if head == 'none' else layers.head_of
  )
