"""USKD: it needs a layer of the student, and no teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import teacher_free
from tests.helpers.methods import signals

OUTPUTS = signals.draw(signals.STUDENT, 0)
BATCH = signals.batch()


def test_the_weak_classifier_reads_the_mean_of_a_layer():
  method = methods.make_method('uskd', layer='map1')
  variables = method.init(jax.random.key(0), OUTPUTS, {})
  values, _ = method.loss(variables, OUTPUTS, {}, BATCH, method.hparams)
  dense = variables['params']
  weak = OUTPUTS['map1'].mean((1, 2)) @ dense['kernel'] + dense['bias'][None]
  want = teacher_free.uskd(OUTPUTS['logits'], weak, BATCH['labels'])
  np.testing.assert_allclose(values, want, rtol=1e-5)


def test_a_sure_student_of_right_labels_has_little_to_learn():
  method = methods.make_method('uskd', layer='map1', beta=0.0, mu=0.0)
  variables = method.init(jax.random.key(0), OUTPUTS, {})
  hot = jax.nn.one_hot(BATCH['labels'], signals.CLASSES)
  sure = {**OUTPUTS, 'logits': 50 * hot}
  values, _ = method.loss(variables, sure, {}, BATCH, method.hparams)
  np.testing.assert_allclose(values, jnp.zeros_like(values), atol=1e-5)


def test_refuses():
  with pytest.raises(ValueError, match="needs layer='"):
    methods.make_method('uskd')
  method = methods.make_method('uskd', layer='map7')
  with pytest.raises(ValueError, match="'map7'.*did you mean 'map"):
    method.init(jax.random.key(0), OUTPUTS, {})
  with pytest.raises(ValueError, match='unknown variant'):
    methods.make_method('uskd', layer='map1', variant='x')
