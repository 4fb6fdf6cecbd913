"""Terms of the loss, and the signals that they read.

A signal is anything that says something about a batch; a term is one summand
of the loss: student, teacher, method, weight. This file alone stops gradients
and takes means.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Var

from kd_jax import types
from kd_jax.methods import base, teacher_head

LABELS = 'labels'
HEAD = teacher_head.HEAD

Schedule = Callable[[jax.Array], jax.Array]  # step -> multiplier


class Term(NamedTuple):
  """One summand of the loss.

  Attributes:
    student: the signal that learns.
    teacher: the signal that it learns from; 'labels' for the labels.
    method: how the two are compared.
    weight: its factor in the loss.
    schedules: 'weight' or the name of a hyperparameter -> multiplier by step.
  """

  student: str
  teacher: str
  method: base.Method
  weight: float = 1.0
  schedules: Mapping[str, Schedule] = {}


class View(NamedTuple):
  """A signal that is a pure function of other signals.

  Attributes:
    sources: the names of the signals that it reads.
    combine: (outputs of the sources, batch) -> outputs.
  """

  sources: tuple[str, ...]
  combine: Callable[..., types.Outputs]


def hparams_of(term: Term) -> dict[str, jax.Array]:
  """The term's numbers as arrays: its weight and the method's knobs.

  Returns:
    {'weight': f32 [], knob: f32 []}.
  """
  numbers = {**term.method.hparams, 'weight': term.weight}
  return {name: jnp.float32(value) for name, value in numbers.items()}


def init_term(term: Term, key, signals) -> types.Variables:
  """What the term learns and remembers; `signals` as shapes."""
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
    batch: the batch that the signals speak of; 'mask' says what counts.
    hparams: {term: {'weight', knob: f32 []}}.
    step: i32 [], for the schedules.
    axis_name: the mapped axis, where a batch lies on several devices.

  Returns:
    The total f32 [] (nats), and ({term: new 'state'}, {term: mean f32 []}).
  """
  total, states, means = jnp.float32(0), {}, {}
  for name, term in terms.items():
    numbers = _scheduled(term, hparams[name], step)
    weight = numbers.pop('weight')
    student = signals[term.student]
    teacher = jax.lax.stop_gradient(signals[term.teacher])
    value, states[name] = _compare(
      term.method, variables[name], student, teacher, batch, numbers, axis_name
    )
    means[name] = value
    total += weight * value
  return total, (states, means)


def reads(
  terms: Mapping[str, Term],
  views: Mapping[str, View],
  variables: Mapping[str, types.Variables],
  signals: Mapping[str, types.Outputs],
  batch: types.Batch,
) -> dict[str, set[str]]:
  """The outputs of every signal that the loss depends on.

  Found by tracing the loss on shapes: what no term reads need not be computed
  where signals and loss are two programs.

  Args:
    terms, views: of the loss.
    variables: {term: {'params', 'state'}}, as shapes.
    signals: {signal: outputs} that no view makes, as shapes.
    batch: its shapes.
  """
  hparams = {name: hparams_of(term) for name, term in terms.items()}

  def loss(signals, variables, batch):
    everything = with_views(views, signals, batch)
    return total_loss(
      terms, variables, everything, batch, hparams, jnp.int32(0)
    )

  jaxpr = jax.make_jaxpr(loss)(dict(signals), variables, batch).jaxpr
  live = {v for v in jaxpr.outvars if isinstance(v, Var)}
  for equation in reversed(jaxpr.eqns):
    if live & set(equation.outvars):
      live |= {v for v in equation.invars if isinstance(v, Var)}
  found = {name: set() for name in signals}
  paths = jax.tree_util.tree_leaves_with_path(dict(signals))
  inputs = jaxpr.invars[: len(paths)]  # the signals come first
  for (path, _), variable in zip(paths, inputs, strict=True):
    if variable in live:
      found[path[0].key].add(path[1].key)
  return found


def _scheduled(term: Term, numbers: Mapping, step) -> dict[str, jax.Array]:
  """The hyperparameters at this step."""
  return {
    name: value * term.schedules[name](step)
    if name in term.schedules
    else value
    for name, value in numbers.items()
  }


def _compare(method, variables, student, teacher, batch, numbers, axis_name):
  """The mean of one method over the whole batch, and its new state."""
  variables = {**base.NOTHING, **variables}
  gathered = method.batchwise and axis_name is not None
  if gathered:
    student, teacher, batch = (
      gather(x, axis_name) for x in (student, teacher, batch)
    )
  values, state = method.loss(variables, student, teacher, batch, numbers)
  mean_over = None if gathered else axis_name
  return masked_mean(values, batch.get('mask'), mean_over), state


def gather(outputs: Mapping, axis_name: str) -> dict:
  """The outputs of the whole batch from every device's shard of it."""

  def all_of(x):
    return jax.lax.all_gather(x, axis_name, tiled=True)

  return {
    name: value if name == HEAD else jax.tree.map(all_of, value)
    for name, value in outputs.items()
  }


def masked_mean(values, mask, axis_name: str | None = None) -> jax.Array:
  """The mean of the values that count.

  Args:
    values: f32 [B, ...].
    mask: f32 [B] or [B, ...], 1 where the value counts; None counts all.
    axis_name: the mapped axis; the shards' means of what is returned then
      average to the mean over the whole batch.

  Returns:
    f32 []; 0 where nothing counts.
  """
  if mask is None:
    mask = jnp.ones(values.shape[:1], jnp.float32)
  mask = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
  mask = jnp.broadcast_to(mask, values.shape)
  count = mask.sum()
  if axis_name is not None:
    count = jax.lax.pmean(count, axis_name)
  kept = jnp.where(mask > 0, values, 0) * mask
  return kept.sum() / jnp.maximum(count, 1e-9)
