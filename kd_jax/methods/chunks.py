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
  rest: Mapping[str, jax.Array],
  **sides: Mapping,
) -> jax.Array:
  """The values of predictions f32 [B, ...], `chunk` of them at a time.

  Args:
    compare: ({side: logits [n, K]}, {name: [n, ...]}) -> f32 [n].
    chunk: static.
    hidden: name of the output that the head reads.
    rest: {name: [B, ..., ...]}, what else a prediction has: labels, or what is
      known of the teacher.
    **sides: outputs with `hidden` and the head.
  """
  return heads.in_chunks(
    compare,
    {who: outputs[teacher_head.HEAD] for who, outputs in sides.items()},
    {who: outputs[hidden] for who, outputs in sides.items()},
    rest,
    chunk,
  )


def with_logits(outputs: Mapping, hidden: str) -> Mapping:
  """The shapes of outputs, with those of logits that a head is to make."""
  if 'logits' in outputs:
    return outputs
  head, x = outputs[teacher_head.HEAD], outputs[hidden]
  return {**outputs, 'logits': jax.eval_shape(heads.logits, head, x)}
