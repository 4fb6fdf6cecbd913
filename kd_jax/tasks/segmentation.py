"""Semantic segmentation: a class for every pixel, and the mean IoU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax.losses import spatial
from kd_jax.tasks import base


def labels(
  values: object, shape: tuple[int, ...], classes: int, ignore, where: str
) -> np.ndarray:
  """`values` as i16 [N, H, W] with `base.VOID`, or a ValueError naming `where`.

  Args:
    values: integers [N, H, W].
    shape: of the images, [N, H, W, C].
    classes: K.
    ignore: the label that does not count, or None.
    where: whose labels they are.
  """
  values = np.asarray(values)
  base.size_of(values, shape[0], where)
  if values.ndim != 3 or not np.issubdtype(values.dtype, np.integer):
    hint = '; leave the last axis out' if values.shape[3:] == (1,) else ''
    raise ValueError(
      f'labels of {where} are {values.dtype} {list(values.shape)}; legal: '
      f'integers [N, H, W], a class for every pixel{hint}'
    )
  if values.shape[1:] != tuple(shape[1:3]):
    raise ValueError(
      f'label maps of {where} are {list(values.shape[1:])} and its images '
      f'{list(shape[1:3])}; legal: maps of the size of the images'
    )
  counts = True if ignore is None else values != ignore
  remedy = '' if ignore is not None else '; void pixels have a label: ignore='
  base.inside(values, counts, classes, where, remedy)
  return np.where(counts, values.astype(np.int16), np.int16(base.VOID))


def classes(values: np.ndarray) -> int:
  """How many classes label maps show: their largest label, and one."""
  return int(values.max(initial=0)) + 1


def strata(values: np.ndarray) -> np.ndarray:
  """Zeros i64 [N]: an image holds many classes, so any is like any other."""
  return np.zeros(len(values), np.int64)


def right(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """1 where the largest logit is the label's; f32 [B, H, W].

  Args:
    logits: [B, h, w, K], resized to the labels (see `spatial.at_labels`).
    labels: in range, i32 [B, H, W].
  """
  logits = spatial.at_labels(logits, labels)
  return (logits.argmax(-1) == labels).astype(jnp.float32)


def per_example(logits, labels, mask) -> dict[str, jax.Array]:
  """Counts of the pixels of each image.

  Args:
    logits: [B, h, w, K], resized to the labels.
    labels: in range, i32 [B, H, W].
    mask: f32 [B, H, W].

  Returns:
    'confusion' i32 [B, K, K], how often label i (row) was taken for class j;
    'nll' f32 [B], in nats; 'count' i32 [B]. Void pixels are in none of them.
  """
  logits = spatial.at_labels(logits, labels)
  nll = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  count = functools.partial(_confusion, classes=logits.shape[-1])
  counts = mask.astype(jnp.int32)
  return {
    'confusion': jax.vmap(count)(labels, logits.argmax(-1), counts),
    'nll': jnp.where(mask > 0, nll, 0).sum((1, 2)),
    'count': counts.sum((1, 2)),
  }


def _confusion(labels, predictions, counts, classes: int) -> jax.Array:
  """How often label i (row) was taken for class j, i32 [K, K]."""
  cells = jnp.zeros(classes * classes, jnp.int32)
  places = labels * classes + predictions
  return cells.at[places].add(counts).reshape(classes, classes)


def iou(confusion: np.ndarray) -> np.ndarray:
  """The IoU of each class, f64 [..., K]; NaN for a class that occurs nowhere.

  IoU_k = C_kk / (sum_j C_kj + sum_i C_ik - C_kk).

  Args:
    confusion: C, summed over ALL pixels that count, i [..., K, K]. The mean of
      the IoUs of single images is another number.
  """
  hit = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
  return base.ratio(hit, confusion.sum(-1) + confusion.sum(-2) - hit)


def scores(sums) -> dict[str, float]:
  """Scores of a data set from its sums.

  Returns:
    'miou', the mean IoU of the classes that occur in labels or predictions;
    'pixel_accuracy'; 'class_accuracy', the mean over the classes that occur in
    labels; all in [0, 1]. 'nll', in nats a pixel.

  Source: Long, Shelhamer, Darrell, Fully convolutional networks for semantic
    segmentation, 2015, section 5, https://arxiv.org/abs/1411.4038; absent
    classes are left out, as in mmsegmentation and CIRKD's compute_score.
  """
  confusion, count = np.asarray(sums['confusion']), sums['count']
  hit, row = np.diagonal(confusion), confusion.sum(-1)
  return {
    'miou': base.mean(iou(confusion)),
    'pixel_accuracy': float(base.ratio(hit.sum(), confusion.sum())),
    'class_accuracy': base.mean(base.ratio(hit, row)),
    'nll': float(base.ratio(sums['nll'], count)),
  }


SEGMENTATION = base.Task(
  name='segmentation',
  axes='BHWK',
  labels=labels,
  classes=classes,
  strata=strata,
  right=right,
  hits='pixel_accuracy',
  per_example=per_example,
  scores=scores,
  score='miou',
  title='mean IoU',
  better=1,
  unit='%',
  also=(
    ('pixel_accuracy', 'Pixel accuracy', '%'),
    ('class_accuracy', 'Class accuracy', '%'),
  ),
  per_class=lambda sums: iou(np.asarray(sums['confusion'])),
  class_title='IoU',
  prediction='pixel',
  moves='image and label',
  panels=('maps', 'classes', 'shares', 'frames'),
  counts=lambda sums: np.asarray(sums['confusion']).sum(-1),
)
