"""Regression: a number for every example, such as how alike two texts are."""

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.tasks import base


def labels(
  values: object, shape: tuple[int, ...], classes: int, ignore, where: str
) -> np.ndarray:
  """`values` as f32 [N], or a ValueError that names `where`."""
  if ignore is not None:
    raise ValueError(f'ignore={ignore} of {where}; legal: none, for regression')
  values = np.asarray(values)
  base.size_of(values, shape[0], where, 'examples')
  number = np.issubdtype(values.dtype, np.number)
  if values.ndim != 1 or not number or np.iscomplexobj(values):
    raise ValueError(
      f'labels of {where} are {values.dtype} {list(values.shape)}; legal: '
      'numbers [N]'
    )
  if not np.isfinite(values).all():
    raise ValueError(f'labels of {where} hold NaN or infinite numbers')
  if classes != 1:
    raise ValueError(f'classes={classes} of {where}; legal: 1, for regression')
  return values.astype(np.float32)


def right(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """The squared error, f32 [B]."""
  return jnp.square(logits[..., 0].astype(jnp.float32) - labels)


def per_example(logits, labels, mask) -> dict[str, jax.Array]:
  """Numbers of which mean, correlation and error are made, f32 [B] each.

  Args:
    logits: [B, 1], the predictions.
    labels: f32 [B].
    mask: f32 [B].
  """
  x, y = logits[..., 0].astype(jnp.float32), labels
  return {
    'prediction': x * mask,
    'label': y * mask,
    'prediction_squared': x * x * mask,
    'label_squared': y * y * mask,
    'product': x * y * mask,
    'squared_error': right(logits, labels) * mask,
    'count': mask,
  }


def scores(sums) -> dict[str, float]:
  """Scores of a data set from its sums.

  Returns:
    'pearson' in [-1, 1], the correlation of predictions and labels; NaN where
    one of them is constant. 'mse', the mean squared error.
  """
  count = sums['count']
  x, y, xx, yy, xy, mse = (
    base.ratio(sums[name], count)
    for name in (
      'prediction',
      'label',
      'prediction_squared',
      'label_squared',
      'product',
      'squared_error',
    )
  )
  spread = np.sqrt(_variance(x, xx) * _variance(y, yy))
  pearson = float(base.ratio(xy - x * y, spread))
  return {'pearson': float(np.clip(pearson, -1, 1)), 'mse': float(mse)}


def _variance(mean: np.ndarray, square: np.ndarray) -> np.ndarray:
  """Of numbers with these means; 0 where it is rounding of the f32 squares."""
  variance = square - mean * mean
  return np.where(variance > np.finfo(np.float32).eps * square, variance, 0)


def further(parts) -> dict[str, float]:
  """{'spearman'}: the correlation of ranks, in [-1, 1].

  Equal numbers share the mean of their ranks.

  Args:
    parts: of `per_example`, [N], of all examples.
  """
  counts = np.asarray(parts['count']) > 0
  x, y = (
    _ranks(np.asarray(parts[name])[counts]) for name in ('prediction', 'label')
  )
  x, y = x - x.mean(), y - y.mean()
  spread = np.sqrt(np.square(x).sum() * np.square(y).sum())
  return {'spearman': float(base.ratio((x * y).sum(), spread))}


def _ranks(values: np.ndarray) -> np.ndarray:
  """The rank of each of [N], counted from 0; equal ones share their mean."""
  _, place, count = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(count) - (count + 1) / 2)[place]


REGRESSION = base.Task(
  name='regression',
  axes='BK',
  labels=labels,
  classes=lambda values: 1,
  strata=lambda values: np.zeros(len(values), np.int64),
  right=right,
  hits='squared_error',
  per_example=per_example,
  scores=scores,
  score='pearson',
  title='Pearson correlation',
  better=1,
  unit='',
  also=(
    ('spearman', 'Spearman correlation', ''),
    ('mse', 'Mean squared error', ''),
  ),
  per_class=None,
  class_title='',
  prediction='image',
  moves='image',
  panels=(),
  hard='squared_error',
  says=base.NUMBER,
  further=further,
  undefined='all predictions or all labels are the same',
)
