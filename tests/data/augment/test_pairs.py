"""Image and label map move together, by one draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.data import augment

_KEY = jax.random.key(5)
_SIZE = 12, 17
# Steps that move, with options that let them move far.
_MOVING = {
  'shift': {'pixels': 3},
  'pad_crop': {'pad': 3},
  'flip': {},
  'resized_crop': {'scale': (0.2, 0.9)},
  'scale_crop': {'scale': (0.4, 2.5)},
  'cutmix': {},
}
_EXACT = ('shift', 'pad_crop', 'flip', 'cutmix')


def _batch(count=16, size=_SIZE, seed=0):
  """Images of one channel that equal their label maps; a tenth is void."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(1, 200, (count, *size)).astype(np.int32)
  return {
    'inputs': jnp.asarray(labels[..., None].astype(np.uint8)),
    'labels': jnp.asarray(labels),
    'index': jnp.arange(count, dtype=jnp.int32),
    'mask': jnp.asarray(rng.random(labels.shape) < 0.9, jnp.float32),
  }


def _run(spec, batch, key=_KEY):
  return jax.jit(augment.make_augment(spec, classes=200))(key, batch)


@pytest.mark.parametrize('name', _EXACT)
def test_a_label_that_equals_the_image_stays_equal(name):
  batch = _batch()
  found = _run([{'name': name, **_MOVING[name]}], batch)
  np.testing.assert_array_equal(found['inputs'][..., 0], found['labels'])
  assert (found['labels'] != batch['labels']).any()
  assert found['labels'].dtype == jnp.int32


def test_it_stays_equal_through_all_of_them_in_any_order():
  for names in (_EXACT, _EXACT[::-1]):
    spec = [{'name': name, **_MOVING[name]} for name in names]
    found = _run(spec, _batch())
    np.testing.assert_array_equal(found['inputs'][..., 0], found['labels'])


@pytest.mark.parametrize('name', ['resized_crop', 'scale_crop'])
def test_scaled_labels_are_within_a_pixel_of_the_scaled_image(name):
  """Row and column as image and as label: linear against nearest."""
  places = np.stack(np.indices(_SIZE), -1)
  count = 64
  for axis in (0, 1):
    ramp = np.tile(places[..., axis], (count, 1, 1)).astype(np.int32)
    batch = {
      **_batch(count),
      'inputs': jnp.asarray(10 + ramp[..., None], jnp.float32),
      'labels': jnp.asarray(ramp),
      'mask': jnp.ones((count, *_SIZE)),
    }
    found = _run([{'name': name, **_MOVING[name]}], batch)
    labels = np.asarray(found['labels'])
    # A small image's pixel is the mean of several, of fewer at the border.
    inside = (labels > 2) & (labels < _SIZE[axis] - 3)
    inside &= np.asarray(found['mask']) > 0
    gap = np.asarray(found['inputs'][..., 0]) - 10 - labels
    assert abs(gap[inside]).max() < 0.5 + 1e-3
    assert abs(gap[inside].mean()) < 0.02
    assert (found['labels'] != batch['labels']).any()


@pytest.mark.parametrize('name', _MOVING)
def test_the_mask_goes_with_the_labels(name):
  batch = _batch()
  # Where it counts the label says so: odd is void.
  odd = batch['labels'] % 2
  batch['mask'] = (1 - odd).astype(jnp.float32)
  batch['labels'] = batch['labels'] * 1
  found = _run([{'name': name, **_MOVING[name]}], batch)
  counts = np.asarray(found['mask']) > 0
  labels = np.asarray(found['labels'])
  assert (labels[counts] % 2 == 0).all() and (labels[counts] > 0).all()
  outside = labels == 0
  assert not counts[outside].any()
  if name in ('shift', 'pad_crop', 'scale_crop'):
    assert outside.any()
  else:
    assert not outside.any()


def test_a_mirrored_border_counts():
  found = _run([{'name': 'pad_crop', 'pad': 3, 'mode': 'reflect'}], _batch())
  np.testing.assert_array_equal(found['inputs'][..., 0], found['labels'])
  assert (found['labels'] > 0).all()


def test_scaling_by_one_and_no_crop_is_the_identity():
  batch = _batch()
  found = _run([{'name': 'scale_crop', 'scale': (1, 1)}], batch)
  np.testing.assert_allclose(found['inputs'] * 255, batch['inputs'], atol=1e-3)
  for name in ('labels', 'mask'):
    np.testing.assert_array_equal(found[name], batch[name])


def test_a_crop_has_the_size_that_is_asked_for():
  batch = _batch(64)
  spec = [{'name': 'scale_crop', 'scale': (1, 1), 'size': (5, 20)}]
  found = _run(spec, batch)
  assert found['inputs'].shape == (64, 5, 20, 1)
  assert found['labels'].shape == found['mask'].shape == (64, 5, 20)
  image = np.rint(np.asarray(found['inputs'][..., 0]) * 255)
  np.testing.assert_array_equal(image, found['labels'])
  # 17 columns within 20, at all four places; 5 of 12 rows, at all eight.
  whole = (np.asarray(found['labels']) > 0).sum((1, 2))
  assert (whole == 5 * 17).all()
  left = (np.asarray(found['labels'])[:, 0] > 0).argmax(1)
  assert set(left) == {0, 1, 2, 3}


def test_a_gap_has_the_color_of_the_fill():
  batch = {**_batch(), 'inputs': jnp.full((16, *_SIZE, 3), 200, jnp.uint8)}
  spec = [{'name': 'scale_crop', 'scale': (0.4, 0.4), 'fill': (0, 0.5, 1)}]
  found = _run(spec, batch)
  gap = np.asarray(found['labels']) == 0
  assert 0.7 < gap.mean() < 0.9
  np.testing.assert_allclose(
    found['inputs'][gap], np.tile([0, 0.5, 1.0], (gap.sum(), 1))
  )
  np.testing.assert_allclose(found['inputs'][~gap], 200 / 255, atol=1e-5)


@pytest.mark.parametrize(
  'step', ['cutout', 'color_jitter', 'teacher_view',
           {'name': 'rand_augment', 'geometric': False}]
)  # fmt: skip
def test_a_photometric_step_leaves_the_labels(step):
  batch = {**_batch(4), 'inputs': jnp.full((4, *_SIZE, 3), 200, jnp.uint8)}
  found = _run([step], batch)
  for name in ('labels', 'mask'):
    np.testing.assert_array_equal(found[name], batch[name])


def test_all_views_of_an_image_move_alike():
  spec = ['teacher_view', 'flip', {'name': 'shift', 'pixels': 3}, 'cutmix']
  spec += [{'name': 'two_view', 'weak': [], 'strong': ['cutout']}]
  found = _run(spec, _batch())
  for name in ('inputs', 'teacher_inputs'):
    np.testing.assert_array_equal(found[name][..., 0], found['labels'])
  strong = np.asarray(found['strong_inputs'][..., 0])
  seen = strong > 0
  np.testing.assert_array_equal(strong[seen], np.asarray(found['labels'])[seen])
  assert 0.2 < seen.mean() < 1


def test_views_of_classes_move_apart_as_ever():
  batch = {**_batch(), 'labels': jnp.zeros(16, jnp.int32), 'mask': jnp.ones(16)}
  found = _run(['teacher_view', 'shift'], batch)
  np.testing.assert_array_equal(found['teacher_inputs'], batch['inputs'])
  assert (found['inputs'] != batch['inputs']).any()


@pytest.mark.parametrize(
  ('step', 'name'),
  [
    ('rand_augment', 'rand_augment'),
    ('mixup', 'mixup'),
    ('two_view', 'two_view'),
    ({'name': 'teacher_view', 'steps': ['flip']}, 'teacher_view'),
  ],
)
def test_a_step_that_moves_the_image_alone_is_refused(step, name):
  message = (
    f"'{name}' changes where things are in an image and not in its label map"
  )
  with pytest.raises(ValueError, match=message) as error:
    augment.make_augment(['flip', step], 200, 'image and label')
  assert '\n' not in str(error.value) and 'scale_crop' in str(error.value)
  # A batch of maps is refused too, whatever was asked for at the border.
  with pytest.raises(ValueError, match=message):
    _run([step], _batch())


def test_what_moves_both_is_accepted():
  spec = [*_MOVING, 'color_jitter', 'cutout', 'teacher_view']
  spec += [{'name': 'two_view', 'weak': [], 'strong': ['color_jitter']}]
  assert callable(augment.make_augment(spec, 200, 'image and label'))


def test_maps_need_a_mask_of_pixels():
  batch = {**_batch(), 'mask': jnp.ones(16)}
  with pytest.raises(ValueError, match='mask of shape'):
    _run(['shift'], batch)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'scale': (2, 1)}, 'must be 0 < low <= high'),
    ({'size': (5,)}, 'size'),
    ({'size': (5, 0)}, 'size'),
    ({'size': 5}, 'size'),
    ({'fill': (0, 1)}, 'fill'),
  ],
)
def test_bad_options_are_one_line(options, message):
  with pytest.raises(ValueError, match=message) as error:
    _run([{'name': 'scale_crop', **options}], _batch())
  assert '\n' not in str(error.value)
