"""Language: the next token at each place, or a hidden one, and the perplexity.

Labels are shifted in the data: that at place i is what the logits at place i
speak of. Nothing is shifted here or in a term.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax.tasks import base

IGNORE = -100  # what most data sets of text have where no token is asked for


def labels(
  values: object, shape: tuple[int, ...], classes: int, ignore, where: str
) -> np.ndarray:
  """`values` as i32 [N, L] with `base.VOID`, or a ValueError naming `where`.

  Args:
    values: integers [N, L]; -100, -1 and `ignore` do not count.
    shape: of the tokens, [N, L].
    classes: V, or K of tags.
    ignore: a further label that does not count, or None.
    where: whose labels they are.
  """
  values = np.asarray(values)
  base.size_of(values, shape[0], where, 'sequences')
  if values.ndim != 2 or not np.issubdtype(values.dtype, np.integer):
    raise ValueError(
      f'labels of {where} are {values.dtype} {list(values.shape)}; legal: '
      'integers [N, L], a label for every token'
    )
  if values.shape != tuple(shape[:2]):
    raise ValueError(
      f'labels of {where} are {list(values.shape)} and its tokens '
      f'{list(shape[:2])}; legal: a label for every token'
    )
  counts = (values != IGNORE) & (values != base.VOID)
  if ignore is not None:
    counts &= values != ignore
  base.inside(values, counts, classes, where)
  return np.where(counts, values, base.VOID).astype(np.int32)


def classes(values: np.ndarray) -> int:
  """How many classes the labels show: their largest one, and one."""
  return int(values.max(initial=0)) + 1


def strata(values: np.ndarray) -> np.ndarray:
  """Zeros i64 [N]: a sequence is like any other."""
  return np.zeros(len(values), np.int64)


def right(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """1 where the largest logit is the label's; f32 [B, L]."""
  return (logits.argmax(-1) == labels).astype(jnp.float32)


def per_token(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """-log p of each label, f32 [B, L], in nats.

  Args:
    logits: [B, L, V], of the labels at the same places.
    labels: in range, i32 [B, L].
  """
  logits = logits.astype(jnp.float32)
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def per_example(logits, labels, mask) -> dict[str, jax.Array]:
  """Sums over the tokens of each sequence that count.

  Returns:
    'nll' f32 [B], in nats; 'correct' and 'count' i32 [B].
  """
  hits = right(logits, labels) * mask
  nll = jnp.where(mask > 0, per_token(logits, labels), 0)
  return {
    'nll': nll.sum(1),
    'correct': hits.sum(1).astype(jnp.int32),
    'count': mask.sum(1).astype(jnp.int32),
  }


def scores(sums) -> dict[str, float]:
  """Scores of a data set from its sums; NaN where no token counts.

  Returns:
    'perplexity', exp of the mean over ALL tokens of -log p (e to 'nll', not the
    mean of the perplexities of sequences); 'token_accuracy' in [0, 1]; 'nll' in
    nats a token.
  """
  count = np.float64(sums['count'])
  with np.errstate(invalid='ignore', divide='ignore'):
    nll, hits = sums['nll'] / count, sums['correct'] / count
  with np.errstate(over='ignore'):
    return {
      'perplexity': float(np.exp(nll)),
      'token_accuracy': float(hits),
      'nll': float(nll),
    }


def bits_per_byte(nll: float, bytes_per_token: float) -> float:
  """nats a token -> bits a byte: nll / (log 2 * bytes a token).

  It compares networks whose tokens differ.
  """
  return nll / (np.log(2) * bytes_per_token)


LANGUAGE = base.Task(
  name='language',
  axes='BLK',
  labels=labels,
  classes=classes,
  strata=strata,
  right=right,
  hits='token_accuracy',
  per_example=per_example,
  scores=scores,
  score='perplexity',
  title='perplexity',
  better=-1,
  unit='',
  also=(
    ('token_accuracy', 'Next token right', '%'),
    ('bits_per_byte', 'Bits a byte', 'bits'),
  ),
  per_class=None,
  class_title='',
  prediction='token',
  moves='image',
  panels=('tokens',),
)
