"""Experiments whose data set has a class for every pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import build, checkpoint, config, models, network_files
from kd_jax.data import sources
from kd_jax.models import base

SIZE = (32, 48)


def _config(**student):
  """A student beside a U-Net that teaches it."""
  c = config.default()
  c.parallel = 'one'
  c.data = dict(
    name='scenes', images=12, tests=2, height=SIZE[0], width=SIZE[1], seed=0,
    validation=2,
  )  # fmt: skip
  c.networks.teacher = dict(name='unet', widths=[2, 2, 3, 4, 5])
  c.networks.student = student or dict(name='unet', widths=[2, 2, 2, 2, 2])
  c.terms.hard = dict(method='cross_entropy')
  c.terms.soft = dict(method='kd')
  for part in (c.train, c.teacher):
    part.batch_size, part.steps = 4, 2
  return c


def _backbone(folder, name='imagenet_resnet18'):
  """A network for images on disk, all of whose variables are 1/2."""
  shapes = base.variable_shapes(
    models.make_network(name, 5), jax.ShapeDtypeStruct((1, 32, 32, 3), 'f4')
  )
  trained = jax.tree.map(lambda x: np.full(x.shape, 0.5, 'f4'), shapes)
  spec = {'build': {'name': name, 'classes': 5, 'inputs': [32, 32, 3]}}
  network_files.save_network(folder, trained, spec)
  return trained


def test_a_recipe_moves_image_and_label_map():
  c = _config()
  c.train.augment = ('scale_crop', 'flip', 'color_jitter', 'cutmix')
  data = sources.make_data(**{k: v for k, v in c.data.items() if k != 'seed'})
  experiment = build.make_experiment(c, data)
  assert experiment.task.name == 'segmentation'
  c.train.augment = ('flip', 'rand_augment')
  with pytest.raises(
    ValueError, match="'rand_augment' changes where things are"
  ) as error:
    build.make_experiment(c, data)
  assert '\n' not in str(error.value)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A backbone on disk, and its variables."""
  path = tmp_path_factory.mktemp('backbone') / 'resnet18'
  return str(path), _backbone(path)


def test_a_student_starts_from_a_backbone(folder):
  path, trained = folder
  c = _config(name='pspnet_resnet18', backbone=path)
  c.networks.teacher = dict(name='deeplabv3_resnet18')  # of the same stride
  experiment = build.make_experiment(c)
  spec = experiment.specs['student']
  assert spec['backbone'] == checkpoint.content_hash(trained)
  images = jnp.zeros((1, *SIZE, 3))
  network = experiment.networks['student']
  shapes = base.variable_shapes(network, images)
  plain = build.make_network(spec)  # as a finished one is built again
  assert jax.tree.structure(shapes) == jax.tree.structure(
    base.variable_shapes(plain, images)
  )
  # Another content, another experiment.
  c.networks.student = dict(name='pspnet_resnet18')
  other = build.make_experiment(c)
  assert 'backbone' not in other.specs['student']
  assert experiment.identities != other.identities


@pytest.mark.parametrize(
  ('student', 'message'),
  [
    ({'name': 'unet_student'}, "networks.student: .* no part 'backbone'"),
    ({'name': 'pspnet_resnet50'}, 'networks.student: .* lacks layer1_0/bn3'),
    ({'load': 'x'}, "has 'load' and 'backbone'; legal: one"),
    (
      {'name': 'pspnet_resnet18', 'backbone': 3},
      'backbone must be of type str',
    ),
    ({'name': 'pspnet_resnet18', 'backbone': '/nowhere'}, 'nowhere'),
  ],
)
def test_a_backbone_that_does_not_fit_is_one_line(folder, student, message):
  c = _config(**{'backbone': folder[0], **student})
  with pytest.raises(ValueError, match=message) as error:
    build.make_experiment(c)
  assert '\n' not in str(error.value)
