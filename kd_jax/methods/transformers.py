"""Methods for transformers on text: TinyBERT, MiniLM, MobileBERT, patient KD.

A transformer names the outputs of its blocks 'embeddings', 'layer0', 'layer1',
.. [B, L, D], and of a block 'layer0_scores' (before the softmax, [B, heads, L,
L]), 'layer0_query', 'layer0_key', 'layer0_value' [B, heads, L, d]. All methods
here take text with a mask, whose padding counts nowhere and whose packed
sequences do not see each other, or any tokens without.
"""

import functools
from collections.abc import Callable, Mapping

import jax
from flax import linen as nn

from kd_jax import kinds, types
from kd_jax.losses import attention, numerics, tokens
from kd_jax.losses import features as losses
from kd_jax.methods import adapters, base, features, layer_names, relations
from kd_jax.models import lazy

PROJECTIONS = ('shared', 'two', 'own', 'none')


def tinybert(
  *,
  layers: layer_names.Layers = (),
  scores: layer_names.Layers = (),
  projection: str = 'shared',
) -> base.Method:
  """TinyBERT's first stage: embeddings, hidden states and attention scores.

    sum over pairs of `layers` of mean (h_s W + b - h_t)^2
    + sum over pairs of `scores` of mean (A_s - A_t)^2
  A are scores before the softmax, -100 and less put to 0
  (`losses.attention.attention_mse`). Its second stage is the cross-entropy with
  the teacher's logits: `forward_kl` with variant='cross_entropy', of weight
  1/K for the mean over the K classes that its code takes, without T^2.

  Args:
    layers: [(student, teacher)] hidden states [B, L, D], the embeddings among
      them: [('embeddings', 'embeddings'), ('layer#', 'layer# evenly')] is the
      paper's map, teacher's layer (i + 1) L_t / L_s - 1 for student's layer i.
    scores: [(student, teacher)] scores [B, heads, L, L], as many heads on both
      sides: [('layer#_scores', 'layer#_scores evenly')].
    projection: W is one for all ('shared', the code), one for the first pair
      and one for the rest ('two', the paper), one for each ('own'), or there
      is none ('none', equal widths). Learned with the student.

  Returns:
    A method whose loss is f32 [B]; of text with a mask [B, L], each token's
    share. 0 where the teacher is predicted. No hyperparameters. Weight 1.

  Source: Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language
    Understanding", equations 7 to 9, https://arxiv.org/abs/1909.10351. Its
    code counts padding in every mean; with a mask it does not count here.
  """
  layers = layer_names.need('tinybert', layers)
  scores = layer_names.need('tinybert', scores) if scores else ()
  numerics.need_variant(projection, PROJECTIONS, 'projection')

  def compare(params, student, teacher, batch):
    mask = tokens.real(batch)
    total = 0.0
    for i, (ours, theirs) in enumerate(
      layer_names.pairs(layers, student, teacher)
    ):
      x = numerics.f32(student[ours])
      if projection != 'none':
        dense = nn.Dense(teacher[theirs].shape[-1])
        x = dense.apply({'params': params[_group(projection, i)]}, x)
      total += _squares(x, teacher[theirs], mask)
    masks = relations.masks_of(attention.attention_mse, batch)
    for ours, theirs in layer_names.pairs(scores, student, teacher):
      total += attention.attention_mse(student[ours], teacher[theirs], **masks)
    return total

  def init(key, student, teacher):
    params = {}
    for i, (ours, theirs) in enumerate(
      layer_names.pairs(layers, student, teacher)
    ):
      group = _group(projection, i)
      if projection != 'none' and group not in params:
        shape = jax.ShapeDtypeStruct((1, *student[ours].shape[1:]), 'float32')
        dense = nn.Dense(teacher[theirs].shape[-1])
        key = jax.random.fold_in(key, i)
        params[group] = lazy.init(dense, key, shape)['params']
    base.check('tinybert', compare, params, student, teacher, {})
    return {'params': params, 'state': {}}

  def loss(variables, student, teacher, batch, hparams):
    del hparams
    value = compare(variables['params'], student, teacher, batch)
    return value, variables['state']

  return base.Method(init, loss, {}, tokens=True)


def _group(projection: str, i: int) -> str:
  """The name of the projection of the i-th pair."""
  number = {'shared': 0, 'two': min(i, 1), 'own': i}.get(projection)
  return f'projection{number}'


def _squares(x, y, mask):
  """The mean squared difference of hidden states: [B], by token with a mask."""
  if mask is None:
    return losses.feature_mse(x, y)
  x, y = (side.reshape(-1, side.shape[-1]) for side in (x, y))
  return losses.feature_mse(x, y).reshape(mask.shape)


def _of_blocks(name: str, parts: Mapping[str, Callable]) -> Callable:
  """Makes (layers) -> the method that sums losses over parts of blocks.

  Args:
    name: of the method.
    parts: {ending of an output's name: loss on attention}.
  """

  def compare(student, ours, teacher, theirs, hparams, batch):
    del hparams
    total = 0.0
    for part, loss in parts.items():
      s = part_of(name, student, ours, part)
      t = part_of(name, teacher, theirs, part)
      total += loss(s, t, **relations.masks_of(loss, batch))
    return total

  def make(layers) -> base.Method:
    layers = layer_names.need(name, layers)
    return features.unadapted(name, layers, compare, {})

  return make


def part_of(name: str, outputs: Mapping, layer: str, part: str) -> jax.Array:
  """The output 'LAYER_PART' of a block.

  Raises:
    ValueError: there is none, with the known ones.
  """
  output = f'{layer}_{part}'
  if output not in outputs:
    raise types.unknown('output', output, outputs, f"method '{name}'")
  return outputs[output]


def minilm(*, layers: layer_names.Layers = ()) -> base.Method:
  """MiniLM: attention and relations of values of the last layer.

    KL(A_t || A_s) + KL(V_t || V_s)
  A = softmax of the scores, V = softmax(v v^T / sqrt(d)) of the values, each a
  mean over heads and queries. The widths are free, the numbers of heads equal.

  Args:
    layers: [(student, teacher)], one pair of blocks, the last of either:
      [('layer# last', 'layer# last')]. Read are their scores and values.

  Returns:
    A method whose loss is f32 [B], of text with a mask [B, L] by query, in
    nats; 0 at equality. No hyperparameters. Weight 1, and no other term.

  Source: Wang et al. 2020, "MiniLM", equations 7 to 9,
    https://arxiv.org/abs/2002.10957. There is no code of its training; the mean
    over all tokens is the paper's 1 / |x| for sequences of one length.
  """
  parts = {'scores': attention.attention_kl, 'value': attention.value_relation}
  return _of_blocks('minilm', parts)(layers)


def minilm_v2(
  *, layers: layer_names.Layers = (), relation_heads: kinds.Count = 48
) -> base.Method:
  """MiniLMv2: relations of queries, of keys and of values of one layer.

    sum over X in query, key, value of KL(R(X_t) || R(X_s))
  R(X) = softmax(x x^T / sqrt(d)) in each of the relation heads: all heads are
  joined and cut anew, so that neither their number nor their width must agree
  (`losses.attention.value_relation`).

  Args:
    layers: [(student, teacher)] blocks: the student's last, an upper middle
      one of a large teacher (21 of 24), the last of a base one.
    relation_heads: divides the joined width of either side; 48 for teachers
      of 12 heads, 64 for 16.

  Returns:
    A method whose loss is f32 [B], of text with a mask [B, L] by query, in
    nats; 0 at equality. No hyperparameters. Weight 1, and no other term.

  Source: Wang et al. 2021, "MiniLMv2", equations 5 to 8,
    https://arxiv.org/abs/2012.15828; the three weights are 1.
  """
  relation = functools.partial(
    attention.value_relation, relation_heads=relation_heads
  )
  return _of_blocks(
    'minilm_v2', dict.fromkeys(('query', 'key', 'value'), relation)
  )(layers)


def mobilebert(
  *, layers: layer_names.Layers = (), attention_weight: kinds.NonNegative = 1.0
) -> base.Method:
  """MobileBERT: hidden states and attention, block by block.

    sum over blocks of mean (h_s - h_t)^2 + w KL(A_t || A_s)
  Widths that differ get a dense layer, where the paper makes them equal by
  bottlenecks. Its progressive transfer trains one block at a time, the lower
  ones frozen: a term for each block, switched by the schedule of its weight.

  Args:
    layers: [(student, teacher)] blocks [B, L, D], as many on both sides:
      [('layer#', 'layer#')]. Read are the blocks and their scores.
    attention_weight: w, a hyperparameter (1).

  Returns:
    A method whose loss is f32 [B], of text with a mask [B, L]; 0 where both
    agree. Weight 1; the logits are a term of their own.

  Source: Sun et al. 2020, "MobileBERT", section 3.5,
    https://arxiv.org/abs/2004.02984.
  """
  layers = layer_names.need('mobilebert', layers)

  def plan(student, teacher):
    make = functools.partial(adapters.make_adapter, 'auto')
    return features.connect(layers, student, teacher, make)

  def compare(variables, student, teacher, batch, hparams):
    mask = tokens.real(batch)
    masks = relations.masks_of(attention.attention_kl, batch)
    pairs, total = plan(student, teacher), 0.0
    adapted, _ = features.adapt(variables, pairs, student)
    for x, pair in zip(adapted, pairs):
      s = part_of('mobilebert', student, pair.student, 'scores')
      t = part_of('mobilebert', teacher, pair.teacher, 'scores')
      value = attention.attention_kl(s, t, **masks)
      total += _squares(x, teacher[pair.teacher], mask)
      total += hparams['attention_weight'] * value
    return total

  hparams = {'attention_weight': float(attention_weight)}

  def init(key, student, teacher):
    variables = features.init_adapters(key, plan(student, teacher))
    base.check('mobilebert', compare, variables, student, teacher, {}, hparams)
    return variables

  def loss(variables, student, teacher, batch, hparams):
    value = compare(variables, student, teacher, batch, hparams)
    return value, variables['state']

  return base.Method(init, loss, hparams, tokens=True)


def pkd(
  *,
  layers: layer_names.Layers = (),
  normalize: bool = True,
  position: kinds.Whole = 0,
) -> base.Method:
  """Patient distillation: states of the first token in several layers.

    sum over pairs of layers of mean_d (n(h_s) - n(h_t))^2
  h is the state of the token at `position` (BERT's CLS), n divides by the L2
  norm; see `losses.features.pkd`.

  Args:
    layers: [(student, teacher)] hidden states [B, L, D] of one width. The
      paper's 'skip' is [('layer#', 'layer# every second')] without the last
      of either, its 'last' [('layer# last 5', 'layer# last 5')].
    normalize: whether n divides.
    position: of the token that stands for the sequence, from 0.

  Returns:
    A method whose loss is f32 [B]; 0 at equality. No hyperparameters. Not for
    packed rows, which hold several sequences.

  Raises:
    ValueError: at its use, for packed rows.

  Source: Sun et al. 2019, equation 7, https://arxiv.org/abs/1908.09355. The
    weight beta is 10 to 1000 there, of the mean over layers that its code
    takes where we sum; beside it (1 - alpha) CE + alpha T^2 KL.
  """

  def compare(student, ours, teacher, theirs, hparams, batch):
    del hparams
    if tokens.segments(batch) is not None:
      raise ValueError(
        "method 'pkd' reads one token of a row: rows may not be packed"
      )
    s, t = student[ours][:, position], teacher[theirs][:, position]
    return losses.pkd(s, t, normalize=normalize)

  layers = layer_names.need('pkd', layers)
  return features.unadapted('pkd', layers, compare, {})
