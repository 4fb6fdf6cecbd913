"""Networks for text on disk, never trained, and a tokenizer of few words."""

import json

import jax
import numpy as np

from kd_jax import models, network_files
from kd_jax.models import base, text

WORDS = ('[PAD]', '[UNK]', '[MASK]', 'the', 'cat', 'dog', 'sat', 'ran')
SIZES = dict(width=16, depth=2, heads=2, hidden=24)
OPTIONS = {
  'bert': dict(context=20),
  'distilbert': dict(context=20, depth=2),
  'roberta': dict(context=20),
  'gpt2': dict(context=20),
  'llama': dict(kv_heads=1),
  'qwen3': dict(head_width=8, kv_heads=2),
  'gemma2': dict(head_width=8, kv_heads=1, windows=(3, 0), logit_cap=4.0),
  'gemma3': dict(head_width=8, kv_heads=1, windows=(3, 0)),
  't5': dict(head_width=8, buckets=8, furthest=12),
}


def save(folder, name: str, **options):
  """Writes the folder of a small network; network and variables."""
  build = {
    'name': name, 'classes': len(WORDS), **SIZES, **OPTIONS.get(name, {}),
    **options,
  }  # fmt: skip
  network = models.make_network(**build)
  shapes = base.variable_shapes(network, text.example_inputs(name))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(0.1, 0.4, x.shape).astype('f4'), shapes
  )
  network_files.save_network(folder, variables, {'build': build})
  return network, variables


def write_tokenizer(path) -> None:
  """A tokenizer.json that splits at spaces."""
  vocabulary = {word: k for k, word in enumerate(WORDS)}
  content = {
    'version': '1.0', 'truncation': None, 'padding': None, 'normalizer': None,
    'added_tokens': [], 'post_processor': None, 'decoder': None,
    'pre_tokenizer': {'type': 'WhitespaceSplit'},
    'model': {
      'type': 'WordLevel', 'vocab': vocabulary, 'unk_token': '[UNK]'
    },
  }  # fmt: skip
  path.write_text(json.dumps(content))
