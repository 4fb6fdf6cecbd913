"""Methods of pixels: sizes, void, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import dense, logits, spatial
from tests.helpers.methods import feature_runs

B = feature_runs.B
LABELS = jnp.asarray(np.random.default_rng(5).integers(0, 3, (B, 4, 6)))
MASK = jnp.asarray(np.random.default_rng(6).random((B, 4, 6)) > 0.3, 'float32')
BATCH = {
  'index': jnp.arange(B, dtype=jnp.int32),
  'labels': LABELS.astype(jnp.int32),
  'mask': MASK,
}


def _runner(name, student=(4, 6), teacher=(4, 6), **options):
  sides = (
    feature_runs.outputs(i, logits=(*size, 3), map=(*size, 4 + i))
    for i, size in enumerate((student, teacher))
  )
  made = feature_runs.make(name, *sides, **options)
  return made._replace(batch=BATCH)


@pytest.mark.parametrize('align_corners', [False, True])
def test_pixel_kd_compares_at_the_teachers_size_or_at_the_labels(align_corners):
  options = {'temperature': 2.0, 'align_corners': align_corners}

  def resized(side, size):
    return spatial.bilinear(side['logits'], size, align_corners=align_corners)

  for upsample, size in ((False, (2, 3)), (True, (4, 6))):
    made = _runner('pixel_kd', (4, 4), (2, 3), upsample=upsample, **options)
    sides = (resized(side, size) for side in (made.student, made.teacher))
    want = logits.kd(*sides, temperature=2.0)
    np.testing.assert_allclose(made.run().values, want, rtol=1e-5)


def test_labels_that_do_not_count_make_no_edge():
  made = _runner('boundary_kd', (2, 3), (4, 6))
  labels = jnp.where(MASK > 0, LABELS, -1)
  want = dense.boundary_kd(
    spatial.bilinear(made.student['logits'], (4, 6)),
    made.teacher['logits'],
    labels,
  )
  np.testing.assert_allclose(made.run().values, want, rtol=1e-5)
  plain = {**BATCH, 'labels': 0 * BATCH['labels']}
  flat = made.run(batch=plain, edge_weight=1e6).values
  np.testing.assert_allclose(flat, made.run(batch=plain).values)


def test_ifvd_leaves_pixels_that_do_not_count_out_of_the_classes():
  layers = [('map', 'map')]
  made = _runner('ifvd', (4, 6), (2, 3), layers=layers)
  labels = jnp.where(MASK > 0, LABELS, -100)
  want = dense.ifvd(made.student['map'], made.teacher['map'], labels, classes=3)
  np.testing.assert_allclose(made.run().values, want, rtol=1e-5)
  whole = made.run(batch={**BATCH, 'mask': jnp.ones(B)}).values
  assert (abs(whole - want) > 1e-6).any()
  padded = made.run(batch={**BATCH, 'mask': jnp.zeros(B)}).values
  np.testing.assert_array_equal(padded, 0)


def test_cwd_on_features_has_a_bilinear_adapter_of_its_own():
  made = _runner('cwd', (2, 3), (4, 6), layers=[('map', 'map')])
  kernel = made.variables['params']['pair0']['Dense_0']['kernel']
  assert kernel.shape == (4, 5)
  student = spatial.bilinear(made.student['map'], (4, 6)) @ kernel
  want = dense.cwd(student, made.teacher['map'])
  np.testing.assert_allclose(made.run().values, want, rtol=1e-5)
  means, _ = made.descend(60, 0.3)
  assert means[-1] < 0.7 * means[0]


@pytest.mark.parametrize('name', ['skd_pairwise', 'cirkd_minibatch'])
def test_relations_of_pixels_need_no_adapter(name):
  made = _runner(name, (2, 3), (4, 6), layers=[('map', 'map')])
  assert not jax.tree.leaves(made.variables)
  assert (made.run().values > 0).all()


@pytest.mark.parametrize(
  'name, teacher, message',
  [
    ('pixel_kd', {}, 'needs a teacher that has logits'),
    ('pixel_kd', {'logits': (4, 6, 5)}, "the teacher's .*, 5"),
    ('kd', {'logits': (2, 3, 3)}, "'pixel_kd' resizes maps"),
    ('boundary_kd', {'logits': (3,)}, "the teacher's .*, 3"),
    ('ifvd', {'map': (7,)}, 'teacher must be a map'),
    ('cwd', {'map': (7,)}, "adapter 'bilinear' cannot bring"),
    ('skd_pairwise', {'map': (7,)}, 'to 7 of the teacher'),
    ('cirkd_minibatch', {'map': (7,)}, 'to 7 of the teacher'),
  ],
)
def test_what_cannot_be_compared_is_refused(name, teacher, message):
  layers = {'layers': [('map', 'map')]} if methods.reads_layers(name) else {}
  student = feature_runs.outputs(logits=(4, 6, 3), map=(4, 6, 2))
  method = methods.make_method(name, **layers)
  with pytest.raises(ValueError, match=message):
    method.init(jax.random.key(0), student, feature_runs.outputs(1, **teacher))
