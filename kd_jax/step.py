"""Makes the pure training step of a stage, in two halves.

step(state, frozen, batch) -> (state, metrics). `state` holds everything that
changes, `frozen` what never changes, `batch` what is new at every step.

A profile shows the parts of a step by the scopes 'augment' (`runtime`),
'teacher', 'student', 'loss' and 'optimizer'.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kd_jax import optim, stages, tasks, terms, types
from kd_jax import state as states
from kd_jax.methods import chunks
from kd_jax.models import base as models
from kd_jax.models import compute


class Halves(NamedTuple):
  """The parts of a step, each usable alone.

  Attributes:
    prepare: (step, batch) -> batch, augmented and normalized.
    frozen_signals: (frozen, batch) -> signals of the frozen networks. They
      are the same for any number of students and may be cached. Of a stage that
      makes its images: the frozen variables, which `update` applies to them.
    update: (state, signals, batch, axis_name=None) -> (state, metrics).
  """

  prepare: Callable
  frozen_signals: Callable
  update: Callable

  def step(self, state, frozen, batch, *, axis_name=None):
    """The whole step: (state, frozen, batch) -> (state, metrics).

    The step is pure. `parallel` compiles it and donates the state, but not
    `frozen` and `batch`. Metrics are f32 []: 'loss', 'loss/TERM' (unweighted
    means), 'HITS/STUDENT' (`Task.hits`, the part of the predictions that is
    right), 'learning_rate', 'grad_norm'.
    """
    return self.update(state, *self.look(state.step, frozen, batch), axis_name)

  def look(self, step, frozen, batch):
    """What an update of any student sees: (signals, prepared batch)."""
    batch = self.prepare(step, batch)
    signals = self.frozen_signals(frozen, batch)
    return signals, {k: v for k, v in batch.items() if k != 'signals'}


def make_halves(
  networks: Mapping[str, models.Network],
  stage: stages.Stage,
  prepare: Callable = lambda step, batch: batch,
  reads: Mapping[str, Collection[str]] | None = None,
  task: tasks.Task = tasks.CLASSIFICATION,
  precision: str = 'float32',
) -> Halves:
  """Makes the pure parts of a stage's step.

  Args:
    networks: {name: Network} of all networks that the stage names.
    stage: that is trained.
    prepare: (step, batch) -> batch: augmentation and normalization.
    reads: {frozen network: names of its outputs that the signals keep} (see
      `terms.reads`), the others are None there; None keeps all.
    task: of the labels.
    precision: 'highest' takes all products in full f32, those of losses and
      terms too. How a network computes is the network's own.
  """
  stages.check(stage)
  parts = (
    prepare,
    functools.partial(_frozen_signals, networks, stage, reads),
    functools.partial(_update, networks, stage, task),
  )
  if precision == compute.HIGHEST:
    parts = [compute.at_matmuls(part, precision) for part in parts]
  return Halves(*parts)


def make_eval_step(
  network: models.Network,
  prepare=lambda step, batch: batch,
  task: tasks.Task = tasks.CLASSIFICATION,
):
  """Makes (variables, batch) -> the sums of the task over the batch.

  Those of classification are {'correct', 'nll', 'count'}, f32 [].
  """

  def evaluate(variables, batch, *, axis_name=None):
    batch = prepare(None, batch)
    outputs, _ = network.apply(variables, batch['inputs'], train=False)
    sums = tasks.sums(task, outputs['logits'], batch['labels'], batch['mask'])
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)

  return evaluate


@jax.named_scope('teacher')
def _frozen_signals(networks, stage, reads, frozen, batch):
  """`Halves.frozen_signals`."""
  if stage.maker is not None:
    return {name: frozen[name] for name in stage.frozen}
  inputs = batch.get('teacher_inputs', batch['inputs'])
  cached = batch.get('signals', {})
  signals = {
    name: states.with_head(networks[name], frozen[name], cached[name])
    if name in cached
    else states.signal_of(networks[network], frozen[network], seen)
    for name, network, seen in _forwards(stage, stage.frozen, inputs, batch)
  }
  if reads is not None:
    # A rule such as 'layer# last' counts the names, also of what is not kept.
    signals = {
      name: {
        key: x if key in reads[name] else None for key, x in outputs.items()
      }
      for name, outputs in signals.items()
    }
  return jax.lax.stop_gradient(signals)


def _update(networks, stage, task, state, signals, batch, axis_name=None):
  """`Halves.update`."""
  reached = set()

  def loss(params):
    params = _noted(params, reached)
    seen, fixed, made = states.seen(
      networks, stage, params, state, signals, batch, axis_name
    )
    students, carried = _students(
      networks, stage, params, state, seen, axis_name
    )
    all_signals = terms.with_views(
      stage.views,
      {**fixed, **students, **_copied(networks, stage, state, seen)},
      seen,
    )
    with jax.named_scope('loss'):
      summands, (memories, means) = terms.summands(
        stage.terms,
        _memories(params, state),
        all_signals,
        seen,
        state.hparams,
        state.step,
        axis_name,
      )
    aux = (
      {**carried, **made},
      memories,
      means,
      _right(stage, task, students, seen, axis_name),
    )
    return summands, aux

  total, aux, grads = _gradient(stage, loss, state.params)
  carried, memories, means, right = aux
  metrics = {
    'loss': total,
    **{f'loss/{name}': mean for name, mean in means.items()},
    **{f'{task.hits}/{name}': value for name, value in right.items()},
  }
  if axis_name is not None:
    grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
  parts, mask = _parts(stage, state, reached), batch.get('mask')
  count = batch['labels'].shape[0] if mask is None else mask.sum()
  if axis_name is not None:
    count = jax.lax.psum(count, axis_name)
  return _advance(stage, state, grads, carried, memories, metrics, parts, count)


def _gradient(stage, loss, params):
  """The total, what comes beside it, and the gradient by the parameters.

  Args:
    stage: that is trained.
    loss: params -> ({term: its summand of the total}, aux).
    params: by which it is differentiated.

  Returns:
    total f32 [], aux, and a tree like `params`; or `optim.Parts` of two where
    the optimizer takes them and the stage has terms of both kinds.
  """
  hard = {n: term.teacher == terms.LABELS for n, term in stage.terms.items()}
  apart = isinstance(stage.recipe.tx, optim.OnParts)
  if not apart or len(set(hard.values())) == 1:

    def total(params):
      summands, aux = loss(params)
      return terms.total_of(summands), aux

    (value, aux), grads = jax.value_and_grad(total, has_aux=True)(params)
    return value, aux, grads
  summands, pull, aux = jax.vjp(loss, params, has_aux=True)
  grads = [
    pull({name: jnp.float32(of == kind) for name, of in hard.items()})[0]
    for kind in (True, False)
  ]
  return terms.total_of(summands), aux, optim.Parts(*grads)


@jax.named_scope('teacher')
def _copied(networks, stage, state, batch) -> dict[str, types.Outputs]:
  """Signals of the EMA and snapshot copies."""
  forwards = _forwards(stage, stage.copies, batch['inputs'], batch)
  return {
    name: states.signal_of(
      networks[stage.copies[copy]], state.carried['copies'][copy], inputs
    )
    for name, copy, inputs in forwards
  }


def _forwards(stage, names: Collection[str], inputs, batch) -> list[tuple]:
  """[(signal, network, inputs)]: the forward passes of these networks.

  Those on 'strong_inputs' come last, where a term reads them; only then does
  the batch have 'strong_inputs'.
  """
  return [(name, name, inputs) for name in names] + [
    (name, network, batch['strong_inputs'])
    for name, network in stage.strong.items()
    if network in names
  ]


@jax.named_scope('student')
def _students(networks, stage, params, state, batch, axis_name):
  """Outputs of the students in training, and their new collections."""
  signals, carried = {}, dict(state.carried['networks'])
  rng = jax.random.fold_in(state.rng, state.step)
  if axis_name is not None:
    rng = jax.random.fold_in(rng, jax.lax.axis_index(axis_name))
  forwards = _forwards(stage, stage.students, batch['inputs'], batch)
  for name, student, inputs in forwards:
    variables = {'params': params['networks'][student], **carried[student]}
    outputs, carried[student] = networks[student].apply(
      variables,
      inputs,
      train=True,
      rng=states.fold(rng, name),
      axis_name=axis_name,
    )
    signals[name] = states.with_head(networks[student], variables, outputs)
  return signals, carried


def _memories(params, state) -> dict:
  return {
    name: {'params': params['terms'][name], 'state': memory}
    for name, memory in state.carried['terms'].items()
  }


def _right(stage, task, signals, batch, axis_name) -> dict[str, jax.Array]:
  """The part of each student's predictions that is right; 0 without labels."""
  return {
    name: terms.masked_mean(
      _hits(stage, task, name, signals[name], batch['labels']),
      terms.of_labelled(batch.get('mask'), batch),
      axis_name,
    )
    for name in stage.students
  }


def _hits(stage, task, name, outputs, labels) -> jax.Array:
  """`Task.right` of a student: in chunks where a term of it is, see `chunks`.

  Its logits are then of no use to anything else, and are not computed.
  """
  by_term = {
    term.method.chunk for term in stage.terms.values() if term.student == name
  } - {None}
  if not by_term:
    return task.right(outputs['logits'], labels)
  size, hidden = min(by_term)
  places = outputs[hidden].shape[:-1]
  if labels.shape[: len(places)] != places:  # maps of another size
    return task.right(outputs['logits'], labels)
  return chunks.values(
    lambda z, rest: task.right(z['student'], rest['labels']),
    size,
    hidden,
    {'labels': labels},
    student=jax.lax.stop_gradient(outputs),
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _noting(note, x):
  """`x`; calls `note` when a gradient of it is traced."""
  del note
  return x


def _note(note, _, gradient):
  note()
  return (gradient,)


_noting.defvjp(lambda note, x: (x, None), _note)


def _noted(params, reached: set):
  """The parameters; `reached` gets the paths of those that have a gradient.

  A gradient of zeros does not tell a parameter without a part in the loss from
  one that is at its minimum; whether the gradient is traced at all does.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, x: _noting(functools.partial(reached.add, path), x), params
  )


def _parts(stage, state, reached):
  """Bools like the parameters: which ones the loss trains at this step.

  A parameter without a part in the loss must not decay either: after an epoch
  or thirty there would be nothing left of it.
  """
  parts = jax.tree_util.tree_map_with_path(
    lambda path, moves: moves and path in reached,
    stages.moves(stage, state.params),
  )
  of_terms = dict(parts['terms'])
  for name, term in stage.terms.items():
    if term.method.trains is not None:
      now = term.method.trains(state.carried['terms'][name])
      of_terms[name] = jax.tree.map(
        lambda a, b: a & b,
        of_terms[name],
        jax.tree.broadcast(now, of_terms[name]),
      )
  return {**parts, 'terms': of_terms}


@jax.named_scope('optimizer')
def _advance(stage, state, grads, carried, memories, metrics, parts, count):
  """The state after the update, and the metrics of the step."""
  hparams = dict(state.hparams[states.OPTIMIZER])
  hparams['learning_rate'] *= stage.recipe.schedule(state.step)
  if isinstance(grads, optim.Parts):
    grads = optim.Parts(*(_only(parts, kind) for kind in grads))
    whole = jax.tree.map(jnp.add, *grads)
  else:
    whole = grads = _only(parts, grads)
  updates, opt_state = stage.recipe.tx.update(
    grads,
    state.opt_state,
    _only(parts, state.params),
    hparams=hparams,
    count=count,
  )
  params = optax.apply_updates(state.params, _only(parts, updates))
  students = {
    name: {'params': params['networks'][name], **carried[name]}
    for name in stage.students
  }
  carried = {
    'networks': carried,
    'terms': memories,
    'copies': _copies(stage, state, students),
  }
  metrics['learning_rate'] = hparams['learning_rate']
  metrics['grad_norm'] = optax.tree.norm(whole)
  new = state._replace(
    step=state.step + 1, params=params, carried=carried, opt_state=opt_state
  )
  return new, metrics


def _only(parts, tree):
  """The tree, with zeros where a parameter is not trained."""

  def keep(part, x):
    if isinstance(part, bool):
      return x if part else jnp.zeros_like(x)
    return jnp.where(part, x, 0)

  return jax.tree.map(keep, parts, tree)


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
