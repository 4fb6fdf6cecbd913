"""Makers of methods that compare logits, with a teacher's or with labels."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from kd_jax.losses import logits as logit_losses
from kd_jax.losses import numerics, spatial, tokens
from kd_jax.methods import base, chunks, known


class _Pair(NamedTuple):
  """How a method comes by the two logits that it compares.

  Attributes:
    name: of the method.
    compare: (student, teacher [B, ..., K], labels, hparams, **masks) ->
      [B, ...].
    labelled, counting: whether it takes labels, and the mask of a batch.
    chunk, hidden: of the outputs of which it makes logits (see `chunks`); None:
      it reads them whole.
    others: what becomes of the classes that a cache does not hold.
  """

  name: str
  compare: Callable[..., jax.Array]
  labelled: bool
  counting: bool
  chunk: int | None
  hidden: str
  others: str


def check_logits(
  name: str, student: Mapping, teacher: Mapping, places: bool = True
) -> None:
  """Refuses a teacher without logits, or with those of other classes.

  Args:
    name: of the method.
    student, teacher: outputs or their shapes.
    places: whether maps of logits must be of one size.
  """
  known.check(name, teacher, known.NONE, {}, {})
  if chunks.FINAL in teacher and 'logits' not in teacher:
    raise ValueError(
      f"method '{name}' needs chunk= (such as 256): the cache of its teacher "
      'holds hidden states, of which it makes the logits of some tokens at a '
      'time'
    )
  if 'logits' not in teacher:
    raise ValueError(f"method '{name}' needs a teacher that has logits")
  ours, theirs = student['logits'].shape, teacher['logits'].shape
  alike = len(ours) == len(theirs) and ours[-1] == theirs[-1]
  if not alike or (places and ours != theirs):
    remedy = "; 'pixel_kd' resizes maps" if alike and len(ours) == 4 else ''
    raise ValueError(
      f"method '{name}': the student's logits are {ours}, the teacher's "
      f'{theirs}{remedy}'
    )


def check_counts(name: str, counts: Mapping[str, int], classes: int) -> None:
  """Refuses options that count more classes than there are."""
  for option, count in counts.items():
    if count > classes:
      raise ValueError(
        f"method '{name}': {option}={count} of {classes} classes; legal: 1 to "
        f'{classes}'
      )


def on_logits(
  function: Callable,
  batchwise: bool = False,
  counted: Sequence[str] = (),
  binned: tuple[str, ...] = known.NONE,
  **legal,
) -> Callable:
  """Makes the maker of a method that compares two logits.

  Args:
    function: (student [B, ..., K], teacher [B, ..., K], [labels], *, floats
      and static options) -> [B, ...], from `kd_jax.losses`.
    batchwise: whether it couples the examples of a batch.
    counted: options that count classes: at most K of them, where given.
    binned: what it reads of a teacher that has some classes in place of logits,
      as a cache of tokens holds: `known.TAIL`, with the others as one class,
      or in every way (`known.FORWARD`), which only a divergence from the
      teacher may: one that reads the student's probabilities falls as the
      student moves its mass out of the classes.
    **legal: {option: kind} where `LEGAL` does not say it.

  Returns:
    A maker (**static options) -> Method. `standardize=True` z-scores both
    logits first (logit standardization, Sun et al. 2024). `chunk=n` computes
    the logits of n predictions at a time out of the outputs `hidden` ('final')
    and the heads: for vocabularies so large that no array of all logits should
    be alive. What couples the examples has neither. `others` says what becomes
    of the classes that a cache does not hold: one of `binned`.
  """
  hparams = base.hparams_of(function)
  labelled = base.wants_labels(function)
  name = function.__name__
  counting = 'counts' in inspect.signature(function).parameters

  def make(**options) -> base.Method:
    numbers, options = base.divide(options, hparams)
    standardize = options.pop('standardize', False)
    chunk = options.pop('chunk', None)
    hidden = options.pop('hidden', None) or chunks.FINAL
    others = options.pop('others', None)
    numerics.need_variant(others or known.TAIL[0], binned or known.TAIL)

    def compare(student, teacher, labels, hparams, **masks):
      if standardize:
        student = logit_losses.standardize(student)
        teacher = logit_losses.standardize(teacher)
      extra = (labels,) if labelled else ()
      return function(student, teacher, *extra, **options, **hparams, **masks)

    pair = _Pair(
      name, compare, labelled, counting, chunk, hidden, others or known.TAIL[0]
    )

    def init(key, student, teacher):
      del key
      known.check(name, teacher, binned, numbers, options)
      if others and not known.names(teacher):
        raise ValueError(
          f"method '{name}' with others= needs a teacher of which a cache "
          "holds the largest classes: cache.distribution=dict(name='top_k')"
        )
      counts = {k: v for k, v in options.items() if k in counted}
      _check_pair(pair, student, teacher, numbers, counts)
      return base.NOTHING

    def loss(variables, student, teacher, batch, hparams):
      value = _values(pair, student, teacher, batch, hparams)
      return value, variables['state']

    return base.Method(
      init, loss, numbers, batchwise, chunk=chunk and (chunk, hidden)
    )

  chunked = {} if batchwise else chunks.OPTIONS
  ways = known.OPTIONS if binned == known.FORWARD else {}
  legal = {**legal, 'standardize': bool, **chunked, **ways}
  return base.documented(make, function, legal)


def _check_pair(pair: _Pair, student, teacher, numbers, counts) -> None:
  """Refuses outputs that a pair cannot be made of; see `on_logits`."""
  held = known.names(teacher)
  if pair.chunk:
    sides = {'student': student} | ({} if held else {'teacher': teacher})
    chunks.check(pair.name, pair.hidden, **sides)
  if held:
    batch = {'labels': None}
    base.check(
      pair.name, lambda *x: _values(pair, *x, batch, numbers), student, teacher
    )
    return
  if pair.chunk:
    teacher = chunks.with_logits(teacher, pair.hidden)
  check_logits(pair.name, student, teacher)
  shape = student['logits'].shape
  check_counts(pair.name, counts, shape[-1])
  labels = jax.ShapeDtypeStruct(shape[:-1], 'int32')
  base.check(
    pair.name,
    pair.compare,
    student['logits'],
    teacher['logits'],
    labels,
    numbers,
  )


def _values(pair: _Pair, student, teacher, batch, hparams) -> jax.Array:
  """The values of predictions f32 [B, ...], by what there is of a teacher."""
  labels = batch['labels'] if pair.labelled else None
  if known.names(teacher):
    return known.values(
      lambda *sides: pair.compare(*sides, labels, hparams),
      student,
      teacher,
      pair.others,
      pair.chunk,
      pair.hidden,
    )
  if pair.chunk:
    return chunks.values(
      lambda z, rest: pair.compare(
        z['student'], z['teacher'], rest.get('labels'), hparams
      ),
      pair.chunk,
      pair.hidden,
      {'labels': labels} if pair.labelled else {},
      student=student,
      teacher=teacher,
    )
  logits = [student['logits'], teacher['logits']]
  if pair.labelled:
    logits = [spatial.at_labels(z, labels) for z in logits]
  masks = {}
  if pair.counting and tokens.real(batch) is not None:
    masks = {'counts': batch.get('mask')}
  # Of tokens there may be so many logits that keeping what a divergence
  # makes of them costs more memory than computing it again takes time.
  by_token = student['logits'].ndim == 3
  computed = jax.checkpoint(pair.compare) if by_token else pair.compare
  return computed(*logits, labels, hparams, **masks)


def on_labels(function: Callable) -> Callable:
  """Makes the maker of a method that compares logits with the labels alone.

  Args:
    function: (student [B, ..., K], labels, *, floats) -> [B, ...].

  Returns:
    A maker as of `on_logits`, with its options `chunk` and `hidden`.
  """
  hparams = base.hparams_of(function)
  name = function.__name__

  def make(**options) -> base.Method:
    numbers, options = base.divide(options, hparams)
    chunk = options.pop('chunk', None)
    hidden = options.pop('hidden', None) or chunks.FINAL

    def init(key, student, teacher):
      del key, teacher
      if chunk:
        chunks.check(name, hidden, student=student)
      return base.NOTHING

    def loss(variables, student, teacher, batch, hparams):
      del teacher
      labels = batch['labels']
      if chunk:
        value = chunks.values(
          lambda z, rest: function(
            z['student'], rest['labels'], **options, **hparams
          ),
          chunk,
          hidden,
          {'labels': labels},
          student=student,
        )
        return value, variables['state']
      logits = spatial.at_labels(student['logits'], labels)
      value = function(logits, labels, **options, **hparams)
      return value, variables['state']

    return base.Method(init, loss, numbers, chunk=chunk and (chunk, hidden))

  return base.documented(make, function, chunks.OPTIONS)
