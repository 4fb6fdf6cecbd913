"""Regions of maps, and how their losses are weighed."""

import numpy as np
import pytest

from kd_jax.losses import decoupled, logits, regions
from tests.helpers import reference as ref

# Two examples of five regions; the classes are the teacher's choices.
CHOICES = np.array([[0, 0, 1, 2, 0], [1, 0, 1, 2, 0]])
LABELS = np.array([0, 0])
WEIGHTS = np.array([[1, 1, 2, 2, 1], [1, 2, 1, 1, 2]])
T32 = np.float32(5 * np.eye(3)[CHOICES])
S32 = np.float32(ref.draw(0, 2, 5, 3))
EACH = np.broadcast_to(LABELS[:, None], (2, 5))


@pytest.mark.parametrize(
  'loss, plain, options',
  [
    (regions.sdd_kd, lambda *x, **o: logits.kd(*x[:2], **o), {}),
    (regions.sdd_dkd, decoupled.dkd, {'alpha': 0.5, 'beta': 3.0}),
    (regions.sdd_nkd, decoupled.nkd, {'variant': 'paper', 'gamma': 2.0}),
  ],
)
def test_a_region_that_disagrees_with_the_image_counts_twice(
  loss, plain, options
):
  of_regions = {k: v for k, v in options.items() if k != 'variant'}
  each = plain(S32, T32, EACH, temperature=2.0, **of_regions)
  got = loss(S32, T32, LABELS, temperature=2.0, **options)
  np.testing.assert_allclose(got, (WEIGHTS * each).mean(-1), rtol=1e-6)
  hot = np.float32(np.eye(3)[LABELS])
  soft = loss(S32, T32, hot, temperature=2.0, **options)
  np.testing.assert_allclose(soft, got, rtol=1e-6)


def test_the_code_of_nkd_keeps_the_target():
  got = regions.sdd_nkd(S32, T32, LABELS, temperature=2.0, complementary=1.0)
  hit = -(ref.probs(T32) * ref.log_probs(S32))[..., 0]
  rest = -(ref.probs(T32, 2.0) * ref.log_probs(S32, 2.0)).sum(-1)
  want = (hit + 1.5 * 4 * rest).mean(-1)
  np.testing.assert_allclose(got, want, rtol=1e-5)


def test_pyramid_goes_from_coarse_to_fine():
  x = np.arange(64, dtype=np.float32).reshape(1, 8, 8, 1)
  got = np.asarray(regions.pyramid(x))[0, :, 0]
  np.testing.assert_allclose(got[0], x.mean())
  halves = [x[0, i : i + 4, j : j + 4].mean() for i in (0, 4) for j in (0, 4)]
  np.testing.assert_allclose(got[1:5], halves)
  assert got.shape == (21,)
  assert regions.pyramid(x, (1, 4)).shape == (1, 17, 1)


@pytest.mark.parametrize('scales', [(2, 1), (1, 3), ()])
def test_other_scales_are_refused(scales):
  with pytest.raises(ValueError, match='must begin with 1'):
    regions.pyramid(np.ones((1, 4, 4, 1), np.float32), scales)
