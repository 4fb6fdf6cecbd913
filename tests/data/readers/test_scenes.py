"""Street scenes: always the same, of every class, and of any size."""

import hashlib

import numpy as np
import pytest

from kd_jax.data.readers import scenes

COUNT = 40


@pytest.fixture(scope='module')
def drawn():
  with np.errstate(all='raise'):
    return scenes.draw(COUNT, seed=0)


def test_a_scene_depends_on_seed_and_number_alone(drawn):
  images, labels = scenes.draw(3, seed=0)
  np.testing.assert_array_equal(images, drawn[0][:3])
  np.testing.assert_array_equal(labels, drawn[1][:3])
  other = scenes.draw(3, seed=1)[0]
  assert (other != images).mean() > 0.9
  digests = {hashlib.sha256(image).hexdigest() for image in drawn[0]}
  assert len(digests) == COUNT


def test_every_class_and_void_are_seen_and_none_is_rare(drawn):
  _, labels = drawn
  known = [*range(len(scenes.NAMES)), scenes.VOID]
  values, counts = np.unique(labels, return_counts=True)
  assert values.tolist() == known
  assert counts.min() / labels.size > 0.004
  shown = [(labels == value).any((1, 2)).mean() for value in known]
  assert min(shown) > 0.3
  assert counts[-1] / labels.size < 0.1


def test_the_road_is_below_and_the_sky_above(drawn):
  _, labels = drawn
  rows = np.arange(labels.shape[1])[None, :, None]

  def middle(name):
    here = labels == scenes.NAMES.index(name)
    return (here * rows).sum() / here.sum()

  assert middle('sky') < middle('building') < middle('car') < middle('road')


def test_a_color_does_not_tell_the_class(drawn):
  """The best class for each of 512 colors is right for too few pixels."""
  images, labels = drawn
  counts = labels != scenes.VOID
  bins = (images[counts] // 32) @ np.array([64, 8, 1])
  table = np.zeros((512, len(scenes.NAMES)))
  np.add.at(table, (bins, labels[counts]), 1)
  right = table.max(1).sum() / table.sum()
  assert 0.3 < right < 0.6


def test_images_are_lit_differently_and_rarely_clipped(drawn):
  images, _ = drawn
  assert images.mean((1, 2, 3)).std() > 15
  assert np.isin(images, (0, 255)).mean() < 0.1
  assert images.dtype == np.uint8


@pytest.mark.parametrize('size', [(32, 32), (61, 33), (40, 700)])
def test_a_scene_has_any_size(size):
  images, labels = scenes.draw(2, seed=3, size=size)
  assert images.shape == (2, *size, 3) and labels.shape == (2, *size)
  assert len(np.unique(labels)) > 4


def test_a_size_on_which_nothing_is_seen_is_refused():
  with pytest.raises(ValueError, match='31x64 pixels; legal: at least 32x32'):
    scenes.draw(1, seed=0, size=(31, 64))


def test_colors_of_the_palette_differ():
  assert len(set(scenes.PALETTE.values())) == len(scenes.NAMES) == 11
