"""Networks for pixels: what they show, any size, and torchvision's logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import base, dense, resnet, torch_weights
from kd_jax.models.dense import deeplab
from tests import golden_models
from tests.models.dense import golden_deeplab

KEY = jax.random.key(0)
# Sides that are neither equal nor even, rounded up at every stride of 2.
SIDES = (97, 131)
AT = {1: SIDES, 2: (49, 66), 4: (25, 33), 8: (13, 17), 16: (7, 9), 32: (4, 5)}
SHOWN = {
  'unet_teacher': {
    'stem': (2, 16), 'stage1': (2, 16), 'stage2': (4, 32), 'stage3': (8, 64),
    'stage4': (16, 128), 'stage5': (32, 256), 'decoder4': (16, 128),
    'decoder3': (8, 64), 'decoder2': (4, 32), 'decoder1': (2, 16),
    'final': (2, 16), 'logits': (2, 7),
  },
  'deeplabv3_resnet18': {
    'stage0': (2, 64), 'stage1': (4, 64), 'stage2': (8, 128),
    'stage3': (8, 256), 'stage4': (8, 512), 'aspp': (8, 256),
    'final': (8, 256), 'logits': (8, 7), 'logits_aux': (8, 7),
  },
  'pspnet_resnet50': {
    'stage0': (2, 64), 'stage1': (4, 256), 'stage2': (8, 512),
    'stage3': (8, 1024), 'stage4': (8, 2048), 'pyramid': (8, 4096),
    'final': (8, 512), 'logits': (8, 7), 'logits_aux': (8, 7),
  },
  'bisenet_v2': {
    'detail1': (2, 64), 'detail2': (4, 64), 'detail3': (8, 128),
    'semantic2': (4, 16), 'semantic3': (8, 32), 'semantic4': (16, 64),
    'semantic5': (32, 128), 'context': (32, 128), 'aggregated': (8, 128),
    'final': (8, 1024), 'logits': (8, 7), 'logits_aux2': (4, 7),
    'logits_aux3': (8, 7), 'logits_aux4': (16, 7), 'logits_aux5': (32, 7),
  },
}  # fmt: skip
# A small one of a kind; the second takes half a minute to compile.
SMALL = {'unet': {'widths': (3, 4, 5, 6, 7)}, 'bisenet_v2': {'width': 0.1}}
EACH = pytest.mark.parametrize(
  'name', ['unet', pytest.param('bisenet_v2', marks=pytest.mark.slow)]
)


def _shapes(name, sides=SIDES, classes=7, **options):
  network = models.make_network(name, classes, **options)
  inputs = jax.ShapeDtypeStruct((2, *sides, 3), jnp.float32)
  variables = base.variable_shapes(network, inputs)
  return network, variables, base.output_shapes(network, inputs)


@pytest.mark.parametrize('name', SHOWN)
def test_features_at_odd_sizes_in_bf16(name):
  _, variables, outputs = _shapes(name, dtype='bfloat16')
  shown = {k: x for k, x in outputs.items() if not k.endswith('_pre')}
  assert {k: x.shape[1:] for k, x in shown.items()} == {
    k: (*AT[stride], width) for k, (stride, width) in SHOWN[name].items()
  }
  for key, x in outputs.items():
    wide = key.startswith('logits')
    assert x.dtype == (jnp.float32 if wide else jnp.bfloat16), key
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('f4')}


@pytest.mark.parametrize(
  ('name', 'options', 'millions'),
  [
    # torchvision's own counts are of 21 classes.
    ('deeplabv3_resnet50', {'classes': 21}, 42.004074),
    pytest.param(
      'deeplabv3_resnet101', {'classes': 21}, 60.996202, marks=pytest.mark.slow
    ),
    ('unet_teacher', {'classes': 11}, 1.467083),
    ('unet_student', {'classes': 11}, 0.087571),
  ],
)
def test_numbers_of_parameters(name, options, millions):
  _, variables, _ = _shapes(name, **options)
  assert base.num_params(variables) == round(millions * 1e6)


def test_the_student_is_fifteen_to_twenty_five_times_smaller():
  teacher, student = (
    base.num_params(_shapes(f'unet_{who}', classes=11)[1])
    for who in ('teacher', 'student')
  )
  assert 15 < teacher / student < 25 and 1.4e6 < teacher < 1.6e6


def test_a_light_network_without_its_auxiliary_classifiers():
  _, variables, outputs = _shapes('bisenet_v2', classes=19, auxiliary=False)
  assert 3.3e6 < base.num_params(variables) < 3.4e6
  assert not [key for key in outputs if 'aux' in key]
  _, variables, outputs = _shapes('pspnet_resnet18', auxiliary=False)
  assert 'aux_classifier' not in variables['params']
  assert 'logits_aux' not in outputs


def _drawn(shapes):
  """Variables near those of a new network, without compiling its `init`."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: (
      np.exp(rng.normal(0, 0.1, x.shape))
      if len(x.shape) == 1
      else rng.normal(0, np.prod(x.shape[:-1]) ** -0.5, x.shape)
    ).astype('f4'),
    shapes,
  )


@functools.cache
def _trained(name):
  """A small network, its variables, images and a step in train mode."""
  network = models.make_network(name, 3, **SMALL[name])
  images = jax.random.normal(KEY, (4, 37, 50, 3))
  variables = _drawn(base.variable_shapes(network, images))
  run = jax.jit(network.apply, static_argnames='train')
  outputs, state = run(variables, images, train=True, rng=KEY)
  return network, variables, images, run, outputs, state


@EACH
def test_batch_statistics_move_in_training_alone(name):
  _, variables, images, run, outputs, state = _trained(name)
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), state['batch_stats'],
    variables['batch_stats'],
  )  # fmt: skip
  assert all(jax.tree.leaves(moved))
  assert np.isfinite(outputs['logits']).all()
  still = run(variables, images, train=False)[1]
  jax.tree.map(
    np.testing.assert_array_equal, still['batch_stats'],
    variables['batch_stats'],
  )  # fmt: skip


@EACH
def test_what_is_shown_is_what_is_classified(name):
  network, variables, images, run, *_ = _trained(name)
  outputs = run(variables, images, train=False)[0]
  head = network.head(variables)
  logits = outputs['final'] @ head['kernel'] + head['bias'].reshape(1, 1, 1, -1)
  np.testing.assert_allclose(outputs['logits'], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALL)
def test_every_parameter_is_trained_by_the_logits_and_those_beside(name):
  network, variables, images, *_ = _trained(name)

  def loss(params):
    outputs, _ = network.apply(
      {**variables, 'params': params}, images, train=True, rng=KEY
    )
    logits = [x for k, x in outputs.items() if k.startswith('logits')]
    return sum((x**2).mean() for x in logits)

  gradient = jax.jit(jax.grad(loss))(variables['params'])
  norms = jax.tree.map(lambda x: float(abs(x).max()), gradient)
  assert min(jax.tree.leaves(norms)) > 0


@pytest.fixture
def small_resnet(monkeypatch):
  """A ResNet with bottlenecks and every dilation, in place of ResNet-50."""
  blocks = golden_deeplab.CASES['small']
  monkeypatch.setitem(resnet._FOUR_STAGES, 50, (blocks, True))


def _torchvisions(case, network):
  """Relative errors of the logits, with torchvision's weights and names."""
  images = golden_deeplab.images()
  variables = base.variable_shapes(network, images)
  entries = torch_weights.names.table('deeplabv3_resnet50', variables)
  state = golden_models.weights({k: e.shape for k, e in entries.items()})
  filled = {e.path: e.from_torch(state[k]) for k, e in entries.items()}
  variables = torch_weights.traverse_util.unflatten_dict(filled)
  with jax.default_matmul_precision('highest'):
    outputs, _ = jax.jit(network.apply)(variables, images)
  with np.load(golden_deeplab.FILE) as golden:
    return [
      golden_models.relative(outputs[key], golden[f'{case}_{key}'])
      for key in ('logits', 'logits_aux')
    ]


def test_logits_are_torchvisions(small_resnet):
  network = deeplab.deeplabv3(50)(classes=golden_deeplab.CLASSES)
  assert max(_torchvisions('small', network)) < 1e-5


@pytest.mark.slow
def test_logits_of_resnet50_are_torchvisions():
  network = models.make_network('deeplabv3_resnet50', golden_deeplab.CLASSES)
  assert max(_torchvisions('resnet50', network)) < 1e-5


def test_weights_go_to_torchvisions_names_and_back(small_resnet):
  network = deeplab.deeplabv3(50)(classes=3)
  shapes = base.variable_shapes(network, jnp.zeros((1, 64, 64, 3)))
  names = torch_weights.names.table('deeplabv3_resnet50', shapes)
  assert {
    'backbone.conv1.weight', 'backbone.layer1.0.downsample.0.weight',
    'backbone.layer4.1.bn2.running_var', 'classifier.0.convs.0.0.weight',
    'classifier.0.convs.3.1.running_mean', 'classifier.0.convs.4.1.weight',
    'classifier.0.convs.4.2.bias', 'classifier.0.project.1.weight',
    'classifier.1.weight', 'classifier.2.running_var', 'classifier.4.bias',
    'aux_classifier.0.weight', 'aux_classifier.1.bias',
    'aux_classifier.4.weight',
  } <= set(names)  # fmt: skip


def test_weights_load_by_torchvisions_names():
  name, sides = 'deeplabv3_resnet18', (64, 64)
  _, shapes, _ = _shapes(name, sides, 3, auxiliary=False)
  variables = _drawn(shapes)
  state = torch_weights.state_dict(variables, name)
  given = {f'module.{key}': x for key, x in state.items()}
  found = torch_weights.load(given, name, auxiliary=False)
  jax.tree.map(np.testing.assert_array_equal, found, variables)
  with pytest.raises(ValueError, match='missing: aux_classifier.0.weight'):
    torch_weights.load(given, name)


@pytest.mark.parametrize(
  'stride', [8, pytest.param(16, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('bottleneck', [False, True])
def test_dilation_keeps_what_a_convolution_reads(stride, bottleneck):
  """At the pixels that a strided trunk computes, a dilated one is equal."""
  images = jax.random.normal(KEY, (1, 65, 97, 3))
  trunk = functools.partial(
    resnet.ResNet, (1, 1, 1, 2), (2, 2, 3, 4, 5), 0, bottleneck, imagenet=True
  )
  shapes = jax.eval_shape(trunk().init, KEY, images)
  variables = _drawn(shapes)
  strided = trunk().apply(variables, images)['stage4']
  dilated = trunk(output_stride=stride).apply(variables, images)['stage4']
  step = 32 // stride
  assert dilated.shape[1:3] == tuple(-(-n // stride) for n in (65, 97))
  np.testing.assert_allclose(
    dilated[:, ::step, ::step], strided, rtol=1e-4, atol=1e-5
  )


def _full(network, value):
  """A network whose variables are all of one value."""
  shapes = base.variable_shapes(network, jnp.zeros((1, 64, 64, 3)))
  variables = jax.tree.map(lambda x: np.full(x.shape, value, 'f4'), shapes)
  return network._replace(init=lambda key, inputs: variables)


def test_a_backbone_that_was_trained_on_images():
  """Of a network for images, all but the classifier is taken."""
  trained = _full(models.make_network('imagenet_resnet18', 5), 0.5)
  network = _full(models.make_network('deeplabv3_resnet18', 7), 0.25)
  plain = network.init(KEY, None)
  filled = dense.with_backbone(network, trained.init(KEY, None))
  found = filled.init(KEY, None)
  assert jax.tree.structure(found) == jax.tree.structure(plain)
  for kind in ('params', 'batch_stats'):
    assert set(found[kind]) == {'backbone', 'classifier', 'aux_classifier'}
    for part, arrays in found[kind].items():
      values = {float(v) for x in jax.tree.leaves(arrays) for v in np.unique(x)}
      assert values == {0.5 if part == 'backbone' else 0.25}


@pytest.mark.parametrize(
  ('name', 'given', 'message'),
  [
    ('deeplabv3_resnet18', 'imagenet_resnet34', 'has no layer1_2'),
    ('deeplabv3_resnet50', 'imagenet_resnet18', 'lacks layer1_0/bn3'),
    ('unet_student', 'imagenet_resnet18', "no part 'backbone'"),
  ],
)
def test_a_backbone_that_does_not_fit_is_refused(name, given, message):
  inputs = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  trunk = base.variable_shapes(models.make_network(given, 5), inputs)
  network = dense.with_backbone(models.make_network(name, 7), trunk)
  with pytest.raises(ValueError, match=message) as error:
    base.variable_shapes(network, inputs)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('unet', {'widths': (8, 8)}, r"'widths' .* \[8, 8\]; legal: 5"),
    ('unet', {'widths': (8, 8, 8, 8, 0)}, "'widths' .* at least 1, not 0"),
    ('bisenet_v2', {'width': 0}, "'width' .* must be above 0"),
    ('pspnet_resnet18', {'auxiliary': 1}, "'auxiliary' .* of type bool"),
  ],
)
def test_bad_options_are_one_line(name, options, message):
  with pytest.raises(ValueError, match=message) as error:
    models.make_network(name, 3, **options)
  assert '\n' not in str(error.value)
