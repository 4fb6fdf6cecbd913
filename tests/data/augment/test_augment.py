"""Augmentations: the same on any number of devices, and what each one does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.data import augment, pipeline

_KEY = jax.random.key(3)

# Options that fit images of eight pixels, and that compile in little time.
_SMALL = {
  'cutout': {'size': 3},
  'rand_augment': {'operations': 1},
  'two_view': {'weak': ('flip',), 'strong': ('shift',)},
  'teacher_view': {'steps': ('shift',)},
}
# Where what has changed is found, if not in the inputs.
_SEEN = {'two_view': 'strong_inputs', 'teacher_view': 'teacher_inputs'}


def _batch(size, side=8, channels=3, seed=0):
  rng = np.random.default_rng(seed)
  return {
    'inputs': jnp.asarray(
      rng.integers(1, 256, (size, side, side, channels), np.uint8)
    ),
    'labels': jnp.asarray(rng.integers(0, 4, size, np.int32)),
    'index': jnp.asarray(rng.permutation(1000)[:size].astype(np.int32)),
    'mask': jnp.ones(size),
  }


def _same_image(size, side=8, channels=1):
  """A batch of `size` examples, all with one image without a black pixel."""
  batch = _batch(size, side, channels)
  return {
    **batch, 'inputs': jnp.tile(batch['inputs'][:1], (size, 1, 1, 1))
  }  # fmt: skip


def _run(spec, batch, key=_KEY):
  return jax.jit(augment.make_augment(spec, classes=4))(key, batch)


def _assert_same(one, other):
  assert one.keys() == other.keys()
  for key in one:
    assert one[key].dtype == other[key].dtype
    np.testing.assert_allclose(one[key], other[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
  'name', sorted(augment.AUGMENTS.keys() - {'rotations'})
)
def test_shards_see_what_the_whole_batch_sees(name):
  batch = _batch(8)
  spec = [{'name': name, **_SMALL.get(name, {})}]
  run = jax.jit(augment.make_augment(spec, classes=4))
  whole = run(_KEY, batch)
  halves = [run(_KEY, {k: v[p] for k, v in batch.items()})
            for p in (slice(0, 4), slice(4, 8))]  # fmt: skip
  _assert_same(jax.tree.map(lambda *x: jnp.concatenate(x), *halves), whole)
  changed = whole[_SEEN.get(name, 'inputs')]
  assert (changed != batch['inputs']).any()
  other = run(jax.random.key(4), batch)
  assert (other[_SEEN.get(name, 'inputs')] != changed).any()
  np.testing.assert_array_equal(whole['index'], batch['index'])


def test_eight_devices_see_what_one_sees():
  spec = ('shift', 'flip', 'mixup')
  batch = _batch(16)
  step = augment.make_augment(spec, classes=4)
  shards = jax.tree.map(lambda x: x.reshape(8, 2, *x.shape[1:]), batch)
  spread = jax.pmap(step, in_axes=(None, 0))(_KEY, shards)
  joined = jax.tree.map(lambda x: x.reshape(16, *x.shape[2:]), spread)
  _assert_same(joined, jax.jit(step)(_KEY, batch))


def test_an_image_does_not_depend_on_its_place_in_the_batch():
  batch = _batch(8)
  spec = ('pad_crop', 'flip', 'cutout')
  turned = _run(spec, {k: v[::-1] for k, v in batch.items()})
  _assert_same(
    {k: v[::-1] for k, v in turned.items()}, _run(spec, batch)
  )  # fmt: skip


def test_eager_is_jitted():
  batch = _batch(2)
  spec = ('flip', 'cutmix')
  eager = augment.make_augment(spec, classes=4)(_KEY, batch)
  _assert_same(eager, _run(spec, batch))


def test_no_steps_are_the_identity():
  batch = _batch(4)
  assert augment.make_augment(())(_KEY, batch) is batch


def test_two_steps_of_one_kind_draw_apart():
  batch = _same_image(64)
  once, twice = (_run(['flip'] * n, batch)['inputs'] for n in (1, 2))
  kept = (twice == batch['inputs']).all((1, 2, 3)).sum()
  assert (once != twice).any() and 16 < kept < 48


def _offsets(spec, pad, mode):
  """Counts, by offset, how often each crop of the padded image is seen."""
  batch = _same_image(500)
  image = np.asarray(batch['inputs'][0])
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode)
  known = {
    padded[y : y + 8, x : x + 8].tobytes(): (y, x)
    for y in range(2 * pad + 1)
    for x in range(2 * pad + 1)
  }
  assert len(known) == (2 * pad + 1) ** 2
  seen = [known[bytes(image)] for image in np.asarray(
    _run(spec, batch)['inputs'])]  # fmt: skip
  return {offset: seen.count(offset) for offset in known.values()}


@pytest.mark.parametrize(
  ('spec', 'mode'),
  [
    ([{'name': 'shift', 'pixels': 2}], 'constant'),
    ([{'name': 'pad_crop', 'pad': 2, 'mode': 'reflect'}], 'reflect'),
  ],
)
def test_crops_are_every_offset_about_equally_often(spec, mode):
  counts = _offsets(spec, 2, mode)
  # 20 are expected of each of the 25; the bounds are four deviations.
  assert min(counts.values()) > 2 and max(counts.values()) < 38


def test_resized_crops_are_enlarged_parts():
  ramp = jnp.broadcast_to(jnp.arange(32.0)[:, None] * 7, (200, 32, 32))
  image = jnp.stack([ramp, ramp.swapaxes(1, 2)], axis=-1)
  batch = {**_batch(200), 'inputs': image.astype(jnp.uint8)}
  whole = _run([{'name': 'resized_crop', 'scale': (1, 1), 'ratio': (1, 1)}],
               batch)['inputs']  # fmt: skip
  np.testing.assert_allclose(whole * 255, batch['inputs'], atol=1e-3)
  found = np.asarray(
    _run([{'name': 'resized_crop', 'scale': (0.2, 0.8)}], batch)['inputs']
  ) * 255 / 7  # fmt: skip
  # Of a ramp, an enlarged part is a flatter ramp.
  height = (found[:, 20, 16, 0] - found[:, 12, 16, 0]) / 8
  width = (found[:, 16, 20, 1] - found[:, 16, 12, 1]) / 8
  assert height.max() <= 1.001 and width.max() <= 1.001
  area, ratio = height * width, width / height
  uncut = (height < 0.99) & (width < 0.99)
  assert 0.19 < area[uncut].min() < 0.3 and 0.65 < area.max() < 0.81
  assert 0.74 < ratio[uncut].min() < 0.85 and 1.2 < ratio[uncut].max() < 1.34
  assert found[..., 0].min() < 1 and found[..., 0].max() > 30


def test_flips_are_mirror_images():
  batch = _same_image(400)
  found = _run([{'name': 'flip', 'probability': 0.25}], batch)['inputs']
  mirrored = (found == batch['inputs'][:, :, ::-1]).all((1, 2, 3))
  kept = (found == batch['inputs']).all((1, 2, 3))
  assert (mirrored ^ kept).all() and 65 < mirrored.sum() < 135


def test_cutout_blanks_one_square():
  batch = _batch(200)
  spec = [{'name': 'cutout', 'size': 4, 'fill': (0, 1, 0.5)}]
  found = np.asarray(_run(spec, batch)['inputs'])
  blank = (found == [0, 255, 128]).all(-1)
  np.testing.assert_array_equal(
    found[~blank], np.asarray(batch['inputs'])[~blank]
  )
  rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
  np.testing.assert_array_equal(blank.sum((1, 2)), rows * columns)
  # Whole ones, and ones that stick out by up to half.
  assert set(rows) == set(columns) == {2, 3, 4}


def _swap(values):
  values = np.asarray(values, np.float64)
  return values.reshape(-1, 2, *values.shape[1:])[:, ::-1].reshape(values.shape)


@pytest.mark.parametrize('alpha', [1.0, 0.4])
def test_mixup_blends_images_and_labels_alike(alpha):
  batch = {**_batch(8), 'labels': jnp.arange(8) % 4}
  found = _run([{'name': 'mixup', 'alpha': alpha}], batch)
  hot = np.eye(4)[batch['labels']]
  ratio = float((found['labels'] * hot).sum(1)[0])
  assert 0 < ratio < 1
  for key, own in (('labels', hot), ('inputs', batch['inputs'] / 255)):
    own = np.asarray(own)
    expected = ratio * own + (1 - ratio) * _swap(own)
    np.testing.assert_allclose(found[key], expected, atol=1e-6)


def test_cutmix_weighs_labels_by_the_pixels_left():
  batch = {**_batch(8), 'labels': jnp.arange(8) % 4}
  run = jax.jit(augment.make_augment(['cutmix'], classes=4))
  own, other = np.asarray(batch['inputs']), _swap(batch['inputs'])
  weights = set()
  for seed in range(8):
    found = run(jax.random.key(seed), batch)
    images = np.asarray(found['inputs'])
    assert images.dtype == np.uint8
    pasted = (images == other).all(-1) & (other != own).any(-1)
    assert ((images == own).all(-1) | pasted).all()
    weight = float((found['labels'] * np.eye(4)[batch['labels']]).sum(1)[0])
    assert abs(1 - pasted.mean() - weight) < 0.01
    weights.add(round(weight, 3))
  assert len(weights) > 3


def test_a_batch_may_be_left_unmixed():
  batch = _batch(4)
  for name in ('mixup', 'cutmix'):
    found = _run([{'name': name, 'probability': 0.0}], batch)
    np.testing.assert_array_equal(found['labels'], np.eye(4)[batch['labels']])
    images = found['inputs']
    scale = 255 if images.dtype == jnp.float32 else 1
    np.testing.assert_allclose(images * scale, batch['inputs'], rtol=1e-6)


def test_soft_labels_are_mixed_as_they_are():
  batch = _batch(4)
  batch['labels'] = jnp.full((4, 7), 1 / 7)
  found = augment.make_augment(['mixup'])(_KEY, batch)
  np.testing.assert_allclose(found['labels'], batch['labels'], rtol=1e-6)


def test_blended_images_are_normalized_like_bytes():
  batch = _batch(4)
  prepare = pipeline.make_prepare((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
  blended = _run([{'name': 'mixup', 'probability': 0.0}], batch)['inputs']
  np.testing.assert_allclose(
    prepare(blended), prepare(batch['inputs']), atol=1e-5
  )


def test_rotations_make_four_images_of_one():
  batch = {**_batch(3), 'mask': jnp.array([1.0, 0.0, 1.0])}
  found = _run(['rotations'], batch)
  for i in range(3):
    for turns in range(4):
      want = np.rot90(batch['inputs'][i], turns)
      np.testing.assert_array_equal(found['inputs'][4 * i + turns], want)
  np.testing.assert_array_equal(found['labels'], np.repeat(batch['labels'], 4))
  np.testing.assert_array_equal(found['index'], np.repeat(batch['index'], 4))
  np.testing.assert_array_equal(found['turns'], [0, 1, 2, 3] * 3)
  assert np.flatnonzero(found['mask']).tolist() == [0, 8]


def test_images_that_are_not_square_have_no_rotations():
  batch = _batch(2)
  batch['inputs'] = batch['inputs'][:, :5]
  with pytest.raises(ValueError, match="'rotations' of images 5 x 8"):
    _run(['rotations'], batch)


def test_two_views_are_drawn_apart_from_the_same_image():
  batch = _same_image(64)
  found = _run([{'name': 'two_view', 'weak': ['flip'], 'strong': ['flip']}],
               batch)  # fmt: skip
  equal = (found['inputs'] == found['strong_inputs']).all((1, 2, 3)).sum()
  assert 16 < equal < 48
  plain = _run([{'name': 'two_view', 'weak': [], 'strong': []}], batch)
  np.testing.assert_array_equal(plain['strong_inputs'], batch['inputs'])


def test_a_teacher_may_see_the_image_as_it_is():
  batch = _batch(8)
  found = _run(['teacher_view', 'shift'], batch)
  np.testing.assert_array_equal(found['teacher_inputs'], batch['inputs'])
  assert (found['inputs'] != batch['inputs']).any()


@pytest.mark.parametrize(
  ('spec', 'message'),
  [
    (
      [{'name': 'resized_crop', 'scale': (0, 1)}],
      r"'scale' of .*'resized_crop' must be 0 < low <= high, not \(0",
    ),
    (['two_view', 'flip'], 'it comes last'),
    (['rotations', 'flip'], 'it comes last'),
    ([{'name': 'teacher_view', 'steps': ['cutmix']}], 'within teacher_view'),
    (['flipp'], "unknown augmentation 'flipp'; did you mean 'flip'"),
    ([3], 'augmentation 3; legal: a name'),
    ([{'size': 3}], 'a mapping with a name'),
    ([{'name': 'flip', 'p': 0.1}], "augmentation 'flip' has no option 'p'"),
    (
      [{'name': 'flip', 'probability': 2}],
      r"'probability' .* must lie in \[0, 1\], not 2",
    ),
    (
      [{'name': 'shift', 'pixels': -1}],
      "'pixels' .* must be at least 0, not -1",
    ),
    ([{'name': 'pad_crop', 'pad': 1.5}], r"'pad' .* type int; got float 1\.5"),
    ([{'name': 'pad_crop', 'mode': 'reflct'}], "did you mean 'reflect'"),
    ([{'name': 'mixup', 'alpha': 0}], "'alpha' .* must be above 0, not 0"),
    (
      [{'name': 'rand_augment', 'magnitude': 31}],
      r"'magnitude' .* lie in \[0, 30\], not 31",
    ),
    ([{'name': 'color_jitter', 'hue': 0.6}], 'hue'),
    ([{'name': 'two_view', 'weak': ['mixup']}], "'mixup' within two_view"),
  ],
)
def test_bad_specifications(spec, message):
  with pytest.raises(ValueError, match=message):
    augment.make_augment(spec, classes=4)


def test_mixing_needs_pairs_and_classes():
  with pytest.raises(ValueError, match='batch of 3 per device'):
    augment.make_augment(['mixup'], classes=4)(_KEY, _batch(3))
  with pytest.raises(ValueError, match='needs the number of classes'):
    augment.make_augment(['cutmix'])(_KEY, _batch(4))
