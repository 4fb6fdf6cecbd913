"""Compares logits a chunk of predictions at a time, out of hidden states."""

from collections.abc import Callable, Mapping

import jax

from kd_jax import kinds, types
from kd_jax.losses import heads
from kd_jax.methods import teacher_head

FINAL = 'final'  # what the head of a network on text reads

# Options of every method that compares logits prediction by prediction.
OPTIONS = {'chunk': kinds.Count | None, 'hidden': str}


def check(name: str, hidden: str, **sides: Mapping) -> None:
  """Refuses sides whose logits are not a linear layer on hidden states.

  Args:
    name: of the method.
    hidden: name of the output that the head reads.
    **sides: outputs, or their shapes, by who they are.

  Raises:
    ValueError: an unknown output, an unknown head, or one that does not fit.
  """
  for who, outputs in sides.items():
    if hidden not in outputs:
      raise types.unknown(
        f'hidden output of the {who}', hidden, outputs, f"method '{name}'"
      )
    x, logits = outputs[hidden], outputs.get('logits')
    if teacher_head.HEAD not in outputs:
      raise ValueError(
        f"method '{name}' with chunk= needs the last linear layer of the "
        f'{who}, which its network does not name (the `head` of its maker)'
      )
    width = outputs[teacher_head.HEAD]['kernel'].shape[0]
    per_prediction = logits is None or x.shape[:-1] == logits.shape[:-1]
    if x.shape[-1] != width or not per_prediction:
      raise ValueError(
        f"method '{name}' with chunk=: '{hidden}' of the {who} is {x.shape}; "
        f'its head reads {width} numbers for each prediction'
      )


def values(
  compare: Callable[..., jax.Array],
  chunk: int,
  hidden: str,
  labels: jax.Array | None,
  **sides: Mapping,
) -> jax.Array:
  """The values of predictions f32 [B, ...], `chunk` of them at a time.

  Args:
    compare: ({side: logits [n, K]}, labels [n] or None) -> f32 [n].
    chunk: static.
    hidden: name of the output that the head reads.
    labels: i32 [B, ...], for what compares them too.
    **sides: outputs with `hidden` and the head.
  """
  rest = {} if labels is None else {'labels': labels}
  return heads.in_chunks(
    lambda logits, rest: compare(logits, rest.get('labels')),
    {who: outputs[teacher_head.HEAD] for who, outputs in sides.items()},
    {who: outputs[hidden] for who, outputs in sides.items()},
    rest,
    chunk,
  )
