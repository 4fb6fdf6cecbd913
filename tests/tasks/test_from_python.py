"""Segmentation, and vectors, from Python: one call, or one clear line."""

import jax
import numpy as np
import pytest
from flax import linen as nn

import kd_jax
from kd_jax import api, build, config
from kd_jax.data import sources
from tests.helpers import pixels

TRAIN, TEST = pixels.split(32), pixels.split(8, 1)
BRIEF = dict(epochs=1, batch_size=8, task='segmentation', ignore=pixels.VOID)


@pytest.mark.slow
def test_a_segmenter_is_distilled_from_arrays():
  teacher = kd_jax.train_alone(pixels.Net(16), (TRAIN, TEST), **BRIEF)
  found = kd_jax.distill(
    pixels.Net(), teacher, data=(TRAIN, TEST),
    augment=['flip'], **BRIEF,
  )  # fmt: skip
  assert set(found.score) == {'teacher', 'student'}
  assert found.score['teacher'] == teacher.score['student']
  assert 0 <= found.score['student'] <= 1
  assert 'validation_miou/student' in found.history[-1]
  assert 'Distilled(test mean IoU: teacher' in repr(found)
  with pytest.raises(AttributeError, match=r'mean IoU: see \.score'):
    _ = found.accuracy
  assert 'Mean IoU on validation' in found.plot().text


class Pooled(nn.Module):
  """A classifier of images."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    return nn.Dense(pixels.CLASSES)(x.mean((1, 2)))


def changed(labels, **changes):
  """The data with other training labels."""
  return dict(data=((TRAIN[0], labels), TEST), **changes)


WRONG = {
  'no task': (dict(task='', ignore=None), "task='segmentation'"),
  'unknown': (dict(task='segmentatoin'), "did you mean 'segmentation'"),
  'rank': (changed(TRAIN[1][:, 0]), r'legal: integers \[N, H, W\]'),
  'channel': (changed(TRAIN[1][..., None]), 'leave the last axis out'),
  'size': (changed(TRAIN[1][:, ::2]), 'maps of the size of the images'),
  'void': (dict(ignore=None), 'out of range.*ignore='),
  'range': (changed(np.full_like(TRAIN[1], 4)), 'out of range.*the first is 4'),
  'augment': (dict(augment=[{'name': 'rand_augment'}]), 'not in its label map'),
  'network': (dict(student=Pooled()), 'one prediction for each pixel'),
  'method': (dict(method='mlld'), 'one prediction for each image'),
  'data': (
    dict(data=pixels.data(), ignore=7),
    'ignore=7, but the data were made with ignore=255',
  ),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_cannot_be_is_one_line_before_any_work(case, monkeypatch):
  changes, line = WRONG[case]
  monkeypatch.setattr(api.training, 'run_all', None)
  given = {
    'student': pixels.Net(), 'teacher': pixels.Net(16), **BRIEF,
    'data': (TRAIN, TEST),
  }  # fmt: skip
  network = kd_jax.from_linen(pixels.Net(16))
  variables = network.init(jax.random.key(0), TRAIN[0][:1].astype('float32'))
  with pytest.raises(ValueError, match=line) as error:
    kd_jax.distill(teacher_variables=variables, **{**given, **changes})
  assert '\n' not in str(error.value)


def test_a_config_says_which_label_does_not_count():
  arrays = {'train': (TRAIN[0], TRAIN[1]), 'test': TEST}
  c = config.default()
  config.change(c, 'task', 'segmentation')
  config.change(c, 'data.name', 'arrays')
  c.data.update(arrays, classes=pixels.CLASSES, validation=8)
  with pytest.raises(ValueError, match='out of range.*ignore='):
    build.make_data(c)
  config.change(c, 'data.ignore', str(pixels.VOID))
  data = build.make_data(c)
  assert (data.task, data.ignore) == ('segmentation', pixels.VOID)
  stored = np.asarray(data.train.labels)
  assert (stored[:, :2] < 0).all() and (stored[:, 2:] >= 0).all()


class Perceptron(nn.Module):
  """A classifier of vectors."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    return nn.Dense(3)(nn.relu(nn.Dense(16)(x)))


def vectors(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Points in five dimensions that three labels tell apart."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 3, size)
  points = rng.normal(size=(size, 5)) + 4 * np.eye(3, 5)[labels]
  return points.astype('float32'), labels


def test_vectors_are_classified():
  data = vectors(200, 0), vectors(60, 1)
  teacher = kd_jax.train_alone(
    Perceptron(), data, epochs=20, learning_rate=0.01
  )
  assert teacher.accuracy['student'] > 0.9
  found = kd_jax.distill(Perceptron(), teacher, data=data, epochs=2)
  assert set(found.accuracy) == {'teacher', 'student'}
  with pytest.raises(ValueError, match=r'augmentations change images'):
    kd_jax.train_alone(Perceptron(), data, epochs=1, augment=['flip'])


@pytest.mark.parametrize(
  'network', [Pooled(), kd_jax.make_network('cnn_student', 3)]
)
@pytest.mark.parametrize('classes', [0, 3])
def test_vectors_for_a_network_of_images_are_one_line(
  network, classes, monkeypatch
):
  monkeypatch.setattr(api.training, 'run_all', None)
  data = vectors(60, 0), vectors(20, 1)
  with pytest.raises(ValueError, match=r'vectors \[N, 5\].*images') as error:
    kd_jax.train_alone(network, data, epochs=1, classes=classes)
  assert '\n' not in str(error.value)


def test_vectors_for_a_network_of_a_config_are_one_line():
  data = sources.make_data('arrays', train=vectors(60, 0), test=vectors(20, 1))
  c = config.default()
  c.networks.student = dict(name='shufflenet_v2')
  c.terms.hard = dict(method='cross_entropy')
  with pytest.raises(ValueError, match=r'vectors \[N, 5\].*images') as error:
    build.make_experiment(c, data)
  assert '\n' not in str(error.value)
