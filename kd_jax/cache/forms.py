"""FORMS: how a cache holds the logits of a teacher, by `cache.distribution`.

| name    | options               | signal of the teacher                    |
|---------|-----------------------|------------------------------------------|
| all     |                       | 'logits', by cache.dtype and cache.top_k |
| top_k   | k=64, dtype='float16' | `sparse.KNOWN`: k classes and the tail   |
| sampled | n=64, seed=0          | `sparse.DRAWN`: draws and their weights  |
| hidden  |                       | 'final' by cache.dtype, the frozen head  |

Of a language the form is 'top_k' unless said otherwise. Classes are chosen and
drawn where the teacher runs, so that neither its host nor that of a student
ever has logits of the whole vocabulary. `distributions` says what is stored of
a token, and with which error.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import kinds, tasks
from kd_jax.cache import distributions
from kd_jax.losses import sparse
from kd_jax.methods import chunks

LOGITS = 'logits'
USUAL = 64  # classes or draws of a token


class Form(NamedTuple):
  """A form of which a record of a token is not the output itself.

  Attributes:
    record: classes -> the structured type of a token.
    reduce: (logits [B, ..., K], key) -> what is stored of them, on a device.
    pack: (record, what is stored) -> records [B, ...].
    unpack: records [B, ...] -> what is stored.
    names: of the outputs that a term reads, in the order of what is stored.
  """

  record: Callable[[int], np.dtype]
  reduce: Callable[[jax.Array, jax.Array], tuple]
  pack: Callable[[np.dtype, tuple], np.ndarray]
  unpack: Callable[[np.ndarray], tuple]
  names: tuple[str, ...]


def _all() -> None:
  """All logits, or those that `cache.top_k` leaves."""


def _top_k(*, k: kinds.Count = USUAL, dtype: str = 'float16') -> Form:
  """The k largest classes of each token and the mass of the others."""
  return Form(
    lambda classes: distributions.top_record(classes, k, dtype),
    lambda logits, key: distributions.top(logits, k),
    lambda record, stored: distributions.pack_top(
      record, distributions.Top(*stored)
    ),
    distributions.unpack_top,
    sparse.KNOWN,
  )


def _sampled(*, n: kinds.Count = USUAL, seed: kinds.Seed = 0) -> Form:
  """n draws of each token, the same in every run of a seed."""

  def draw(logits, key):
    key = jax.random.fold_in(key, seed)
    return distributions.sample(key, logits, n)

  return Form(
    lambda classes: distributions.sampled_record(classes, n),
    draw,
    lambda record, stored: distributions.pack_sampled(
      record, distributions.Sampled(*stored)
    ),
    distributions.unpack_sampled,
    sparse.DRAWN,
  )


def _hidden() -> None:
  """What the head of a network on text reads: the head is that of the teacher.

  A term makes the logits of `chunk=` tokens at a time of it.
  """


FORMS: Mapping[str, Callable[..., Form | None]] = {
  'all': _all,
  'top_k': _top_k,
  'sampled': _sampled,
  'hidden': _hidden,
}


def settle(spec: Mapping[str, Any], data) -> tuple[dict, tuple[str, ...]]:
  """What `cache` of a config asks for: the form, and the outputs to store.

  Args:
    spec: 'cache' of a config.
    data: the data set.

  Returns:
    ({'name', options} of a form that needs a `Form`, or {}; names).

  Raises:
    ValueError: an unknown form or option, one that the task or the other keys
      of `cache` leave no room for.
  """
  options, outputs = dict(spec['distribution']), tuple(spec['outputs'])
  language = data.task == tasks.LANGUAGE.name
  if not options and language and LOGITS in outputs and not spec['top_k']:
    options = {'name': 'top_k', 'k': min(USUAL, data.classes)}
  if not options:
    return {}, outputs
  where = 'cache.distribution'
  if 'name' not in options:
    raise ValueError(f'{where} needs a name; legal: {", ".join(FORMS)}')
  name = options.pop('name')
  maker = kinds.entry(where, FORMS, name)
  kinds.options(f"{where} '{name}'", maker, options)
  if name == 'all':
    return {}, outputs
  if LOGITS not in outputs:
    raise ValueError(
      f"{where} '{name}' is in place of '{LOGITS}', which cache.outputs lacks"
    )
  if spec['top_k']:
    raise ValueError(
      f"cache.top_k={spec['top_k']} is of all logits, and {where} is '{name}'; "
      'legal with it: cache.top_k=0'
    )
  if tasks.make_task(data.task).says != tasks.ONE:
    raise ValueError(
      f"{where} '{name}' is of classes that exclude each other, and the logits "
      f"of the task '{data.task}' are {tasks.make_task(data.task).says}; "
      "legal: 'all'"
    )
  if name == 'hidden':
    return {}, tuple(chunks.FINAL if n == LOGITS else n for n in outputs)
  form = maker(**options)
  form.record(data.classes)  # refuses what cannot be stored
  return {'name': name, **kinds.defaults(maker), **options}, outputs


def make_form(distribution: Mapping[str, Any]) -> Form:
  """The form that `settle` has returned."""
  options = dict(distribution)
  return FORMS[options.pop('name')](**options)


def reduce(
  distribution: Mapping[str, Any],
  logits: jax.Array,
  index: jax.Array,
  step: jax.Array,
) -> dict[str, jax.Array]:
  """What is stored of logits, on the device that has them.

  Args:
    distribution: as `settle` returns it.
    logits: [B, ..., K].
    index: of the examples i [B], from which draws are made: they do not depend
      on the batch that an example is in.
    step: of the view, likewise.

  Returns:
    {output: [B, ..., n]}.
  """
  form = make_form(distribution)
  key = jax.random.fold_in(jax.random.key(0), step)

  def one(logits, index):
    return form.reduce(logits, jax.random.fold_in(key, index))

  return dict(zip(form.names, jax.vmap(one)(logits, index), strict=True))


def shapes(
  distribution: Mapping[str, Any], shape: tuple[int, ...]
) -> dict[str, jax.ShapeDtypeStruct]:
  """{output: its shape and type} as read for a batch of logits [B, ..., K]."""

  def read(logits, index):
    return reduce(distribution, logits, index, 0)

  batch = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(read, batch, jax.ShapeDtypeStruct(shape[:1], 'int32'))


def in_words(distribution: Mapping[str, Any], stored: int, shape: tuple) -> str:
  """The bytes a prediction, as a cache on disk has them, in a line.

  Args:
    distribution: as `settle` returns it.
    stored: bytes of an example on disk.
    shape: of the logits of an example, [..., K].
  """
  form, classes = make_form(distribution), shape[-1]
  options = ', '.join(f'{k}={v}' for k, v in distribution.items())
  return (
    f'{stored / math.prod(shape[:-1]):.0f} bytes a prediction on disk, '
    f'{form.record(classes).itemsize} as a record ({options}); '
    f'{4 * classes} as logits of {classes} classes in float32'
  )
