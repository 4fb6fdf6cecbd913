"""The words of Hugging Face's config.json beside ours."""

from kd_jax.models import text

# model_type -> name in `text.NETWORKS`.
TYPES = {
  **{name: name for name in text.NETWORKS if name != 'gemma3'},
  'gemma3_text': 'gemma3',
}
# The end of a class's name -> head of an encoder.
ENCODER_HEADS = {
  'ForMaskedLM': 'masked_lm',
  'ForPreTraining': 'masked_lm',
  'ForSequenceClassification': 'sequence',
  'ForTokenClassification': 'token',
  'Model': 'none',
}
CLASSES = {
  'bert': 'Bert',
  'distilbert': 'DistilBert',
  'roberta': 'Roberta',
  'gpt2': 'GPT2LMHeadModel',
  'llama': 'LlamaForCausalLM',
  'qwen2': 'Qwen2ForCausalLM',
  'qwen3': 'Qwen3ForCausalLM',
  'gemma2': 'Gemma2ForCausalLM',
  'gemma3': 'Gemma3ForCausalLM',
  't5': 'T5ForConditionalGeneration',
}
ENCODERS = ('bert', 'distilbert', 'roberta')
# Ours -> theirs, where both mean the same.
KEYS = {
  'bert': {
    'width': 'hidden_size',
    'depth': 'num_hidden_layers',
    'heads': 'num_attention_heads',
    'hidden': 'intermediate_size',
    'context': 'max_position_embeddings',
    'token_types': 'type_vocab_size',
    'activation': 'hidden_act',
    'epsilon': 'layer_norm_eps',
    'dropout': 'hidden_dropout_prob',
    'attention_dropout': 'attention_probs_dropout_prob',
    'vocabulary': 'vocab_size',
    'tied': 'tie_word_embeddings',
  },
  'distilbert': {
    'width': 'dim',
    'depth': 'n_layers',
    'heads': 'n_heads',
    'hidden': 'hidden_dim',
    'context': 'max_position_embeddings',
    'activation': 'activation',
    'dropout': 'dropout',
    'attention_dropout': 'attention_dropout',
    'vocabulary': 'vocab_size',
    'tied': 'tie_word_embeddings',
  },
  'gpt2': {
    'width': 'n_embd',
    'depth': 'n_layer',
    'heads': 'n_head',
    'hidden': 'n_inner',
    'context': 'n_positions',
    'activation': 'activation_function',
    'epsilon': 'layer_norm_epsilon',
    'dropout': 'resid_pdrop',
    'attention_dropout': 'attn_pdrop',
    'classes': 'vocab_size',
    'tied': 'tie_word_embeddings',
  },
  'llama': {
    'width': 'hidden_size',
    'depth': 'num_hidden_layers',
    'heads': 'num_attention_heads',
    'kv_heads': 'num_key_value_heads',
    'head_width': 'head_dim',
    'hidden': 'intermediate_size',
    'context': 'max_position_embeddings',
    'activation': 'hidden_act',
    'epsilon': 'rms_norm_eps',
    'attention_dropout': 'attention_dropout',
    'classes': 'vocab_size',
    'tied': 'tie_word_embeddings',
  },
  't5': {
    'width': 'd_model',
    'depth': 'num_layers',
    'decoder_depth': 'num_decoder_layers',
    'heads': 'num_heads',
    'head_width': 'd_kv',
    'hidden': 'd_ff',
    'buckets': 'relative_attention_num_buckets',
    'furthest': 'relative_attention_max_distance',
    'epsilon': 'layer_norm_epsilon',
    'dropout': 'dropout_rate',
    'classes': 'vocab_size',
  },
}
KEYS['roberta'] = KEYS['bert']
KEYS['qwen2'] = {k: v for k, v in KEYS['llama'].items() if k != 'head_width'}
KEYS['qwen3'] = KEYS['llama']
KEYS['gemma2'] = {
  **KEYS['llama'],
  'activation': 'hidden_activation',
  'score_width': 'query_pre_attn_scalar',
  'attention_cap': 'attn_logit_softcapping',
  'logit_cap': 'final_logit_softcapping',
}
KEYS['gemma3'] = KEYS['gemma2']
NEEDED = {'width', 'depth', 'heads', 'vocabulary', 'classes'}
ACTIVATIONS = {
  'gelu': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'relu': 'relu',
  'silu': 'silu',
  'swish': 'silu',
  'tanh': 'tanh',
}
# Keys whose other values change what a network computes, and their legal ones.
ONLY = {
  'position_embedding_type': ('absolute', None),
  'is_decoder': (False,),
  'add_cross_attention': (False,),
  'scale_attn_weights': (True,),
  'scale_attn_by_inverse_layer_idx': (False,),
  'use_bidirectional_attention': (False, None),
  'quantization_config': (None,),
  'partial_rotary_factor': (1.0,),
}
# Of a scaled rotation, ours -> theirs.
SCALING = {
  'linear': {'factor': 'factor'},
  'llama3': {
    'factor': 'factor',
    'low': 'low_freq_factor',
    'high': 'high_freq_factor',
    'context': 'original_max_position_embeddings',
  },
  'yarn': {
    'factor': 'factor',
    'fast': 'beta_fast',
    'slow': 'beta_slow',
    'context': 'original_max_position_embeddings',
    'attention': 'attention_factor',
  },
}
