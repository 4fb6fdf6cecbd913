"""Networks for text: encoders, causal models, T5, by the names of families.

Their inputs are dicts: 'input_ids' i32 [B, L] and what the module's docstring
names. Names of outputs are the same in all of them.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kd_jax.models import base
from kd_jax.models.text import causal, encoder, t5

# name -> maker(*, classes, **options) -> Network; an entry of a family is its
# published design, at the size of its smallest or best known model.
NETWORKS: dict[str, Callable[..., base.Network]] = {
  'bert': encoder.encoder,
  'distilbert': functools.partial(
    encoder.encoder, depth=6, token_types=0, pooler='relu'
  ),
  'roberta': functools.partial(
    encoder.encoder, offset=2, token_types=1, epsilon=1e-5
  ),
  'gpt2': functools.partial(
    causal.causal,
    context=1024,
    rope_theta=0.0,
    norm='layer',
    epsilon=1e-5,
    biases=causal.BIASES,
    activation='gelu_tanh',
    gated=False,
    tied=True,
    dropout=0.1,
    attention_dropout=0.1,
  ),
  'llama': causal.causal,
  'qwen2': functools.partial(causal.causal, biases=('query_key_value',)),
  'qwen3': functools.partial(causal.causal, head_width=128, head_norms=True),
  'gemma2': functools.partial(
    causal.causal,
    head_width=256,
    context=8192,
    windows=(4096, 0),
    norm='rms_plus_one',
    post_norms=True,
    activation='gelu_tanh',
    scaled_embeddings=True,
    score_width=256,
    attention_cap=50.0,
    logit_cap=30.0,
    tied=True,
  ),
  'gemma3': functools.partial(
    causal.causal,
    head_width=256,
    context=32768,
    rope_theta=1e6,
    local_theta=1e4,
    windows=(512, 512, 512, 512, 512, 0),
    norm='rms_plus_one',
    head_norms=True,
    post_norms=True,
    activation='gelu_tanh',
    scaled_embeddings=True,
    score_width=256,
    tied=True,
  ),
  't5': t5.t5,
}


def example_inputs(name: str, length: int = 4) -> dict:
  """Shapes of a batch of one sequence that the network `name` reads."""
  ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
  inputs = {'input_ids': ids, 'attention_mask': ids}
  if name == 't5':
    inputs |= {'decoder_input_ids': ids, 'decoder_attention_mask': ids}
  return inputs
