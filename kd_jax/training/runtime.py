"""Compiled functions and data feed for training one stage."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import build, device, parallel, stages, tasks, terms, types
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.data import buckets, pipeline, sources, stream
from kd_jax.training import cached_teachers, chunks, packed

EVAL_BATCH = 256
EVAL_LOGITS = 1 << 24  # of a batch that is evaluated: 64 MB


class Runtime(NamedTuple):
  """The compiled functions and the feed of one stage.

  Lanes share them where they differ in seeds and hyperparameters alone.

  Attributes:
    init: (stage, starts) -> state of a lane.
    signals: (step, frozen, batch) -> (signals of the frozen networks, prepared
      batch); compiled.
    update: (state, signals, batch) -> (state, `packed.Row`); compiled, donates.
    halves: the two above as pure functions.
    feed: step -> batch on the devices; a `stream.Feed`.
    make_chunks: (state, frozen, most) -> `chunks.Chunks`; None where the data
      do not lie on the devices, batches differ in length, images are made, or
      several processes train.
    validate: see `make_validate`.
    flops: (state, frozen, lanes) -> FLOP of a step of so many lanes, from their
      shapes; None where XLA does not count them.
    replicate: pytree -> a copy of it on every device.
    per_epoch, eval_every, save_every: in steps.
    task: of the labels.
  """

  init: Callable
  signals: Callable
  update: Callable
  halves: steps.Halves
  feed: Callable
  make_chunks: Callable
  validate: Callable
  flops: Callable
  replicate: Callable
  per_epoch: int
  eval_every: int
  save_every: int
  task: tasks.Task


def make_runtime(
  experiment: build.Experiment,
  stage: stages.Stage,
  teachers: cached_teachers.CachedTeachers | None = None,
) -> Runtime:
  """Makes the functions that the loop over the steps of a stage calls.

  They compile at their first call.

  Args:
    experiment: networks, data, placement.
    stage: that is trained.
    teachers: the cached ones; None where teachers are live.
  """
  placement, recipe = experiment.placement, stage.recipe
  networks, prepare = experiment.networks, make_prepare(experiment, recipe)
  batch = build.example_batch(experiment, stage)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), batch)
  shapes = states.signal_shapes(networks, stage, batch)
  first = states.begin(networks, stage)

  def init(stage, starts):
    return states.init_state(networks, stage, zeros, starts, shapes, first)

  halves = steps.make_halves(
    networks,
    stage,
    prepare,
    reads_of(stage, shapes, batch),
    experiment.task,
    experiment.options['precision'],
  )
  per_epoch = experiment.data.train.labels.shape[0] // recipe.batch_size
  lengths = _lengths(experiment.data)
  split, on_device = _place(experiment.data.train, placement, teachers)
  signals, update = compile_halves(
    placement, halves, split if on_device else None
  )

  def make_chunks(state, frozen, most):
    # Several processes would have to agree on where a chunk ends. What makes
    # images needs the frozen variables in its update, not N copies of them.
    # The batches of a chunk have one length.
    if not on_device or jax.process_count() > 1 or stage.maker is not None:
      return None
    if lengths is not None:
      return None
    index = _make_index(recipe, split.labels.shape[0])
    read = None if teachers is None else teachers.read
    return chunks.make_chunks(
      placement, halves, split, index, read, state, frozen, most
    )

  def count_flops(state, frozen, lanes):
    inputs = jax.tree.map(
      lambda x, raw: jax.ShapeDtypeStruct(x.shape, raw.dtype),
      batch['inputs'],
      experiment.data.train.inputs,
    )
    args = jnp.int32(0), {**batch, 'inputs': inputs}
    prepared = jax.eval_shape(halves.prepare, *args)
    signals = jax.eval_shape(halves.frozen_signals, frozen, prepared)
    shared = device.flops(jax.jit(halves.frozen_signals), frozen, prepared)
    each = device.flops(jax.jit(halves.update), state, signals, prepared)
    return None if None in (shared, each) else shared + lanes * each

  return Runtime(
    init,
    signals,
    update,
    halves,
    make_feed(split, recipe, placement, teachers, lengths),
    make_chunks,
    make_validate(experiment, stage),
    count_flops,
    placement.replicate,
    per_epoch,
    experiment.options['eval_every'] or per_epoch,
    experiment.options['checkpoint_every'] or per_epoch,
    experiment.task,
  )


def reads_of(stage, shapes, batch) -> dict[str, set[str]]:
  """{frozen network: those of its outputs that the loss depends on}."""
  if not stage.frozen or stage.maker is not None:
    return {}
  return terms.reads(
    stage.terms, stage.views, *states.term_shapes(stage, shapes), batch
  )


def compile_halves(
  placement: parallel.Placement,
  halves: steps.Halves,
  data: sources.Split | None = None,
) -> tuple[Callable, Callable]:
  """Compiles `Runtime.signals` and `Runtime.update`.

  On one device they are two programs: the updates of any number of lanes share
  the signals. On several devices the whole step is one program, and `signals`
  passes its arguments on.

  Args:
    placement: the devices.
    halves: of the step.
    data: training examples that lie on each of several devices; a batch is
      then {'index', and 'signals' of cached teachers}, and is gathered there.
  """
  if placement.name != 'one':

    def step(state, fixed, batch, *, axis_name=None):
      frozen, data = fixed
      if data is not None:
        batch = {**pipeline.take(data, batch['index']), **batch}
      return halves.step(state, frozen, batch, axis_name=axis_name)

    whole = placement.compile(packed.in_row(step), 2, (0,))
    return lambda step, frozen, batch: ((frozen, data), batch), whole

  return (
    placement.compile(halves.look, 2),
    placement.compile(packed.in_row(halves.update), 2, (0,)),
  )


def make_prepare(experiment, recipe: stages.Recipe) -> Callable:
  """Makes (step, batch) -> batch: augmentation, then normalization."""
  size = experiment.data.train.labels.shape[0]

  def prepare(step, batch):
    batch = experiment.placement.share(batch)
    if recipe.augment is not None:
      draw = pipeline.draw(step, size // recipe.batch_size, recipe.views)
      key = jax.random.fold_in(jax.random.key(recipe.data_seed), draw)
      with jax.named_scope('augment'):
        batch = recipe.augment(key, batch)
    return _normalized(experiment.prepare, batch)

  return prepare


def _normalized(normalize, batch) -> types.Batch:
  """The batch with all of its images normalized."""
  images = {k: normalize(x) for k, x in batch.items() if k.endswith('inputs')}
  return {**batch, **images}


def make_feed(
  split: sources.Split,
  recipe: stages.Recipe,
  placement: parallel.Placement,
  teachers: cached_teachers.CachedTeachers | None = None,
  lengths: np.ndarray | None = None,
) -> stream.Feed:
  """Makes step -> batch, a pure function of (seed, step).

  A data set that fits lies on every device and is indexed there: on one device
  the batch is gathered here, on several by the step (see `compile_halves`).
  Batches of another are put on the devices in advance; a data set or cache
  that does not fit the memory is read ahead from disk.

  With `lengths`, the buckets i [N] of texts, a batch is of one bucket; on one
  device, with live teachers, it is cut to that bucket's length.
  """
  streamed = _streamed(split, teachers)
  split, on_device = _place(split, placement, teachers)
  single = placement.name == 'one'
  index_of = _make_index(recipe, split.labels.shape[0], lengths)

  def examples(step):
    index = index_of(step)
    index = pipeline.shard(index, jax.process_index(), jax.process_count())
    batch = (
      {'index': index.astype(np.int32)}
      if on_device and not single
      else pipeline.take(split, index)
    )
    if teachers is not None:
      return {**batch, 'signals': teachers.read(step, index)}
    if lengths is not None and single:
      return buckets.cut(batch, int(lengths[index].max()))
    return batch

  if on_device and single:
    return stream.Feed(examples)
  if on_device:
    return stream.Feed(lambda step: placement.split(examples(step)))
  feed = stream.Feed(examples)
  if streamed:
    feed = stream.ahead(feed, recipe.steps)
  return stream.ahead_on_device(feed, placement.split, recipe.steps)


def _make_index(recipe, size: int, lengths=None) -> Callable:
  """Makes step -> the examples of its batch, i [B]."""
  if lengths is not None:
    return buckets.make_indices(recipe.data_seed, lengths, recipe.batch_size)
  return lambda step: pipeline.indices(
    recipe.data_seed, step, size, recipe.batch_size
  )


def _lengths(data: sources.Data) -> np.ndarray | None:
  """The bucket of each training text, i64 [N]; None without buckets."""
  if not data.buckets:
    return None
  mask = np.asarray(data.train.inputs['attention_mask'])
  return buckets.lengths(mask, data.buckets)


def _streamed(split, teachers) -> bool:
  """Whether examples or cached teachers are read from disk at each step."""
  in_memory = teachers is None or teachers.in_memory
  return isinstance(split, stream.Stream) or not in_memory


def _place(split, placement, teachers) -> tuple[sources.Split, bool]:
  """(the split, on every device where it fits, and whether it does)."""
  if isinstance(split.labels, jax.Array):
    return split, True
  if _streamed(split, teachers) or not parallel.fits(tuple(split), placement):
    return split, False
  single = placement.name == 'one' and not placement.devices
  return pipeline.to_device(split) if single else placement.put(split), True


def make_validate(experiment, stage) -> Callable:
  """Makes ([state], over=None) -> the students' scores on validation of each.

  With the `over` of a strategy the states are one program, else evaluated one
  after the other.
  """
  data = experiment.data.validation
  score = {name: make_scores(experiment, name, data) for name in stage.students}

  def validate(lanes, over=None):
    rows = [{} for _ in lanes]
    for name in stage.students if data.labels.shape[0] else ():
      networks = [states.variables_of(x, name, stage) for x in lanes]
      for row, values in zip(rows, score[name](networks, over), strict=True):
        row |= {f'validation_{k}/{name}': v for k, v in values.items()}
    return rows

  return validate


@functools.lru_cache(64)  # JAX caches compilation by a function's identity
def _evaluation(network, normalize, task) -> Callable:
  """The evaluation step of a network, with normalization."""
  return steps.make_eval_step(
    network, lambda _, batch: _normalized(normalize, batch), task
  )


def make_score(
  experiment, name: str, split: sources.Split
) -> Callable[[types.Variables], dict[str, float]]:
  """Makes variables -> the task's scores of a network over a split."""
  scores = make_scores(experiment, name, split)
  return lambda variables: scores([variables])[0]


def make_scores(experiment, name: str, split: sources.Split) -> Callable:
  """Makes ([variables], over=None) -> the task's scores over a split, of each.

  See `make_validate` for `over`.
  """
  placement, task = experiment.placement, experiment.task
  function = _evaluation(experiment.networks[name], experiment.prepare, task)
  evaluate = placement.compile(function, 1)
  size = math.ceil(eval_batch(experiment.data) / placement.count)
  size *= placement.count

  def sums_by(evaluate):
    parts = pipeline.evaluate(
      split,
      size,
      evaluate,
      placement.split,
      process=jax.process_index(),
      count=jax.process_count(),
    )
    return functools.reduce(tasks.add, parts, {})

  def scores(networks, over=None):
    if over is None:
      each = [
        sums_by(functools.partial(evaluate, placement.replicate(variables)))
        for variables in networks
      ]
    else:
      together = sums_by(over(function, networks))
      each = [
        {name: values[i] for name, values in together.items()}
        for i in range(len(networks))
      ]
    return [task.scores(sums) for sums in each]

  return scores


def eval_batch(data: sources.Data) -> int:
  """Examples that are evaluated at once: EVAL_BATCH, or those that fit."""
  labels = data.train.labels
  places = 1 if tasks.is_soft(labels) else math.prod(labels.shape[1:])
  return max(1, min(EVAL_BATCH, EVAL_LOGITS // (places * data.classes)))
