"""Folders of Hugging Face: what they hold is read, the rest is refused."""

import copy
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from kd_jax import models
from kd_jax.models import base, hugging_face, text
from kd_jax.models.hugging_face import configs
from tests import golden, golden_hf
from tests.golden_models import relative
from tests.helpers import marks

FOLDER = golden.VALUES / 'sequences' / 'models'
SMALL = dict(width=16, depth=2, heads=2, hidden=24)
# Networks that differ from their families' defaults wherever they may.
BUILDS = {
  'bert': dict(vocabulary=29, head='sequence', classes=3, context=40),
  'bert_words': dict(classes=29, activation='relu'),
  'distilbert': dict(classes=29),
  'distilbert_tags': dict(vocabulary=29, head='token', classes=4),
  'roberta': dict(classes=29, offset=2, context=30),
  'roberta_sentences': dict(vocabulary=29, head='sequence', classes=2),
  'roberta_bare': dict(vocabulary=29, head='none', classes=16),
  'gpt2': dict(classes=29, context=30),
  'llama': dict(
    classes=29,
    kv_heads=1,
    head_width=12,
    tied=True,
    biases=('query_key_value', 'out', 'mlp'),
    rope_scaling={'kind': 'llama3', 'factor': 4.0, 'context': 16},
  ),
  'qwen2': dict(classes=29, windows=(0, 6), kv_heads=2),
  'qwen3': dict(
    classes=29,
    head_width=8,
    rope_scaling={'kind': 'yarn', 'factor': 4.0, 'context': 16},
  ),
  'gemma2': dict(classes=29, head_width=8, windows=(4, 0), score_width=12),
  'gemma3': dict(
    classes=29,
    head_width=8,
    windows=(4, 4, 0),
    depth=3,
    rope_scaling={'kind': 'linear', 'factor': 8.0},
  ),
  't5': dict(classes=29, head_width=8, decoder_depth=1),
  't5_gated': dict(
    classes=29, head_width=8, gated=True, activation='gelu_tanh', scaled=False
  ),
}


def build_of(case):
  name = case.split('_')[0]
  return {'name': name, **SMALL, **BUILDS[case]}


def drawn(build):
  """Variables of a size that matters."""
  network = models.make_network(**build)
  shapes = base.variable_shapes(network, text.example_inputs(build['name']))
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: rng.normal(0.1, 0.3, x.shape).astype(np.float32), shapes
  )


def same(x, y):
  assert jax.tree.structure(x) == jax.tree.structure(y)
  jax.tree.map(np.testing.assert_array_equal, x, y)


@pytest.mark.parametrize('name', ['distilbert_classifier', 'qwen2'])
def test_golden_models(name):
  good, line = golden_hf.check(FOLDER / name)
  assert good, line
  assert 'worst' in line and ('left equal' in line) == (name == 'qwen2')


def test_a_difference_is_seen(tmp_path):
  shutil.copytree(FOLDER / 'distilbert_classifier', tmp_path / 'x')
  state = safetensors.load_file(tmp_path / 'x' / 'model.safetensors')
  state['pre_classifier.bias'] += 1e-3
  safetensors.save_file(state, tmp_path / 'x' / 'model.safetensors')
  good, line = golden_hf.check(tmp_path / 'x')
  assert not good and 'worst logits' in line and 'DIFFERS' in line
  assert golden_hf.main([str(tmp_path)]) == 1
  assert golden_hf.main([str(tmp_path / 'none')]) == 2


@pytest.mark.parametrize('case', BUILDS)
def test_what_is_written_is_read(case, tmp_path):
  build = build_of(case)
  variables = drawn(build)
  hugging_face.write(tmp_path, variables, build)
  assert hugging_face.is_folder(tmp_path)
  again, options = hugging_face.read(tmp_path)
  same(again, variables)
  assert configs.whole(options) == configs.whole(build)


def test_every_family_is_written():
  assert {case.split('_')[0] for case in BUILDS} == text.NETWORKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize('case', BUILDS)
def test_transformers_computes_the_same(case, tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  build = build_of(case)
  variables = drawn(build)
  hugging_face.write(tmp_path, variables, build)
  config = json.loads((tmp_path / 'config.json').read_text())
  kind = getattr(transformers, config['architectures'][0])
  model, loading = kind.from_pretrained(
    tmp_path, output_loading_info=True, attn_implementation='eager'
  )
  assert not loading['missing_keys'] and not loading['unexpected_keys']
  rng = np.random.default_rng(1)
  # Past the windows and the old context; no token that RoBERTa takes for
  # padding.
  length = 24
  batch = {
    'input_ids': rng.integers(2, 29, (2, length)).astype(np.int32),
    'attention_mask': np.ones((2, length), np.int32),
  }
  batch['attention_mask'][1, 20:] = 0
  if build['name'] == 'roberta':
    batch['input_ids'][1, 20:] = 1
  if build['name'] == 't5':
    batch['decoder_input_ids'] = batch['input_ids'][:, :7]
  with torch.no_grad():
    theirs = model.eval()(**{k: torch.tensor(v) for k, v in batch.items()})
  theirs = theirs[0].numpy()
  network = models.make_network(**build)
  with jax.default_matmul_precision('highest'):
    ours = jax.jit(network.apply)(variables, batch)[0]['logits']
  ours = np.asarray(ours)
  if ours.shape[1] == length:
    real = batch['attention_mask'] > 0
    ours, theirs = ours[real], theirs[real]
  assert relative(ours, theirs) < 1e-5


def test_several_files_and_their_index(tmp_path):
  whole, build = hugging_face.read(FOLDER / 'qwen2')
  state = safetensors.load_file(FOLDER / 'qwen2' / 'model.safetensors')
  shutil.copy(FOLDER / 'qwen2' / 'config.json', tmp_path)
  halves = {'a.safetensors': {}, 'b.safetensors': {}}
  for i, (key, x) in enumerate(state.items()):
    halves['ab'[i % 2] + '.safetensors'][key] = x
  for file, part in halves.items():
    safetensors.save_file(part, tmp_path / file)
  index = {key: file for file, part in halves.items() for key in part}
  path = tmp_path / hugging_face.INDEX
  path.write_text(json.dumps({'weight_map': index}))
  again, options = hugging_face.read(tmp_path)
  same(again, whole)
  assert options == build
  path.write_text(json.dumps({'weight_map': dict.fromkeys(index, '../a')}))
  with pytest.raises(ValueError, match='names ../a, which is no file here'):
    hugging_face.read(tmp_path)


def test_types_are_kept_or_cast(tmp_path):
  variables, build = hugging_face.read(FOLDER / 'qwen2')
  low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
  hugging_face.write(tmp_path, low, build)
  kept, _ = hugging_face.read(tmp_path)
  assert {x.dtype for x in jax.tree.leaves(kept)} == {jnp.dtype('bfloat16')}
  same(kept, low)
  cast, _ = hugging_face.read(tmp_path, 'float32')
  assert {x.dtype for x in jax.tree.leaves(cast)} == {np.dtype('float32')}
  with pytest.raises(ValueError, match="unknown dtype 'int4'"):
    hugging_face.read(tmp_path, 'int4')


def edited(tmp_path, state=None, **config):
  """A copy of a golden folder, with another config or other weights."""
  shutil.copytree(FOLDER / 'qwen2', tmp_path / 'x')
  path = tmp_path / 'x' / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | config))
  if state is not None:
    file = tmp_path / 'x' / 'model.safetensors'
    weights = safetensors.load_file(file)
    state(weights)
    safetensors.save_file(weights, file)
  return tmp_path / 'x'


def test_copies_and_buffers_are_passed_over(tmp_path):
  def add(weights):
    weights['lm_head.weight'] = weights['model.embed_tokens.weight']
    weights['model.layers.0.self_attn.rotary_emb.inv_freq'] = np.ones(4)

  whole, _ = hugging_face.read(FOLDER / 'qwen2')
  same(hugging_face.read(edited(tmp_path, add))[0], whole)


NORM, TABLE = 'model.norm.weight', 'model.embed_tokens.weight'


@pytest.mark.parametrize(
  'state, config, message',
  [
    (None, dict(architectures=['MambaForCausalLM']), "'MambaForCausalLM'"),
    (None, dict(model_type='mamba'), "model_type 'mamba'"),
    (None, dict(hidden_act='xielu'), "unknown activation 'xielu'"),
    (None, dict(hidden_size=None), "config.json lacks 'hidden_size'"),
    (None, dict(quantization_config={'bits': 4}), "'quantization_config'"),
    (
      None,
      dict(rope_parameters={'rope_type': 'longrope'}),
      "unknown rope_type 'longrope'",
    ),
    (None, dict(layer_types=['full_attention']), 'has 1 entries for 2'),
    (
      None,
      dict(num_hidden_layers=3, layer_types=None),
      r"lack 'model.layers.2.input_layernorm.weight' \(12 tensors",
    ),
    (None, dict(intermediate_size=57), r'is \[32, 56\]; .* has \[32, 57\]'),
    (lambda w: w.pop(NORM), {}, f"lack '{NORM}'"),
    (lambda w: w.update(extra=w[NORM]), {}, "hold 'extra'"),
    (
      lambda w: w.update(
        {'lm_head.weight': w['model.embed_tokens.weight'] + 1}
      ),
      {},
      "'lm_head.weight' is tied by config.json, and differs",
    ),
  ],
)
def test_what_does_not_fit_is_named(tmp_path, state, config, message):
  folder = edited(tmp_path, state, **config)
  with pytest.raises(ValueError, match=message) as error:
    hugging_face.read(folder)
  assert str(folder) in str(error.value) and '\n' not in str(error.value)


def test_damaged_folders(tmp_path):
  folder = edited(tmp_path)
  (folder / 'model.safetensors').write_bytes(b'PK')
  with pytest.raises(ValueError, match=str(folder)):
    hugging_face.read(folder)
  (folder / 'model.safetensors').unlink()
  with pytest.raises(ValueError, match='no model.safetensors and no'):
    hugging_face.read(folder)
  assert not hugging_face.is_folder(tmp_path)


@pytest.mark.parametrize(
  'case, options, message',
  [
    ('llama', dict(post_norms=True), "'post_norms' is True here"),
    ('gpt2', dict(tied=True, gated=True), "'gated' is True here"),
    ('qwen2', dict(head_norms=True), "'head_norms' is True here"),
  ],
)
def test_what_transformers_does_not_have(case, options, message):
  with pytest.raises(ValueError, match=message):
    configs.from_build({**build_of(case), **options}, 'float32')


@pytest.mark.parametrize(
  'old',
  marks.slow_but(['gemma2', 'gemma3', 'llama', 't5'], ['gemma3', 'llama']),
)
def test_keys_of_older_versions(old):
  """config.json before transformers 5 says the same in other words."""
  build = build_of(old)
  if old == 'gemma3':
    build |= dict(depth=6, windows=(4, 4, 4, 4, 4, 0))
  new = configs.from_build(build, 'float32')
  config = copy.deepcopy(new)
  if old != 't5':
    rope = config.pop('rope_parameters')
    if old == 'gemma3':
      config['rope_local_base_freq'] = rope['sliding_attention']['rope_theta']
      rope = rope['full_attention']
    config['rope_theta'] = rope.pop('rope_theta')
    scaled = rope['rope_type'] != 'default'
    config['rope_scaling'] = rope if scaled else None
    config.pop('layer_types', None)
  else:
    config.pop('scale_decoder_outputs')
  assert configs.to_build(config) == configs.to_build(new)
