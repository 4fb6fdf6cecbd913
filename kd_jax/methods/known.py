"""Compares logits with a teacher of which a cache holds classes or draws.

Such a teacher has `sparse.KNOWN` or `sparse.DRAWN` in place of logits.
"""

from collections.abc import Callable, Mapping

import jax

from kd_jax.losses import sparse
from kd_jax.methods import chunks

# What a method reads of a teacher without logits, by `binned` of `pairs`.
NONE, TAIL, FORWARD = (), sparse.VARIANTS[:1], sparse.VARIANTS
# The methods that read the largest classes; tests keep them equal to METHODS.
READERS = (
  'kd', 'forward_kl', 'reverse_kl', 'generalized_jsd', 'skew_kl',
  'skew_reverse_kl', 'symmetric_kl', 'js', 'tv',
)  # fmt: skip
# The option of a method that reads the others of a top k in several ways.
OPTIONS = {'others': str | None}


def names(teacher: Mapping) -> tuple[str, ...]:
  """The outputs in place of the logits of a teacher; () where it has them."""
  if 'logits' in teacher:
    return ()
  for known in (sparse.KNOWN, sparse.DRAWN):
    if all(name in teacher for name in known):
      return known
  return ()


def check(
  name: str, teacher: Mapping, binned: tuple[str, ...], hparams, options
) -> None:
  """Refuses a method that needs more of a teacher than its cache holds.

  Args:
    name: of the method.
    teacher: its outputs, or their shapes.
    binned: what the method reads, one of those above.
    hparams, options: of the method.

  Raises:
    ValueError: naming what reads it.
  """
  held = names(teacher)
  if held == sparse.KNOWN and not binned:
    raise ValueError(
      f"method '{name}' reads the logits of all classes, and the cache of its "
      f'teacher holds the largest; legal with it: {", ".join(READERS)}, or '
      "cache.distribution=dict(name='all')"
    )
  exact = options.get('variant') == 'cross_entropy'
  drawn = binned == FORWARD and exact and hparams.get('temperature') == 1.0
  if held == sparse.DRAWN and not drawn:
    raise ValueError(
      f"method '{name}' reads the logits of its teacher, and the cache holds "
      "draws, which give the cross-entropy; legal with it: 'forward_kl' with "
      "variant='cross_entropy' and temperature=1.0"
    )


def values(
  compare: Callable[..., jax.Array],
  student: Mapping,
  teacher: Mapping,
  others: str,
  chunk: int | None,
  hidden: str,
) -> jax.Array:
  """The values of predictions f32 [B, ...].

  Args:
    compare: of the method, (student, teacher) of the classes that are known ->
      [n].
    student: outputs.
    teacher: outputs, with `names`.
    others: what becomes of the classes that are not known: one of
      `sparse.VARIANTS`.
    chunk, hidden: of the student's logits (see `chunks`); None: all at once.
  """
  held = names(teacher)

  def one(z, rest):
    known = (rest[name] for name in held)
    if held == sparse.DRAWN:
      return sparse.sampled_cross_entropy(z['student'], *known)
    return compare(*sparse.pair(z['student'], *known, others))

  rest = {name: teacher[name] for name in held}
  if chunk:
    return chunks.values(one, chunk, hidden, rest, student=student)
  return jax.checkpoint(one)({'student': student['logits']}, rest)
