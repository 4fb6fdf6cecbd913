"""Hugging Face's config.json as options of our networks, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax import kinds
from kd_jax.models import text
from kd_jax.models.hugging_face import tables
from kd_jax.models.text import rotary


def to_build(config: Mapping[str, Any]) -> dict[str, Any]:
  """The name and the options of the network that a config.json describes.

  Raises:
    ValueError: one line, for an architecture or a value that we do not have.
  """
  name, head = _architecture(config)
  for key, legal in tables.ONLY.items():
    if config.get(key, legal[0]) not in legal:
      raise ValueError(
        f"'{key}' of config.json is {config[key]!r}; legal: {legal[0]!r}"
      )
  build = {'name': name}
  for ours, theirs in tables.KEYS[name].items():
    value = config.get(theirs)
    if value is not None:
      build[ours] = value
    elif ours in tables.NEEDED:
      raise ValueError(f"config.json lacks '{theirs}'")
  if 'activation' in build:
    build['activation'] = _activation(build['activation'])
  if name in tables.ENCODERS:
    return _encoder(build, head, config)
  return _t5(build, config) if name == 't5' else _causal(build, config)


def _architecture(config) -> tuple[str, str]:
  """The name in `text.NETWORKS`, and the head of an encoder or ''."""
  kind = config.get('model_type')
  classes = config.get('architectures') or ['']
  known = {
    name: tables.CLASSES[name]
    for name in tables.CLASSES
    if name not in tables.ENCODERS
  }
  if kind in tables.TYPES:
    name = tables.TYPES[kind]
    if known.get(name) == classes[0]:
      return name, ''
    for end, head in tables.ENCODER_HEADS.items():
      if name in tables.ENCODERS and classes[0] == tables.CLASSES[name] + end:
        return name, head
  encoders = ', '.join(tables.CLASSES[name] for name in tables.ENCODERS)
  raise ValueError(
    f"unknown architecture '{classes[0]}' (model_type '{kind}') in "
    f'config.json; known: {", ".join(sorted(known.values()))}, and {encoders} '
    f'with {", ".join(tables.ENCODER_HEADS)}'
  )


def _activation(name):
  if name not in tables.ACTIVATIONS:
    raise ValueError(
      f"unknown activation '{name}' in config.json; known: "
      f'{", ".join(tables.ACTIVATIONS)}'
    )
  return tables.ACTIVATIONS[name]


def _encoder(build, head, config):
  labels = config.get('id2label')
  classes = len(labels) if labels else config.get('num_labels', 2)
  sizes = {'masked_lm': build['vocabulary'], 'none': build['width']}
  build |= {'head': head, 'classes': sizes.get(head, classes)}
  if build['name'] == 'roberta':
    build['offset'] = config.get('pad_token_id', 1) + 1
    build['context'] = build.get('context', 514) - build['offset']
  if build['name'] == 'distilbert' and head == 'none':
    build['pooler'] = ''
  return build


def _causal(build, config):
  name, width = build['name'], build['width']
  # Only Gemma and GPT-2 tie unless told otherwise.
  usual = name in ('gpt2', 'gemma2', 'gemma3')
  build.setdefault('tied', usual)
  if name == 'gpt2':
    return build
  if name == 'qwen2':
    build['head_width'] = width // build['heads']
  biased = config.get('attention_bias', False)
  biases = ['query_key_value', 'out'] if biased else []
  if name == 'qwen2':
    biases = ['query_key_value']
  if config.get('mlp_bias'):
    biases.append('mlp')
  build['biases'] = biases
  build['windows'] = _windows(name, build['depth'], config)
  if name in ('gemma2', 'gemma3'):
    # A null stands for no cap.
    for ours in ('attention_cap', 'logit_cap'):
      build.setdefault(ours, 0.0)
  return build | _rotation(name, config)


def _windows(name, depth, config) -> list[int]:
  """Keys that each layer sees, as one period of the layers."""
  window = config.get('sliding_window') or 0
  kinds_of = config.get('layer_types')
  if kinds_of is not None:
    windows = [window * (k == 'sliding_attention') for k in kinds_of]
  elif name in ('gemma2', 'gemma3'):
    period = 2 if name == 'gemma2' else config.get('sliding_window_pattern', 6)
    windows = [window * ((i + 1) % period > 0) for i in range(depth)]
  else:
    first = config.get('max_window_layers', 28)
    used = config.get('use_sliding_window', False)
    windows = [window * (used and i >= first) for i in range(depth)]
  if len(windows) != depth:
    raise ValueError(
      f"'layer_types' of config.json has {len(windows)} entries for {depth} "
      'layers'
    )
  return period_of(windows)


def period_of(values: Sequence) -> list:
  """The shortest start of a sequence whose repetition gives all of it."""
  for size in range(1, len(values) + 1):
    if all(values[i] == values[i % size] for i in range(len(values))):
      return list(values[:size])
  return list(values)


def _rotation(name, config) -> dict[str, Any]:
  """Options of the rotary positions, of the new or the old keys."""
  rope = dict(config.get('rope_parameters') or {})
  options = {}
  if 'full_attention' in rope:
    local = rope.get('sliding_attention') or {}
    rope = dict(rope['full_attention'])
    options['local_theta'] = local.get('rope_theta', 10000.0)
  elif name == 'gemma3':
    options['local_theta'] = config.get('rope_local_base_freq', 10000.0)
  rope = {**(config.get('rope_scaling') or {}), **rope}
  theta = rope.pop('rope_theta', None) or config.get('rope_theta', 10000.0)
  rope.pop('partial_rotary_factor', None)
  kind = rope.pop('rope_type', rope.pop('type', 'default'))
  rope.pop('type', None)
  options['rope_theta'] = theta
  if kind == 'default':
    return options
  if kind not in tables.SCALING:
    raise ValueError(
      f"unknown rope_type '{kind}' in config.json; known: default, "
      f'{", ".join(tables.SCALING)}'
    )
  ours = {theirs: key for key, theirs in tables.SCALING[kind].items()}
  for key in rope.keys() - ours.keys():
    raise ValueError(
      f"'{key}' of rope_type '{kind}' in config.json is unknown; known: "
      f'{", ".join(ours)}'
    )
  scaling = {ours[k]: v for k, v in rope.items() if v is not None}
  return options | {'rope_scaling': {'kind': kind, **scaling}}


def _t5(build, config):
  gated = config.get('feed_forward_proj', 'relu')
  build['gated'] = gated.startswith('gated-')
  activation = gated.removeprefix('gated-')
  # T5 v1.1 was trained with the approximation that it calls gelu.
  activation = 'gelu_new' if gated == 'gated-gelu' else activation
  tied = config.get('tie_word_embeddings', True)
  return build | {
    'activation': _activation(activation),
    'tied': tied,
    'scaled': config.get('scale_decoder_outputs', tied),
  }


def from_build(build: Mapping[str, Any], dtype: str) -> dict[str, Any]:
  """The config.json of a network.

  Args:
    build: its name and options.
    dtype: of its weights.

  Raises:
    ValueError: one line, for an option that the class of `transformers` does
      not have.
  """
  name = build['name']
  if name not in text.NETWORKS:
    raise ValueError(
      f"'{name}' has no class in transformers; known: "
      f'{", ".join(text.NETWORKS)}'
    )
  options = whole(build)
  keys = tables.KEYS[name]
  config = {keys[ours]: options[ours] for ours in keys if ours in options}
  config |= {'model_type': _type(name), 'dtype': dtype}
  config['architectures'] = [_class(name, options)]
  if name in tables.ENCODERS:
    config |= _encoder_config(name, options)
  elif name == 't5':
    config |= _t5_config(options)
  else:
    config |= _causal_config(name, options)
  if 'activation' in keys:
    config[keys['activation']] = _their_activation(options['activation'])
  _check_same(name, options, whole(to_build(config)))
  return config


def whole(build) -> dict[str, Any]:
  """All options of a network, those of the design included, as plain values."""
  name = build['name']
  known = text.NETWORKS[name]
  # The rest of a build says where its values came from or how it is computed.
  named = {'name', *kinds.of_options(known)}
  given = {k: v for k, v in build.items() if k in named}
  options = {**kinds.defaults(known), **given}
  width, heads = options['width'], options['heads']
  options['hidden'] = options['hidden'] or 4 * width
  if name in tables.ENCODERS:
    options['vocabulary'] = options['vocabulary'] or options['classes']
    if options['head'] != 'masked_lm':
      options['tied'] = True
    if options['head'] not in ('sequence', 'none'):
      options['pooler'] = ''
  elif name == 't5':
    options['decoder_depth'] = options['decoder_depth'] or options['depth']
  else:
    options['kv_heads'] = options['kv_heads'] or heads
    options['head_width'] = options['head_width'] or width // heads
    options['score_width'] = options['score_width'] or options['head_width']
    options['local_theta'] = options['local_theta'] or options['rope_theta']
    options['biases'] = sorted(options['biases'])
    options['windows'] = period_of(_each_window(options))
    if not any(options['windows']):
      options['local_theta'] = options['rope_theta']
    scaling = options['rope_scaling']
    if scaling:
      _, usual = rotary.SCALINGS[scaling['kind']]
      options['rope_scaling'] = {**usual, **scaling}
  return options


def _each_window(options) -> list[int]:
  """The window of each layer."""
  windows = options['windows']
  return [windows[i % len(windows)] for i in range(options['depth'])]


def _check_same(name, asked, got) -> None:
  """Refuses options that config.json cannot say."""
  for key in sorted(asked.keys() | got.keys()):
    a, b = asked.get(key), got.get(key)
    if a != b and not (a in (None, '') and b in (None, '')):
      raise ValueError(
        f"'{key}' is {a!r} here and the '{name}' of transformers has {b!r}"
      )


def _type(name):
  return next(kind for kind, ours in tables.TYPES.items() if ours == name)


def _class(name, options):
  if name not in tables.ENCODERS:
    return tables.CLASSES[name]
  ends = {head: end for end, head in reversed(tables.ENCODER_HEADS.items())}
  return tables.CLASSES[name] + ends[options['head']]


def _their_activation(name):
  theirs = {
    'gelu_tanh': 'gelu_pytorch_tanh',
    **{ours: their for their, ours in reversed(tables.ACTIVATIONS.items())},
  }
  return theirs[name]


def _encoder_config(name, options):
  config = {'is_decoder': False} if name != 'distilbert' else {}
  if name == 'roberta':
    offset = options['offset']
    config |= {
      'pad_token_id': offset - 1,
      'max_position_embeddings': options['context'] + offset,
    }
  else:
    config['pad_token_id'] = 0
  if options['head'] in ('sequence', 'token'):
    names = [f'LABEL_{i}' for i in range(options['classes'])]
    config['id2label'] = {str(i): label for i, label in enumerate(names)}
    config['label2id'] = {label: i for i, label in enumerate(names)}
  return config


def _t5_config(options):
  gated, activation = options['gated'], options['activation']
  plain = 'gelu' if gated and activation == 'gelu_tanh' else activation
  return {
    'feed_forward_proj': f'gated-{plain}' if gated else plain,
    'tie_word_embeddings': options['tied'],
    'scale_decoder_outputs': options['scaled'],
    'is_encoder_decoder': True,
    'pad_token_id': 0,
    'decoder_start_token_id': 0,
  }


def _causal_config(name, options):
  config = dict.fromkeys(('bos_token_id', 'eos_token_id', 'pad_token_id'))
  if name == 'gpt2':
    return config | {'embd_pdrop': options['dropout']}
  config |= {
    'attention_bias': 'out' in options['biases'],
    'rope_parameters': _rope(options, options['rope_theta'], True),
  }
  if 'mlp' in options['biases']:
    config['mlp_bias'] = True
  windows = _each_window(options)
  if name != 'llama':
    config['sliding_window'] = max(windows) or None
    config['layer_types'] = [
      'sliding_attention' if window else 'full_attention' for window in windows
    ]
    config['use_sliding_window'] = any(windows)
  if name == 'gemma3':
    config['rope_parameters'] = {
      'full_attention': config['rope_parameters'],
      'sliding_attention': _rope(options, options['local_theta'], False),
    }
  for key in ('attention_cap', 'logit_cap'):
    if key in tables.KEYS[name]:
      config[tables.KEYS[name][key]] = options[key] or None
  return config


def _rope(options, theta, scaled):
  """One entry of 'rope_parameters'."""
  rope = {'rope_theta': theta, 'rope_type': 'default'}
  scaling = options['rope_scaling']
  if scaling and scaled:
    names = tables.SCALING[scaling['kind']]
    rope['rope_type'] = scaling['kind']
    rope |= {names[k]: scaling[k] for k in names if scaling[k]}
  return rope
