"""Tagging: a class for every token, such as parts of speech or names."""

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.tasks import base, language


def per_example(logits, labels, mask) -> dict[str, jax.Array]:
  """Sums over the tokens of each sequence that count.

  Args:
    logits: [B, L, K].
    labels: in range, i32 [B, L].
    mask: f32 [B, L].

  Returns:
    'nll' f32 [B], in nats, and 'count' i32 [B]; by class, i32 [B, K]: 'hits'
    (right tokens), 'labelled' and 'named' (tokens that have it by the labels,
    and by the network).
  """
  named, counts = logits.argmax(-1), mask.astype(jnp.int32)
  nll = jnp.where(mask > 0, language.per_token(logits, labels), 0)

  def by_class(classes, counts):
    rows = jnp.arange(len(classes))[:, None]
    empty = jnp.zeros((len(classes), logits.shape[-1]), jnp.int32)
    return empty.at[rows, classes].add(counts)

  return {
    'nll': nll.sum(1),
    'count': counts.sum(1),
    'hits': by_class(labels, counts * (named == labels)),
    'labelled': by_class(labels, counts),
    'named': by_class(named, counts),
  }


def f1(sums) -> np.ndarray:
  """F1 of each class, f64 [..., K]; NaN for one that occurs nowhere.

  2 hits / (labelled + named): the harmonic mean of precision and recall.
  """
  whole = np.asarray(sums['labelled']) + np.asarray(sums['named'])
  return base.ratio(2 * np.asarray(sums['hits']), whole)


def scores(sums) -> dict[str, float]:
  """Scores of a data set from its sums.

  Returns:
    'token_accuracy'; 'macro_f1', the mean over the classes that occur in labels
    or predictions; both in [0, 1], of single tokens, not of names of several.
    'nll', in nats a token.
  """
  count = sums['count']
  return {
    'token_accuracy': float(base.ratio(np.sum(sums['hits']), count)),
    'macro_f1': base.mean(f1(sums)),
    'nll': float(base.ratio(sums['nll'], count)),
  }


TAGGING = base.Task(
  name='tagging',
  axes='BLK',
  labels=language.labels,
  classes=language.classes,
  strata=language.strata,
  right=language.right,
  hits='token_accuracy',
  per_example=per_example,
  scores=scores,
  score='token_accuracy',
  title='token accuracy',
  better=1,
  unit='%',
  also=(('macro_f1', 'F1, mean over classes', '%'),),
  per_class=f1,
  class_title='F1',
  prediction='token',
  moves='image',
  panels=('classes', 'tokens'),
  counts=lambda sums: np.asarray(sums['labelled']),
)
