"""The zoo: what each network shows, at any image size and in bf16."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import text

KEY = jax.random.key(0)
# A network of each kind: image sides that are odd where they may be, and the
# shapes of its stages.
STAGES = {
  'resnet8': ((9, 7), [(9, 7, 16), (9, 7, 16), (5, 4, 32), (3, 2, 64)]),
  'resnet8x4': ((8, 8), [(8, 8, 32), (8, 8, 64), (4, 4, 128), (2, 2, 256)]),
  'resnet18': (
    (9, 8),
    [(9, 8, 64), (9, 8, 64), (5, 4, 128), (3, 2, 256), (2, 1, 512)],
  ),
  'wrn_16_1': ((9, 7), [(9, 7, 16), (9, 7, 16), (5, 4, 32), (3, 2, 64)]),
  'vgg8': (
    (17, 9),
    [(17, 9, 64), (8, 4, 128), (4, 2, 256), (2, 1, 512), (2, 1, 512)],
  ),
  'vgg11': (
    (64, 64),
    [(64, 64, 64), (32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 512)],
  ),
  'mobilenet_v2': (
    (33, 32),
    [(17, 16, 16), (17, 16, 12), (9, 8, 16), (5, 4, 48), (3, 2, 160)],
  ),
  'shufflenet_v1': (
    (9, 8),
    [(9, 8, 24), (5, 4, 240), (3, 2, 480), (2, 1, 960)],
  ),
  'shufflenet_v2': (
    (9, 8),
    [(9, 8, 24), (5, 4, 116), (3, 2, 232), (2, 1, 464)],
  ),
  'imagenet_resnet50': (
    (97, 64),
    [(49, 32, 64), (25, 16, 256), (13, 8, 512), (7, 4, 1024), (4, 2, 2048)],
  ),
}


@functools.cache
def _shapes(name, side, dtype='bfloat16', **options):
  network = models.make_network(name, 7, dtype=dtype, **options)
  inputs = jax.ShapeDtypeStruct((2, *side, 3), jnp.float32)
  variables = jax.eval_shape(network.init, KEY, inputs)
  return network, variables, jax.eval_shape(network.apply, variables, inputs)


@pytest.mark.parametrize('name', STAGES)
def test_stages_at_any_size_in_bf16(name):
  side, stages = STAGES[name]
  network, variables, (outputs, _) = _shapes(name, side)
  for i, shape in enumerate(stages):
    for key in (f'stage{i}', f'stage{i}_pre'):
      assert outputs[key].shape == (2, *shape), key
      assert outputs[key].dtype == jnp.bfloat16, key
  extra = {'final', 'final_pre', 'pooled', 'logits'}
  assert len(set(outputs) - extra) == 2 * len(stages)
  kernel = network.head(variables)['kernel']
  assert outputs['pooled'].shape == (2, kernel.shape[0])
  assert outputs['final'].shape[-1] == kernel.shape[0]
  assert outputs['logits'].shape == (2, 7) == (2, kernel.shape[1])
  assert outputs['logits'].dtype == jnp.float32
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('f4')}


def test_mobilenet_v1_has_no_first_stage():
  _, _, (outputs, _) = _shapes('mobilenet_v1', (224, 224))
  shapes = [outputs[f'stage{i}'].shape[1:] for i in (1, 2, 3, 4)]
  assert shapes == [(56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 1024)]
  assert 'stage0' not in outputs


def test_transformer_shows_tokens_and_attention():
  _, _, (outputs, _) = _shapes('vit_tiny', (8, 12), patch=4, distilled=True)
  shapes = {k: v.shape for k, v in outputs.items()}
  assert shapes['block1'] == shapes['block12'] == (2, 8, 192)
  assert shapes['block3_scores'] == (2, 3, 8, 8)
  for kind in ('query', 'key', 'value'):
    assert shapes[f'block12_{kind}'] == (2, 3, 8, 64)
  assert shapes['tokens'] == (2, 8, 192)
  assert shapes['pooled'] == (2, 192)
  for key in ('logits', 'class_logits', 'dist_logits'):
    assert shapes[key] == (2, 7) and outputs[key].dtype == jnp.float32
  _, _, (plain, _) = _shapes('vit_tiny', (8, 12), patch=4)
  assert plain['block1'].shape == (2, 7, 192)
  assert 'dist_logits' not in plain
  with pytest.raises(ValueError, match='patch must divide the image: 9x8 by 4'):
    _shapes('vit_tiny', (9, 8), patch=4)


@pytest.mark.parametrize('name', ['resnet8', 'wrn_16_1', 'shufflenet_v2'])
def test_what_is_shown_is_what_is_used(name):
  images = jax.random.normal(KEY, (3, 8, 8, 3))
  network, shapes, _ = _shapes(name, (8, 8), dtype='float32')
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: (
      np.exp(rng.normal(0, 0.1, x.shape)).astype('f4')
      if len(x.shape) == 1
      else rng.normal(0, 0.1, x.shape).astype('f4')
    ),
    shapes,
  )
  outputs, _ = jax.jit(network.apply)(variables, images)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  head = network.head(variables)
  close(outputs['pooled'], outputs['final'].mean((1, 2)))
  logits = outputs['pooled'] @ head['kernel'] + head['bias'][None]
  close(outputs['logits'], logits)
  if name == 'wrn_16_1':
    close(outputs['final'], jax.nn.relu(outputs['stage3_pre']))
  else:
    for i in range(4):
      close(outputs[f'stage{i}'], jax.nn.relu(outputs[f'stage{i}_pre']))


def test_every_name_makes_a_network():
  for name in models.MODELS.keys() - text.NETWORKS.keys():
    network = models.make_network(name, 10)
    assert callable(network.init) and callable(network.head)
    assert len(models.example_inputs(name)) == 3
    with pytest.raises(ValueError, match="unknown dtype 'f16'"):
      models.make_network(name, 10, dtype='f16')
