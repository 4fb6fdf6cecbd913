"""Multi-label classification: yes or no to each class, of every example."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax.tasks import base, tagging


def labels(
  values: object, shape: tuple[int, ...], classes: int, ignore, where: str
) -> np.ndarray:
  """`values` as f32 [N, K] of 0 and 1, or a ValueError that names `where`."""
  if ignore is not None:
    raise ValueError(f'ignore={ignore} of {where}; legal: none, for multilabel')
  values = np.asarray(values)
  base.size_of(values, shape[0], where, 'examples')
  if values.ndim != 2 or values.shape[1] != classes:
    raise ValueError(
      f'labels of {where} are {values.dtype} {list(values.shape)}; legal: 0 '
      f'and 1, [N, {classes}]'
    )
  wrong = values[~np.isin(values, (0, 1))]
  if wrong.size:
    raise ValueError(
      f'labels of {where} have the value {wrong[0]}; legal: 0 and 1'
    )
  return values.astype(np.float32)


def right(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """1 where every class is right, at a probability of one half; f32 [B]."""
  return ((logits > 0) == (labels > 0)).all(-1).astype(jnp.float32)


def per_example(logits, labels, mask) -> dict[str, jax.Array]:
  """Counts of each example.

  Args:
    logits: [B, K], of independent classes.
    labels: f32 [B, K] of 0 and 1.
    mask: f32 [B].

  Returns:
    'nll' f32 [B], in nats, summed over the classes; 'correct' (every class is
    right) and 'count' f32 [B]; i32 [B, K] as of `tagging.per_example`.
  """
  named = (logits > 0).astype(jnp.int32)
  labelled, counts = labels.astype(jnp.int32), mask.astype(jnp.int32)[:, None]
  nll = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), labels)
  return {
    'nll': nll.sum(-1) * mask,
    'correct': right(logits, labels) * mask,
    'count': mask,
    'hits': named * labelled * counts,
    'labelled': labelled * counts,
    'named': named * counts,
  }


def scores(sums) -> dict[str, float]:
  """Scores of a data set from its sums.

  Returns:
    'micro_f1', of all decisions together; 'macro_f1', the mean over classes
    that occur in labels or predictions; 'exact', the share of examples with
    every class right; all in [0, 1]. 'nll', in nats an example.
  """
  whole = {k: np.sum(sums[k]) for k in ('hits', 'labelled', 'named')}
  return {
    'micro_f1': float(tagging.f1(whole)),
    'macro_f1': base.mean(tagging.f1(sums)),
    'exact': float(base.ratio(sums['correct'], sums['count'])),
    'nll': float(base.ratio(sums['nll'], sums['count'])),
  }


MULTILABEL = base.Task(
  name='multilabel',
  axes='BK',
  labels=labels,
  classes=lambda values: values.shape[-1],
  strata=lambda values: np.zeros(len(values), np.int64),
  right=right,
  hits='exact',
  per_example=per_example,
  scores=scores,
  score='micro_f1',
  title='micro F1',
  better=1,
  unit='%',
  also=(
    ('macro_f1', 'F1, mean over classes', '%'),
    ('exact', 'All classes right', '%'),
  ),
  per_class=tagging.f1,
  class_title='F1',
  prediction='image',
  moves='image',
  panels=('classes',),
  hard='binary_cross_entropy',
  says=base.EACH,
  counts=lambda sums: np.asarray(sums['labelled']),
)
