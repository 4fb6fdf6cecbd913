"""Names and layouts of weights in files of Hugging Face's `transformers`."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from flax import traverse_util

from kd_jax.types import Variables

_BERT = {
  'embed/tokens': 'bert.embeddings.word_embeddings',
  'embed/positions': 'bert.embeddings.position_embeddings',
  'embed/types': 'bert.embeddings.token_type_embeddings',
  'embed/norm': 'bert.embeddings.LayerNorm',
  'layers_#/query': 'bert.encoder.layer.#.attention.self.query',
  'layers_#/key': 'bert.encoder.layer.#.attention.self.key',
  'layers_#/value': 'bert.encoder.layer.#.attention.self.value',
  'layers_#/out': 'bert.encoder.layer.#.attention.output.dense',
  'layers_#/attention_norm': 'bert.encoder.layer.#.attention.output.LayerNorm',
  'layers_#/mlp/up': 'bert.encoder.layer.#.intermediate.dense',
  'layers_#/mlp/down': 'bert.encoder.layer.#.output.dense',
  'layers_#/mlp_norm': 'bert.encoder.layer.#.output.LayerNorm',
  'pooler': 'bert.pooler.dense',
  'transform': 'cls.predictions.transform.dense',
  'transform_norm': 'cls.predictions.transform.LayerNorm',
}
_ROBERTA = {
  **{
    ours: name.replace('bert.', 'roberta.', 1) for ours, name in _BERT.items()
  },
  'transform': 'lm_head.dense',
  'transform_norm': 'lm_head.layer_norm',
}
_DISTILBERT = {
  'embed/tokens': 'distilbert.embeddings.word_embeddings',
  'embed/positions': 'distilbert.embeddings.position_embeddings',
  'embed/norm': 'distilbert.embeddings.LayerNorm',
  'layers_#/query': 'distilbert.transformer.layer.#.attention.q_lin',
  'layers_#/key': 'distilbert.transformer.layer.#.attention.k_lin',
  'layers_#/value': 'distilbert.transformer.layer.#.attention.v_lin',
  'layers_#/out': 'distilbert.transformer.layer.#.attention.out_lin',
  'layers_#/attention_norm': 'distilbert.transformer.layer.#.sa_layer_norm',
  'layers_#/mlp/up': 'distilbert.transformer.layer.#.ffn.lin1',
  'layers_#/mlp/down': 'distilbert.transformer.layer.#.ffn.lin2',
  'layers_#/mlp_norm': 'distilbert.transformer.layer.#.output_layer_norm',
  'pooler': 'pre_classifier',
  'transform': 'vocab_transform',
  'transform_norm': 'vocab_layer_norm',
}
_GPT2 = {
  'embed/tokens': 'transformer.wte',
  'embed/positions': 'transformer.wpe',
  'layers_#/attention_norm': 'transformer.h.#.ln_1',
  'layers_#/attention/query': 'transformer.h.#.attn.c_attn',
  'layers_#/attention/key': 'transformer.h.#.attn.c_attn',
  'layers_#/attention/value': 'transformer.h.#.attn.c_attn',
  'layers_#/attention/out': 'transformer.h.#.attn.c_proj',
  'layers_#/mlp_norm': 'transformer.h.#.ln_2',
  'layers_#/mlp/up': 'transformer.h.#.mlp.c_fc',
  'layers_#/mlp/down': 'transformer.h.#.mlp.c_proj',
  'norm': 'transformer.ln_f',
  'head': 'lm_head',
}
_LLAMA = {
  'embed/tokens': 'model.embed_tokens',
  'layers_#/attention_norm': 'model.layers.#.input_layernorm',
  'layers_#/attention/query': 'model.layers.#.self_attn.q_proj',
  'layers_#/attention/key': 'model.layers.#.self_attn.k_proj',
  'layers_#/attention/value': 'model.layers.#.self_attn.v_proj',
  'layers_#/attention/out': 'model.layers.#.self_attn.o_proj',
  'layers_#/attention/query_norm': 'model.layers.#.self_attn.q_norm',
  'layers_#/attention/key_norm': 'model.layers.#.self_attn.k_norm',
  'layers_#/mlp_norm': 'model.layers.#.post_attention_layernorm',
  'layers_#/mlp/gate': 'model.layers.#.mlp.gate_proj',
  'layers_#/mlp/up': 'model.layers.#.mlp.up_proj',
  'layers_#/mlp/down': 'model.layers.#.mlp.down_proj',
  'norm': 'model.norm',
  'head': 'lm_head',
}
_GEMMA = {
  **_LLAMA,
  'layers_#/attention_post_norm': 'model.layers.#.post_attention_layernorm',
  'layers_#/mlp_norm': 'model.layers.#.pre_feedforward_layernorm',
  'layers_#/mlp_post_norm': 'model.layers.#.post_feedforward_layernorm',
}


def _t5(side, dense):
  """The names of one side, whose dense layers are the layer `dense`."""
  block = f'{side}.block.#.layer'
  parts = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}
  names = {
    f'{side}_#/attention/{ours}': f'{block}.0.SelfAttention.{theirs}'
    for ours, theirs in parts.items()
  }
  names |= {
    f'{side}_#/cross/{ours}': f'{block}.1.EncDecAttention.{theirs}'
    for ours, theirs in parts.items()
  }
  return {
    **names,
    f'{side}_#/attention_norm': f'{block}.0.layer_norm',
    f'{side}_#/cross_norm': f'{block}.1.layer_norm',
    f'{side}_#/mlp_norm': f'{block}.{dense}.layer_norm',
    f'{side}_#/mlp/down': f'{block}.{dense}.DenseReluDense.wo',
    f'{side}_distances/table': (
      f'{side}.block.0.layer.0.SelfAttention.relative_attention_bias'
    ),
    f'{side}_norm': f'{side}.final_layer_norm',
  }


_T5 = {
  'embed/tokens': 'shared',
  **_t5('encoder', 1),
  **_t5('decoder', 2),
  'head': 'lm_head',
}
_T5_DENSE = {
  f'{side}_#/mlp/{ours}': (
    f'{side}.block.#.layer.{dense}.DenseReluDense.{theirs}'
  )
  for side, dense in (('encoder', 1), ('decoder', 2))
  for ours, theirs in (('gate', 'wi_0'), ('up', 'wi_1'))
}
_T5_PLAIN = {
  f'{side}_#/mlp/up': f'{side}.block.#.layer.{dense}.DenseReluDense.wi'
  for side, dense in (('encoder', 1), ('decoder', 2))
}
_TABLES = {
  'bert': _BERT,
  'roberta': _ROBERTA,
  'distilbert': _DISTILBERT,
  'gpt2': _GPT2,
  'llama': _LLAMA,
  'qwen2': _LLAMA,
  'qwen3': _LLAMA,
  'gemma2': _GEMMA,
  'gemma3': _GEMMA,
}
# Of the last layer of encoders: name -> head -> names of kernel and bias; and
# of RoBERTa's layer before it.
_HEADS = {
  'bert': ('cls.predictions.decoder.weight', 'cls.predictions.bias'),
  'roberta': ('lm_head.decoder.weight', 'lm_head.bias'),
  'distilbert': ('vocab_projector.weight', 'vocab_projector.bias'),
}
# Names of the network itself, without its head, begin so; files of the network
# alone leave it out.
PREFIXES = {
  'bert': 'bert.',
  'roberta': 'roberta.',
  'distilbert': 'distilbert.',
  'gpt2': 'transformer.',
  't5': '',
}
PREFIX = 'model.'
# What files hold beside the weights of the network: buffers, the head of
# BERT's pre-training, and its pooler where nobody reads it.
UNREAD = re.compile(
  r'position_ids$|rotary_emb\.inv_freq$|\.attn\.(bias|masked_bias)$'
  r'|^cls\.seq_relationship\.|^(ro)?bert\.pooler\.'
)
# Second names of the table of words and of a tied head's bias.
TIED = {
  'embed/tokens': re.compile(
    r'^(lm_head|cls\.predictions\.decoder|lm_head\.decoder|vocab_projector'
    r'|encoder\.embed_tokens|decoder\.embed_tokens)\.weight$'
  ),
  'head/bias': re.compile(r'^(cls\.predictions|lm_head)\.decoder\.bias$'),
}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'embedding': 'weight'}


class Entry(NamedTuple):
  """A tensor of a file: our arrays, joined along their last axis.

  Attributes:
    paths: of the arrays in the variables.
    sizes: of their last axes.
    shape: of the tensor.
    turned: whether it is the transpose of our array.
  """

  paths: tuple[tuple[str, ...], ...]
  sizes: tuple[int, ...]
  shape: tuple[int, ...]
  turned: bool

  def from_file(self, x: np.ndarray) -> dict[tuple[str, ...], np.ndarray]:
    """{path: array} of a tensor."""
    x = x.T if self.turned else x
    cuts = np.cumsum(self.sizes)[:-1]
    return dict(zip(self.paths, np.split(x, cuts, axis=-1), strict=True))

  def to_file(self, flat: Mapping[tuple[str, ...], np.ndarray]) -> np.ndarray:
    """The tensor of {path: array}."""
    x = np.concatenate([np.asarray(flat[path]) for path in self.paths], -1)
    return np.ascontiguousarray(x.T if self.turned else x)


def table(name: str, head: str, variables: Variables) -> dict[str, Entry]:
  """{name in the file: Entry} of the arrays of a network.

  Args:
    name: of the network in `text.NETWORKS`.
    head: of an encoder; '' of others.
    variables: its arrays, or their shapes.
  """
  flat = traverse_util.flatten_dict(dict(variables))
  known = _names(name, head, flat)
  grouped = {}
  for path in flat:
    grouped.setdefault(_theirs(path, known), []).append(path)
  order = ('query', 'key', 'value')  # as GPT-2 joins them
  entries = {}
  for key, paths in grouped.items():
    if len(paths) > 1:
      paths = sorted(paths, key=lambda path: order.index(path[-2]))
    shapes = [tuple(flat[path].shape) for path in paths]
    sizes = tuple(shape[-1] for shape in shapes)
    shape = (*shapes[0][:-1], sum(sizes))
    # GPT-2's layers are stored as ours are; `head` is a linear layer there too.
    turned = paths[0][-1] == 'kernel' and (
      name != 'gpt2' or paths[0][1] == 'head'
    )
    shape = shape[::-1] if turned else shape
    entries[key] = Entry(tuple(paths), sizes, shape, turned)
  return entries


def _names(name, head, flat) -> dict[str, str]:
  """{our layer or array: their name}."""
  if name == 't5':
    gated = any('gate' in path for path in flat)
    return {**_T5, **(_T5_DENSE if gated else _T5_PLAIN)}
  names = dict(_TABLES[name])
  if name not in _HEADS:
    return names
  if head == 'masked_lm':
    names |= dict(zip(('head/kernel', 'head/bias'), _HEADS[name]))
  elif name == 'roberta' and head == 'sequence':
    names |= {'pooler': 'classifier.dense', 'head': 'classifier.out_proj'}
  else:
    names |= {'head': 'classifier'}
  if head == 'none':
    prefix = PREFIXES[name]
    names = {k: v.removeprefix(prefix) for k, v in names.items()}
  return names


def _theirs(path, known) -> str:
  """The name of the array at `path` ('params', ...)."""
  whole = '/'.join(path[1:])
  if whole in known:
    return known[whole]
  *layer, leaf = path[1:]
  first, number = re.match(r'(.*?)(?:_(\d+))?$', layer[0]).groups()
  layer = '/'.join([first if number is None else f'{first}_#', *layer[1:]])
  name = known[layer]
  if number is not None:
    name = name.replace('#', number)
  return f'{name}.{_LEAVES.get(leaf, leaf)}'
