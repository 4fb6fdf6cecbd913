"""CAT-KD: what a class activation map is, and where it is not known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import features as losses
from kd_jax.methods import cat
from tests.helpers.methods import feature_runs


def _outputs(seed, channels):
  made = feature_runs.outputs(seed, final=(4, 4, channels))
  rng = np.random.default_rng(seed)
  head = {
    'kernel': jnp.asarray(rng.normal(size=(channels, 5)), jnp.float32),
    'bias': jnp.asarray(rng.normal(size=5), jnp.float32),
  }
  pooled = made['final'].mean((1, 2))
  logits = pooled @ head['kernel'] + head['bias'][None]
  return {**made, 'logits': logits, 'head': head}


def test_the_mean_of_a_map_is_the_logit_less_the_bias():
  outputs = _outputs(0, 3)
  maps = cat.class_maps(outputs, 'final')
  want = outputs['logits'] - outputs['head']['bias'][None]
  np.testing.assert_allclose(maps.mean((1, 2)), want, atol=1e-5)


def test_both_networks_classifiers_are_read_and_the_students_is_moved():
  student, teacher = _outputs(0, 3), _outputs(1, 6)
  found = feature_runs.make('cat_kd', student, teacher).run()
  want = losses.cat(
    cat.class_maps(student, 'final'), cat.class_maps(teacher, 'final')
  )
  np.testing.assert_allclose(found.values, want, rtol=1e-5)
  assert abs(found.grads['student']['head']['kernel']).max() > 1e-4
  assert abs(found.grads['student']['final']).max() > 1e-4


def test_a_map_of_the_classes_is_itself():
  outputs = feature_runs.outputs(maps=(4, 4, 5), logits=(5,))
  np.testing.assert_array_equal(
    cat.class_maps(outputs, 'maps'), outputs['maps']
  )


@pytest.mark.parametrize(
  'change, rows',
  [
    ({'head': {'kernel': jnp.ones((7, 5))}}, '7 rows'),
    ({'final': jnp.ones((4, 3))}, '3 rows'),
  ],
)
def test_without_a_classifier_that_fits_it_is_refused(change, rows):
  student, teacher = {**_outputs(0, 3), **change}, _outputs(1, 6)
  with pytest.raises(ValueError, match=f"'final' .*no class act.*{rows}"):
    methods.make_method('cat_kd').init(jax.random.key(0), student, teacher)


def test_a_network_that_does_not_tell_its_classifier_is_refused():
  student, teacher = _outputs(0, 3), _outputs(1, 6)
  del teacher['head']
  with pytest.raises(ValueError, match="'cat_kd'.*'final'.*not known"):
    methods.make_method('cat_kd').init(jax.random.key(0), student, teacher)


def test_it_learns():
  runner = feature_runs.make(
    'cat_kd', _outputs(0, 3), _outputs(1, 6), normalize=False
  )
  means, _ = runner.descend(20, 1.0)
  assert means[-1] < 0.5 * means[0]
