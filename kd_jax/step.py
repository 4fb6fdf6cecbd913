"""One pure training step, and its two halves.

step(state, frozen, batch) -> (state, metrics). What changes is in `state`,
what never changes in `frozen`, what is new in `batch`.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kd_jax import stages, terms, types
from kd_jax import state as states
from kd_jax.models import base as models


class Halves(NamedTuple):
  """The parts of a step, each usable alone.

  Attributes:
    prepare: (step, batch) -> batch, augmented and normalized.
    frozen_signals: (frozen, batch) -> signals of the frozen networks; once
      for any number of students, and cacheable.
    update: (state, signals, batch, axis_name=None) -> (state, metrics).
  """

  prepare: Callable
  frozen_signals: Callable
  update: Callable

  def step(self, state, frozen, batch, *, axis_name=None):
    """The whole step: (state, frozen, batch) -> (state, metrics).

    Pure. `parallel` compiles it; the state is donated there, `frozen` and
    `batch` are not. Metrics are f32 []: 'loss', 'loss/TERM' (unweighted
    means), 'accuracy/STUDENT', 'learning_rate', 'grad_norm'.
    """
    batch = self.prepare(state.step, batch)
    signals = self.frozen_signals(frozen, batch)
    return self.update(state, signals, batch, axis_name)


def make_halves(
  networks: Mapping[str, models.Network],
  stage: stages.Stage,
  prepare: Callable = lambda step, batch: batch,
  reads: Mapping[str, Collection[str]] | None = None,
) -> Halves:
  """The pure parts of the stage's step.

  Args:
    networks: {name: Network} of all that the stage names.
    stage: what is trained.
    prepare: (step, batch) -> batch: augmentation and normalization.
    reads: {frozen: the outputs that are wanted} (see `terms.reads`); all.
  """
  stages.check(stage)
  return Halves(
    prepare,
    functools.partial(_frozen_signals, networks, stage, reads),
    functools.partial(_update, networks, stage),
  )


def make_eval_step(network: models.Network, prepare=lambda step, batch: batch):
  """evaluate(variables, batch) -> {'correct', 'nll', 'count'}: f32 [] sums."""

  def evaluate(variables, batch, *, axis_name=None):
    batch = prepare(None, batch)
    outputs, _ = network.apply(variables, batch['inputs'], train=False)
    logits = outputs['logits']
    right, nll = _hits(logits, batch['labels']), _nll(logits, batch['labels'])
    mask = batch['mask']
    sums = {
      'correct': (right * mask).sum(),
      'nll': (nll * mask).sum(),
      'count': mask.sum(),
    }
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)

  return evaluate


def _frozen_signals(networks, stage, reads, frozen, batch):
  """`Halves.frozen_signals`."""
  inputs = batch.get('teacher_inputs', batch['inputs'])
  stored = batch.get('signals', {})
  signals = {
    name: states.with_head(networks[name], frozen[name], stored[name])
    if name in stored
    else states.signal_of(networks[of], frozen[of], seen)
    for name, of, seen in _looks(stage, stage.frozen, inputs, batch)
  }
  if reads is not None:
    signals = {
      name: {key: x for key, x in outputs.items() if key in reads[name]}
      for name, outputs in signals.items()
    }
  return jax.lax.stop_gradient(signals)


def _update(networks, stage, state, signals, batch, axis_name=None):
  """`Halves.update`."""

  def loss(params):
    learners, carried = _students(
      networks, stage, params, state, batch, axis_name
    )
    everything = terms.with_views(
      stage.views,
      {**signals, **learners, **_copied(networks, stage, state, batch)},
      batch,
    )
    total, (memories, means) = terms.total_loss(
      stage.terms,
      _memories(params, state),
      everything,
      batch,
      state.hparams,
      state.step,
      axis_name,
    )
    aux = (
      carried,
      memories,
      means,
      _accuracies(stage, learners, batch, axis_name),
    )
    return total, aux

  (total, aux), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
  carried, memories, means, accuracies = aux
  metrics = {
    'loss': total,
    **{f'loss/{name}': mean for name, mean in means.items()},
    **{f'accuracy/{name}': value for name, value in accuracies.items()},
  }
  if axis_name is not None:
    grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
  return _advance(stage, state, grads, carried, memories, metrics)


def _copied(networks, stage, state, batch) -> dict[str, types.Outputs]:
  """What the EMA and snapshot copies say."""
  return {
    name: states.signal_of(
      networks[stage.copies[of]], state.carried['copies'][of], inputs
    )
    for name, of, inputs in _looks(stage, stage.copies, batch['inputs'], batch)
  }


def _looks(stage, names: Collection[str], inputs, batch) -> list[tuple]:
  """(signal, whose it is, the inputs it is of) of these, the strong ones last.

  'strong_inputs' are only asked for where a term reads them.
  """
  return [(name, name, inputs) for name in names] + [
    (name, of, batch['strong_inputs'])
    for name, of in stage.strong.items()
    if of in names
  ]


def _students(networks, stage, params, state, batch, axis_name):
  """Outputs of the students in training, and their new collections."""
  signals, carried = {}, dict(state.carried['networks'])
  rng = jax.random.fold_in(state.rng, state.step)
  if axis_name is not None:
    rng = jax.random.fold_in(rng, jax.lax.axis_index(axis_name))
  for name, of, inputs in _looks(stage, stage.students, batch['inputs'], batch):
    variables = {'params': params['networks'][of], **carried[of]}
    outputs, carried[of] = networks[of].apply(
      variables,
      inputs,
      train=True,
      rng=states.fold(rng, name),
      axis_name=axis_name,
    )
    signals[name] = states.with_head(networks[of], variables, outputs)
  return signals, carried


def _memories(params, state) -> dict:
  return {
    name: {'params': params['terms'][name], 'state': memory}
    for name, memory in state.carried['terms'].items()
  }


def _hits(logits, labels) -> jax.Array:
  if labels.ndim == logits.ndim:
    labels = labels.argmax(-1)
  return (logits.argmax(-1) == labels).astype(jnp.float32)


def _nll(logits, labels) -> jax.Array:
  if labels.ndim == logits.ndim:
    return optax.softmax_cross_entropy(logits, labels)
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _accuracies(stage, signals, batch, axis_name) -> dict[str, jax.Array]:
  return {
    name: terms.masked_mean(
      _hits(signals[name]['logits'], batch['labels']),
      batch.get('mask'),
      axis_name,
    )
    for name in stage.students
  }


def _advance(stage, state, grads, carried, memories, metrics):
  """The state after the gradient, and the metrics of the step."""
  numbers = dict(state.hparams[states.OPTIMIZER])
  numbers['learning_rate'] *= stage.recipe.schedule(state.step)
  moves = stages.moves(stage, state.params)
  grads = _only(moves, grads)
  updates, opt_state = stage.recipe.tx.update(
    grads, state.opt_state, state.params, hparams=numbers
  )
  params = optax.apply_updates(state.params, _only(moves, updates))
  now = {
    name: {'params': params['networks'][name], **carried[name]}
    for name in stage.students
  }
  carried = {
    'networks': carried,
    'terms': memories,
    'copies': _copies(stage, state, now),
  }
  metrics['learning_rate'] = numbers['learning_rate']
  metrics['grad_norm'] = optax.tree.norm(grads)
  new = state._replace(
    step=state.step + 1, params=params, carried=carried, opt_state=opt_state
  )
  return new, metrics


def _only(moves, tree):
  return jax.tree.map(
    lambda move, x: x if move else jnp.zeros_like(x), moves, tree
  )


def _copies(stage, state, students) -> dict[str, types.Variables]:
  """The EMA and snapshot copies after this step."""
  copies = {}
  for name, ema in stage.ema.items():
    decay = ema.decay(state.step)
    copies[name] = jax.tree.map(
      lambda old, new, d=decay: (d * old + (1 - d) * new).astype(old.dtype),
      state.carried['copies'][name],
      students[ema.source],
    )
  for name, snapshot in stage.snapshot.items():
    due = (state.step + 1) % snapshot.every == 0
    copies[name] = jax.tree.map(
      lambda old, new, d=due: jnp.where(d, new, old),
      state.carried['copies'][name],
      students[snapshot.source],
    )
  return copies
