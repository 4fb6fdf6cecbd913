"""The zoo beside PyTorch's networks: names, sizes, values."""

import json
import pathlib

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import base, torch_weights
from tests import golden, golden_models
from tests.helpers import marks

IMAGENET = json.loads(
  (pathlib.Path(__file__).parent / 'imagenet_golden.json').read_text()
)['cases']


@pytest.mark.parametrize(
  'name',
  marks.slow_but(
    ['ResNet50', 'resnet14', 'resnet32x4', 'vgg13', 'wrn_40_2'], ['resnet14']
  ),
)
def test_names_shapes_and_sizes(name):
  path = golden.VALUES / 'models' / f'{name}.json'
  _, ours, theirs = golden_models.parameters(path)
  assert ours == theirs


@pytest.mark.parametrize(
  'name',
  marks.slow_but(
    [
      'MobileNetV2',
      'ShuffleV1',
      'ShuffleV2',
      'resnet8',
      'resnet8x4',
      'vgg8',
      'wrn_16_2',
    ],
    ['resnet8', 'vgg8', 'wrn_16_2'],
  ),
)
def test_values(name):
  path = golden.VALUES / 'models' / f'{name}.npz'
  good, line = golden_models.check(path.with_suffix('.json'))
  assert good, line
  assert 'logits' in line and 'feat_3' in line


@pytest.mark.slow
@pytest.mark.parametrize('case', IMAGENET, ids=[c['name'] for c in IMAGENET])
def test_imagenet_networks(case):
  name, options = case['name'], case['options']
  size = (case['size'], case['size'], 3)
  network = models.make_network(name, 5, **options)
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *size), 'f4')
  )
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  state = torch_weights.state_dict(zeros, name)
  assert len(state) == case['entries']
  drawn = golden_models.weights({k: x.shape for k, x in state.items()})
  variables = torch_weights.load(drawn, name, inputs=size, **options)
  assert base.num_params(variables) == case['num_params']
  images = np.random.default_rng(0).standard_normal((2, *size))
  outputs, _ = jax.jit(network.apply)(variables, images.astype(np.float32))
  assert golden_models.relative(outputs['logits'], case['logits']) < 1e-5


def test_a_difference_is_seen(tmp_path):
  path = golden.VALUES / 'models' / 'resnet8.npz'
  with np.load(path) as file:
    values = dict(file)
  values['feat_2_mean'] = values['feat_2_mean'] * (1 + 2e-4)
  np.savez(tmp_path / 'resnet8.npz', **values)
  text = path.with_suffix('.json').read_text()
  (tmp_path / 'resnet8.json').write_text(text)
  assert golden_models.main([str(tmp_path)]) == 1
  (tmp_path / 'resnet8.npz').unlink()
  assert golden_models.main([str(tmp_path)]) == 0
  renamed = text.replace('layer2.0.conv1.weight', 'layer2.0.conv9.weight')
  (tmp_path / 'resnet8.json').write_text(renamed)
  assert golden_models.main([str(tmp_path)]) == 1
  (tmp_path / 'resnet8.json').unlink()
  assert golden_models.main([str(tmp_path)]) == 2
