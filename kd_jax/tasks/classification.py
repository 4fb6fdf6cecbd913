"""Classification: a label an image, and how many images are right."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax.tasks import base


def labels(
  values: object, shape: tuple[int, ...], classes: int, ignore, where: str
) -> np.ndarray:
  """`values` as i32 [N] or soft f32 [N, K], or a ValueError naming `where`."""
  if ignore is not None:
    raise ValueError(
      f'ignore={ignore} of {where}; legal: none, for classification counts '
      "every label; label maps have task='segmentation'"
    )
  values = np.asarray(values)
  base.size_of(values, shape[0], where)
  if base.is_soft(values) and values.ndim == 2:
    return _soft(values, classes, where)
  if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
    maps = values.ndim == len(shape) - 1 == 3
    hint = "; label maps have task='segmentation'" if maps else ''
    raise ValueError(
      f'labels of {where} are {values.dtype} {list(values.shape)}; legal: '
      f'integers [N], or probabilities [N, {classes}]{hint}'
    )
  from_one = values.min(initial=0) == 1 and values.max(initial=0) == classes
  remedy = '; do they count from 1? subtract 1' if from_one else ''
  base.inside(values, True, classes, where, remedy)
  return values.astype(np.int32)


def _soft(values: np.ndarray, classes: int, where: str) -> np.ndarray:
  """Probabilities [N, K] as f32."""
  if values.shape[1] != classes:
    raise ValueError(
      f'soft labels of {where} have {values.shape[1]} columns; legal: '
      f'{classes}, the number of classes'
    )
  total = values.sum(axis=1)
  # Written so that NaN is refused too.
  if not ((values >= 0).all() and (abs(total - 1) < 1e-3).all()):
    raise ValueError(f'soft labels of {where} are not rows that sum to 1')
  return values.astype(np.float32)


def classes(values: np.ndarray) -> int:
  """How many classes the labels show."""
  soft = base.is_soft(values) and values.ndim == 2
  return values.shape[1] if soft else int(values.max(initial=0)) + 1


def strata(values: np.ndarray) -> np.ndarray:
  """The class of each example, the likeliest of a soft label; i64 [N]."""
  hard = values.argmax(axis=-1) if base.is_soft(values) else values
  return hard.astype(np.int64)


def right(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """1 where the largest logit is the label's; f32 [B]."""
  if base.is_soft(labels):
    labels = labels.argmax(-1)
  return (logits.argmax(-1) == labels).astype(jnp.float32)


def per_example(logits, labels, mask) -> dict[str, jax.Array]:
  """{'correct', 'nll' (nats), 'count'}, f32 [B] each."""
  return {
    'correct': right(logits, labels) * mask,
    'nll': _nll(logits, labels) * mask,
    'count': mask,
  }


def _nll(logits, labels) -> jax.Array:
  if base.is_soft(labels):
    return optax.softmax_cross_entropy(logits, labels)
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def scores(sums) -> dict[str, float]:
  """{'accuracy' in [0, 1], 'nll' in nats}, means over the data set."""
  count = sums['count']
  return {
    'accuracy': float(sums['correct'] / count),
    'nll': float(sums['nll'] / count),
  }


CLASSIFICATION = base.Task(
  name='classification',
  axes='BK',
  labels=labels,
  classes=classes,
  strata=strata,
  right=right,
  hits='accuracy',
  per_example=per_example,
  scores=scores,
  score='accuracy',
  title='accuracy',
  better=1,
  unit='%',
  also=(),
  per_class=None,
  class_title='accuracy',
  prediction='image',
  moves='image',
  panels=('confusions', 'cards'),
)
