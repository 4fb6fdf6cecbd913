"""Segmentation: the border, the confusion matrix, void pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import tasks
from kd_jax.tasks import segmentation
from tests.helpers import shared

TASK = tasks.SEGMENTATION
SHAPE = (2, 4, 6, 3)  # of the images
GOLDEN = ('golden', 'dense', 'metrics')


def maps(*values) -> np.ndarray:
  """Label maps [2, 4, 6] that hold these values in turn."""
  return np.resize(np.array(values), SHAPE[:3])


def read(values, ignore=None, classes=3) -> np.ndarray:
  return TASK.labels(values, SHAPE, classes, ignore, "'scenes' train")


def test_void_becomes_a_label_of_its_own():
  stored = read(maps(0, 1, 255).astype(np.uint8), ignore=255)
  assert stored.dtype == np.int16
  np.testing.assert_array_equal(stored, maps(0, 1, tasks.VOID))
  labels, mask = tasks.counted(stored, np)
  np.testing.assert_array_equal(labels, maps(0, 1, 0))
  np.testing.assert_array_equal(mask, maps(1.0, 1.0, 0.0))
  assert labels.dtype == np.int32 and mask.dtype == np.float32


@pytest.mark.parametrize(
  'values, ignore, message',
  [
    (np.zeros((3, 4, 6), int), None, '2 images but 3 labels'),
    (np.zeros(2, int), None, r'int64 \[2\]; legal: integers \[N, H, W\]'),
    (maps(0)[..., None], None, 'leave the last axis out'),
    (maps(0.0), None, r'legal: integers \[N, H, W\]'),
    (np.zeros((2, 4, 5), int), None, r'are \[4, 5\] and its images \[4, 6\]'),
    (maps(0, 3), None, r'24 labels .* first is 3; legal: 0\.\.2 .* ignore='),
    (maps(0, -1, 7), 7, '16 labels .* the first is -1'),
  ],
)
def test_one_clear_line_at_the_border(values, ignore, message):
  with pytest.raises(ValueError, match=message) as raised:
    read(values, ignore)
  assert '\n' not in str(raised.value)


def test_classification_refuses_maps_and_says_what_takes_them():
  with pytest.raises(ValueError, match="task='segmentation'"):
    tasks.CLASSIFICATION.labels(maps(0), SHAPE, 3, None, 'x')
  with pytest.raises(ValueError, match='ignore=255'):
    tasks.CLASSIFICATION.labels(np.zeros(2, int), SHAPE, 3, 255, 'x')
  with pytest.raises(ValueError, match="did you mean 'segmentation'"):
    tasks.make_task('segmentatoin')


@pytest.mark.parametrize('case', ['small', 'void'])
def test_golden(case):
  """CIRKD's score.py; one class is predicted on void pixels alone."""
  golden = np.load(shared.need(*GOLDEN) / f'miou__{case}.npz')
  logits, labels = golden['in_logits'], golden['in_labels']
  classes = logits.shape[-1]
  stored = TASK.labels(labels, logits.shape, classes, -100, case)
  counted = tasks.counted(stored, np)
  whole = jax.jit(lambda *x: tasks.sums(TASK, *x))(logits, *counted)
  np.testing.assert_array_equal(whole['confusion'], golden['confusion'])
  total = {}
  for i in range(len(logits)):  # image by image gives the same sums
    part = (logits[i : i + 1], *(x[i : i + 1] for x in counted))
    total = tasks.add(total, jax.device_get(tasks.sums(TASK, *part)))
  np.testing.assert_array_equal(total['confusion'], golden['confusion'])
  assert total['confusion'].dtype == total['count'].dtype == np.int64
  scores = TASK.scores(total)
  assert next(iter(scores)) == TASK.score == 'miou'
  expected = {
    'miou': 'miou_present',
    'pixel_accuracy': 'pixel_accuracy',
    'class_accuracy': 'mean_class_accuracy',
  }
  for name, key in expected.items():
    assert scores[name] == pytest.approx(float(golden[key]), rel=1e-9), name
  assert abs(scores['miou'] - float(golden['miou_mean_of_images_wrong'])) > 5e-3
  np.testing.assert_allclose(
    segmentation.iou(total['confusion']), golden['iou'], rtol=1e-9
  )


def test_logits_are_resized_to_the_labels():
  logits = jax.random.normal(jax.random.key(0), (2, 2, 3, 5))
  labels, mask = jnp.zeros((2, 4, 6), jnp.int32), jnp.ones((2, 4, 6))
  large = jax.image.resize(logits, (2, 4, 6, 5), 'linear', antialias=False)
  for small, full in zip(
    jax.tree.leaves(tasks.sums(TASK, logits, labels, mask)),
    jax.tree.leaves(tasks.sums(TASK, large, labels, mask)),
  ):
    np.testing.assert_allclose(small, full, rtol=1e-5)


def test_a_wholly_void_data_set_has_no_score():
  void = jnp.zeros((1, 2, 2))
  sums = tasks.sums(TASK, jnp.ones((1, 2, 2, 3)), void.astype(int), void)
  assert sums['count'] == sums['nll'] == 0
  assert all(np.isnan(list(TASK.scores(tasks.add({}, sums)).values())))
