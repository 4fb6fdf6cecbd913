"""Students for text leave as folders that `transformers` loads."""

import json

import jax
import numpy as np
import pytest

from kd_jax import export, models, network_files
from kd_jax.models import base, hugging_face, text
from tests.golden_models import relative

BUILD = dict(name='gpt2', classes=29, width=16, depth=2, heads=2, context=20)


@pytest.fixture
def student(tmp_path):
  """A finished network, its variables and its folder."""
  network = models.make_network(**BUILD)
  shapes = base.variable_shapes(network, text.example_inputs('gpt2'))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(0.1, 0.3, x.shape).astype('f4'), shapes
  )
  folder = tmp_path / 'student'
  start = dict(network='teacher', layers=[0, 2], hash='x')
  build = BUILD | dict(init_from=start, inputs=None)
  network_files.save_network(folder, variables, {'build': build})
  return network, variables, folder


def test_what_is_exported_is_read(student, tmp_path, capsys):
  _, variables, folder = student
  out = tmp_path / 'out'
  arguments = [str(folder), '--format', 'huggingface', '--out', str(out)]
  assert export.main([*arguments, '--license', 'mit']) == 0
  assert 'random sequences differ by at most 0.0e+00' in capsys.readouterr().out
  again, _ = hugging_face.read(out)
  jax.tree.map(np.testing.assert_array_equal, again, variables)
  assert json.loads((out / 'parity.json').read_text())['agreement'] == 1
  meta = json.loads((out / 'meta.json').read_text())
  assert meta['predicts'] == 'next token'
  assert [x['name'] for x in meta['inputs']] == ['input_ids', 'attention_mask']
  assert meta['inputs'][0]['shape'] == ['batch', 'length']
  assert meta['prepare'] == {'tokenizer': '', 'length': 20}
  assert meta['output']['shape'] == ['batch', 'length', 29]
  card = (out / 'README.md').read_text()
  assert card.startswith('---\nlicense: mit\nlibrary_name: transformers')


def test_half_the_bytes(student, tmp_path):
  _, variables, folder = student
  report = export.export(
    folder, tmp_path / 'out', 'huggingface', quantize='bf16'
  )
  assert report['bytes'] < 2.5 * base.num_params(variables)
  assert 0 < report['logits']['largest'] < 0.05
  config = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert config['dtype'] == 'bfloat16'


@pytest.mark.parametrize(
  'build, options, message',
  [
    ({}, dict(quantize='int8'), "'huggingface' cannot hold int8"),
    ({}, dict(names='torch'), '--names is for safetensors'),
    (dict(exits=['layer0']), {}, "'gpt2' with 'exits' has no names"),
    (dict(gated=True), {}, "'gated' is True here and the 'gpt2' of transf"),
  ],
)
def test_what_such_a_folder_cannot_hold(build, options, message, tmp_path):
  build = BUILD | build
  network = models.make_network(**build)
  variables = network.init(jax.random.key(0), text.example_inputs('gpt2'))
  network_files.save_network(tmp_path / 'x', variables, {'build': build})
  with pytest.raises(ValueError, match=message):
    export.export(tmp_path / 'x', tmp_path / 'out', 'huggingface', **options)
  assert not (tmp_path / 'out').exists()


def test_networks_for_images_are_refused(tmp_path):
  build = dict(name='mlp', classes=3, widths=[4], inputs=[2, 2, 1])
  network = models.make_network('mlp', 3, widths=[4])
  variables = network.init(jax.random.key(0), np.zeros((1, 2, 2, 1), 'f4'))
  network_files.save_network(tmp_path / 'x', variables, {'build': build})
  with pytest.raises(ValueError, match="is for text, and 'mlp' is not"):
    export.export(tmp_path / 'x', tmp_path / 'out', 'huggingface')


@pytest.mark.slow
def test_transformers_gives_the_same_logits(student, tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  network, variables, folder = student
  export.export(folder, tmp_path / 'out', 'huggingface')
  model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'out')
  ids = np.random.default_rng(1).integers(0, 29, (2, 12))
  with torch.no_grad():
    theirs = model.eval()(torch.tensor(ids)).logits.numpy()
  with jax.default_matmul_precision('highest'):
    ours = network.apply(variables, {'input_ids': ids.astype('i4')})[0]
  assert relative(ours['logits'], theirs) < 1e-5
