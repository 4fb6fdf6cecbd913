"""Computes the loss: a weighted sum of terms, each of which reads two signals.

A signal is anything that says something about a batch. A term is a summand of
the loss: student, teacher, method, weight. Only this file stops gradients and
takes means.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Var

from kd_jax import types
from kd_jax.losses import spatial, tokens
from kd_jax.methods import base, teacher_head

LABELS = 'labels'
HEAD = teacher_head.HEAD
# How the values of predictions become one number. A sequence is an example, or
# a segment where several are packed into one row.
REDUCTIONS = ('token_mean', 'sequence_mean', 'sequence_sum')

Schedule = Callable[[jax.Array], jax.Array]  # step -> multiplier


class Term(NamedTuple):
  """A summand of the loss.

  Attributes:
    student: the signal that learns.
    teacher: the signal that the student learns from, or 'labels'.
    method: how the two are compared.
    weight: the factor in the loss.
    schedules: {'weight' or name of a hyperparameter: step -> multiplier}.
    void: whether predictions count whose label does not; of tokens, the real
      ones.
    reduction: one of REDUCTIONS: the mean over all predictions that count; the
      means within each sequence, over those that have any; or the sums within
      each, over all sequences.
    labelled: whether it counts the examples that have a label alone (see
      `need_labels`), in a batch that says which do.
  """

  student: str
  teacher: str
  method: base.Method
  weight: float = 1.0
  schedules: Mapping[str, Schedule] = {}
  void: bool = False
  reduction: str = 'token_mean'
  labelled: bool = False


class View(NamedTuple):
  """A signal that is a pure function of other signals.

  Attributes:
    sources: names of the signals that it reads.
    combine: (outputs of the sources, batch) -> outputs.
  """

  sources: tuple[str, ...]
  combine: Callable[..., types.Outputs]


def hparams_of(term: Term) -> dict[str, jax.Array]:
  """The weight of the term and the hyperparameters of its method, as arrays.

  Returns:
    {'weight': f32 [], name: f32 []}.
  """
  hparams = {**term.method.hparams, 'weight': term.weight}
  return {name: jnp.float32(value) for name, value in hparams.items()}


def init_term(term: Term, key, signals) -> types.Variables:
  """Initial parameters and memory of the term; `signals` are shapes."""
  student, teacher = signals[term.student], signals[term.teacher]
  return term.method.init(key, student, teacher)


def with_views(
  views: Mapping[str, View], signals: Mapping, batch: types.Batch
) -> dict[str, types.Outputs]:
  """`signals` and every view of them, in the order given."""
  signals = {LABELS: {}, **signals}
  for name, view in views.items():
    outputs = [signals[source] for source in view.sources]
    signals[name] = view.combine(outputs, batch)
  return signals


def total_loss(
  terms: Mapping[str, Term],
  variables: Mapping[str, types.Variables],
  signals: Mapping[str, types.Outputs],
  batch: types.Batch,
  hparams: Mapping[str, Mapping[str, jax.Array]],
  step: jax.Array,
  axis_name: str | None = None,
) -> tuple[jax.Array, tuple[dict, dict]]:
  """The weighted sum of the terms' masked means.

  total = sum_i weight_i * mean over predictions of method_i(student, teacher);
  no gradient reaches a teacher.

  Args:
    terms: the summands by name.
    variables: {term: {'params', 'state'}}.
    signals: {signal: outputs}.
    batch: of the signals; its 'mask' says which predictions count.
    hparams: {term: {'weight', name: f32 []}}.
    step: i32 [], for the schedules.
    axis_name: the mapped axis, where a batch is split over devices.

  Returns:
    The total f32 [] (nats), and ({term: new 'state'}, {term: mean f32 []}).
  """
  weighted, rest = summands(
    terms, variables, signals, batch, hparams, step, axis_name
  )
  return total_of(weighted), rest


def total_of(weighted: Mapping[str, jax.Array]) -> jax.Array:
  """The sum of the terms' weighted means, in their order: f32 []."""
  total = jnp.float32(0)
  for summand in weighted.values():
    total += summand
  return total


def summands(
  terms: Mapping[str, Term],
  variables: Mapping[str, types.Variables],
  signals: Mapping[str, types.Outputs],
  batch: types.Batch,
  hparams: Mapping[str, Mapping[str, jax.Array]],
  step: jax.Array,
  axis_name: str | None = None,
) -> tuple[dict[str, jax.Array], tuple[dict, dict]]:
  """As `total_loss`, with {term: weight times mean f32 []} for the total."""
  weighted, states, means = {}, {}, {}
  for name, term in terms.items():
    scheduled = _scheduled(term, hparams[name], step)
    weight = scheduled.pop('weight')
    student = signals[term.student]
    teacher = jax.lax.stop_gradient(signals[term.teacher])
    value, states[name] = _compare(
      term, variables[name], student, teacher, batch, scheduled, axis_name
    )
    means[name] = value
    weighted[name] = weight * value
  return weighted, (states, means)


def reads(
  terms: Mapping[str, Term],
  views: Mapping[str, View],
  variables: Mapping[str, types.Variables],
  signals: Mapping[str, types.Outputs],
  batch: types.Batch,
) -> dict[str, set[str]]:
  """{signal: names of its outputs that the loss depends on}.

  Traces the loss on shapes. An output that no term reads need not be computed
  where signals and loss are two programs.

  Args:
    terms, views: of the loss.
    variables: {term: {'params', 'state'}}, as shapes.
    signals: {signal: outputs}, as shapes, without those of views.
    batch: its shapes.
  """
  hparams = {name: hparams_of(term) for name, term in terms.items()}

  def loss(signals, variables, batch):
    all_signals = with_views(views, signals, batch)
    return total_loss(
      terms, variables, all_signals, batch, hparams, jnp.int32(0)
    )

  jaxpr = jax.make_jaxpr(loss)(dict(signals), variables, batch).jaxpr
  live = _behind(jaxpr, jaxpr.outvars)
  names = {name: set() for name in signals}
  paths = jax.tree_util.tree_leaves_with_path(dict(signals))
  inputs = jaxpr.invars[: len(paths)]  # the signals come first
  for (path, _), variable in zip(paths, inputs, strict=True):
    if variable in live:
      names[path[0].key].add(path[1].key)
  return names


def _behind(jaxpr, outvars) -> set[Var]:
  """The variables of a program that these outputs of it depend on."""
  live = {v for v in outvars if isinstance(v, Var)}
  for equation in reversed(jaxpr.eqns):
    if live & set(equation.outvars):
      live |= {v for v in equation.invars if isinstance(v, Var)}
  return live


def need_labels(
  terms: Mapping[str, Term],
  views: Mapping[str, View],
  variables: Mapping[str, types.Variables],
  signals: Mapping[str, types.Outputs],
  batch: types.Batch,
) -> set[str]:
  """The terms whose values depend on the labels, by themselves or by a view.

  Traces them on shapes.

  Args:
    terms, views, variables, signals, batch: as in `reads`.
  """

  def values(labels, signals, variables, batch):
    batch = {**batch, 'labels': labels}
    all_signals = with_views(views, signals, batch)
    return {
      name: _values(
        term,
        variables[name],
        all_signals[term.student],
        all_signals[term.teacher],
        batch,
        term.method.hparams,
      )[0]
      for name, term in sorted(terms.items())
    }

  rest = {k: v for k, v in batch.items() if k != 'labels'}
  args = batch['labels'], dict(signals), variables, rest
  jaxpr = jax.make_jaxpr(values)(*args).jaxpr
  labels = jaxpr.invars[0]  # they come first
  outputs = zip(sorted(terms), jaxpr.outvars, strict=True)
  return {name for name, out in outputs if labels in _behind(jaxpr, [out])}


def _scheduled(term: Term, hparams: Mapping, step) -> dict[str, jax.Array]:
  """The hyperparameters at this step."""
  return {
    name: value * term.schedules[name](step)
    if name in term.schedules
    else value
    for name, value in hparams.items()
  }


def _compare(term, variables, student, teacher, batch, hparams, axis_name):
  """The mean of a term's loss over the whole batch, and its new state."""
  gathered = term.method.batchwise and axis_name is not None
  if gathered:
    student, teacher, batch = (
      gather(x, axis_name) for x in (student, teacher, batch)
    )
  values, state = _values(term, variables, student, teacher, batch, hparams)
  mean_over = None if gathered else axis_name
  mask, packed = _mask(term, batch), tokens.segments(batch)
  value = masked_mean(
    values, mask, mean_over, term.reduction, packed, _present(batch)
  )
  return value, state


def _values(term, variables, student, teacher, batch, hparams):
  """The values of a term's predictions, and its new state."""
  variables = {**base.NOTHING, **variables}
  return term.method.loss(variables, student, teacher, batch, hparams)


def _mask(term, batch):
  """Which predictions count in a term: f32 [B, ...], or None for all."""
  mask = batch.get('mask')
  if (term.void or term.method.tokens) and tokens.real(batch) is not None:
    mask = _present(batch)
  elif term.void and mask is not None:
    mask = _reduced(mask, 1)
  return of_labelled(mask, batch) if term.labelled else mask


def of_labelled(mask, batch: types.Batch):
  """A mask f32 [B, ...] or None, where examples without a label are out."""
  labelled = batch.get('labelled')
  if labelled is None or mask is None:
    return mask if labelled is None else labelled
  return mask * labelled.reshape(-1, *[1] * (mask.ndim - 1))


def gather(outputs: Mapping, axis_name: str) -> dict:
  """The outputs of the whole batch from every device's shard of it."""

  def all_of(x):
    return jax.lax.all_gather(x, axis_name, tiled=True)

  return {
    name: value if name == HEAD else jax.tree.map(all_of, value)
    for name, value in outputs.items()
  }


def _present(batch):
  """Which examples are there, of text which tokens; None for all."""
  mask, real = batch.get('mask'), tokens.real(batch)
  if mask is None or mask.ndim > 1:
    return real
  return mask if real is None else real * mask[:, None]


def masked_mean(
  values,
  mask,
  axis_name: str | None = None,
  reduction: str = 'token_mean',
  packed: jax.Array | None = None,
  present: jax.Array | None = None,
) -> jax.Array:
  """The mean of the values that count.

  Args:
    values: f32 [B, ...].
    mask: f32 [B, ...], 1 where a prediction counts; None counts all. Values of
      lower rank count where any of their predictions does. A mask [B, H, W]
      of another size than the values is taken at the nearest pixel.
    axis_name: the mapped axis. The average of the shards' results is then
      the mean over the whole batch.
    reduction: one of REDUCTIONS.
    packed: the segment of each token i32 [B, L], where rows hold several
      sequences.
    present: f32 [B] or [B, L], 1 at examples or tokens that are there, with a
      label or not: of which sequences the sums are averaged. None: all.

  Returns:
    f32 []; 0 where nothing counts.
  """
  if mask is None:
    mask = jnp.ones(values.shape[:1], jnp.float32)
  mask = _reduced(mask, values.ndim)
  if mask.ndim == 3:
    mask = spatial.upsample(mask, values.shape[1:3])
  mask = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
  mask = jnp.broadcast_to(mask, values.shape)
  weights, counted = mask, mask
  if reduction == 'sequence_mean':
    weights = counted = tokens.by_sequence(mask, packed)
  elif reduction == 'sequence_sum':
    present = jnp.ones(len(mask), jnp.float32) if present is None else present
    counted = tokens.by_sequence(present, packed)
  count = counted.sum()
  if axis_name is not None:
    count = jax.lax.pmean(count, axis_name)
  masked = jnp.where(mask > 0, values, 0) * weights
  return masked.sum() / jnp.maximum(count, 1e-9)


def _reduced(mask, rank: int) -> jax.Array:
  """A mask of this rank or less: 1 where any of its predictions counts."""
  axes = tuple(range(rank, mask.ndim))
  return mask.max(axes) if axes else mask
