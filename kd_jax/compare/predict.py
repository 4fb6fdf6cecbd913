"""Runs finished networks on a split: logits, layers, costs."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import build, checkpoint, metrics, types
from kd_jax.compare import cost, fidelity, roles
from kd_jax.data import pipeline, sources
from kd_jax.losses import tokens
from kd_jax.methods import layer_names
from kd_jax.models import base as models
from kd_jax.training import runtime

ALIKE = 1024  # examples that layers are compared on
ALIKE_SIZE = 1 << 26  # numbers of a layer that are compared


def make_outputs(
  experiment: build.Experiment,
  name: str,
  layers: tuple[str, ...],
  memo: dict | None = None,
) -> Callable[..., dict[str, np.ndarray]]:
  """Makes the function that runs a network on a split; compiled once.

  It runs on one device of this process, so that the numbers are the same for
  every placement.

  Args:
    experiment: its networks, and how images are prepared.
    name: of the network in it.
    layers: which of its outputs.
    memo: results on the same split by content of the variables: the runs of
      a sweep share teachers.

  Returns:
    (variables, split, limit=0) -> {layer: f32 [N, ...], 'labels': [N, ..]},
    of the first `limit` examples, or of all.
  """
  once = make_call(experiment, name, layers)
  device = jax.local_devices()[0]
  memo = {} if memo is None else memo

  def outputs(variables, split, limit=0):
    key = name, layers, limit, checkpoint.content_hash(variables)
    if key not in memo:
      memo[key] = _outputs(variables, split, limit)
    return memo[key]

  def _outputs(variables, split, limit):
    variables = jax.device_put(jax.device_get(variables), device)
    count = min(limit or len(split.labels), len(split.labels))
    size = min(runtime.eval_batch(experiment.data), count)
    parts = pipeline.evaluate(
      split,
      size,
      lambda batch: {**once(variables, batch), 'labels': batch['labels']},
      functools.partial(jax.device_put, device=device),
      -(-count // size),
    )
    whole = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    return {layer: x[:count] for layer, x in whole.items()}

  return outputs


def make_call(
  experiment: build.Experiment, name: str, layers: tuple[str, ...]
) -> Callable:
  """Makes (variables, batch) -> {layer: f32 [B, ...]} of a network; compiled.

  Args:
    experiment, name, layers: as in `make_outputs`.
  """
  return _compiled(experiment.networks[name], experiment.prepare, layers)


@functools.lru_cache(maxsize=32)
def _compiled(network, prepare, layers) -> Callable:
  """(variables, batch) -> {layer: f32}, the same object for equal networks."""

  @jax.jit
  def once(variables, batch):
    inputs = prepare(batch['inputs'])
    outputs, _ = network.apply(variables, inputs, train=False)
    real = tokens.real(batch)
    if real is not None:  # more padding must not change what is compared
      outputs = tokens.clear({k: outputs[k] for k in layers}, real)
    return {layer: outputs[layer].astype('float32') for layer in layers}

  return once


def predict(
  experiment: build.Experiment,
  name: str,
  variables: types.Variables,
  split: sources.Split,
) -> np.ndarray:
  """The logits of a network on every example of a split, in order.

  Args:
    experiment: its networks, and how images are prepared.
    name: of the network in it.
    variables: of the network.
    split: images and labels.

  Returns:
    f32 [N, K].
  """
  return make_outputs(experiment, name, ('logits',))(variables, split)['logits']


def costs(
  experiment: build.Experiment,
  line: roles.Lineup,
  variables: Mapping[str, types.Variables],
  exported: Callable | None = None,
) -> dict[str, dict[str, Any]]:
  """{row: `cost.cost`}; rows of the same shape are measured once.

  Two rows of one network may differ: a method can leave layers behind that
  its student predicts through (see `methods.reused_head`).

  Args:
    experiment, line, variables: as in `compare.compare`.
    exported: (network, variables, shape) -> images to logits in onnxruntime,
      or None.

  Returns:
    As `cost.cost`. Where an example is many predictions it is one at a time,
    and of images 'frames' holds 'size' [H, W], and 'jax' and 'onnxruntime':
    see `cost.frames`.
  """
  films = experiment.task.prediction == 'pixel'
  batches = cost.BATCHES if experiment.task.axes == 'BK' else (1,)
  inputs = build.example_inputs(experiment.data)
  if isinstance(inputs, Mapping):
    shape = tuple((name, x.shape[1:]) for name, x in inputs.items())
  else:
    shape = inputs.shape[1:]
  prices = {}
  for row, name in line.networks.items():
    leaves, tree = jax.tree.flatten(variables[row])
    shapes = tuple((np.shape(x), np.asarray(x).dtype) for x in leaves)
    network = experiment.networks[name]
    if films:
      prices[row] = dict(_of_film(network, tree, shapes, shape, exported))
    else:
      prices[row] = dict(_cost(network, tree, shapes, shape, batches))
  for mean, of in line.means.items():
    prices[mean] = cost.together([prices[row] for row in of])
  return prices


@functools.lru_cache(maxsize=64)
def _cost(network, tree, shapes, shape, batches) -> dict[str, Any]:
  """Measures a network with variables of these shapes and any values.

  The shape of text is ((name, [L]), ..).
  """
  if isinstance(shape[0], tuple):
    shape = dict(shape)
  price = cost.cost(network, _any(tree, shapes), shape, batches)
  # The memory in a report is that of a large batch.
  return price if len(batches) > 1 else {**price, 'memory': None}


@functools.lru_cache(maxsize=64)
def _of_film(network, tree, shapes, shape, exported) -> dict[str, Any]:
  """`_cost`, and how many frames of a film a network takes a second."""
  variables = _any(tree, shapes)
  forward = jax.jit(models.make_forward(network))
  runs = {
    'jax': lambda image: jax.block_until_ready(forward(variables, image)),
    'onnxruntime': exported and exported(network, variables, shape),
  }
  frames = {name: run and cost.frames(run, shape) for name, run in runs.items()}
  whole = cost.cost(network, variables, shape, (1,))
  # The memory in a report is that of a large batch.
  return {
    **whole,
    'memory': None,
    'frames': {'size': list(shape[:2]), **frames},
  }


def _any(tree, shapes) -> types.Variables:
  """Variables of these shapes, to be timed."""
  variables = jax.tree.unflatten(tree, [np.zeros(*leaf) for leaf in shapes])
  count = models.num_params(variables)
  metrics.say(f'measuring latency of a network of {count:,} parameters')
  return variables


def alike(
  experiment: build.Experiment,
  line: roles.Lineup,
  variables: Mapping[str, types.Variables],
  split: sources.Split,
  memo: dict | None = None,
) -> list[dict[str, Any]]:
  """Compares layers of the students with those of the teacher: linear CKA.

  The layers are those that the terms pair, and 'features' (of text 'final')
  and 'logits' (not those of tokens) where both have them; on the first `ALIKE`
  test examples, or, where an example is many predictions, on as many as fit
  `ALIKE_SIZE`.

  Returns:
    [{'student', 'teacher': layers, 'rows': {row: CKA}}]; [] without one
    teacher.
  """
  teacher, student = line.teacher, next(iter(line.students))
  if teacher not in line.networks:
    return []
  pairs = layer_pairs(experiment, line, student, teacher)
  if not pairs:
    return []
  rows = [r for r in (line.students[student], student) if r]
  theirs, ours = (
    make_outputs(
      experiment, line.networks[row], tuple(dict.fromkeys(layers)), memo
    )
    for row, layers in zip((teacher, student), list(zip(*pairs))[::-1])
  )
  limit = ALIKE
  if not experiment.task.single:
    names = [line.networks[row] for row in (student, teacher)]
    limit = _fitting(experiment, names, pairs)
  target = theirs(variables[teacher], split, limit)
  table = [{'student': a, 'teacher': b, 'rows': {}} for a, b in pairs]
  for row in rows:
    outputs = ours(variables[row], split, limit)
    for pair in table:
      pair['rows'][row] = fidelity.cka(
        outputs[pair['student']], target[pair['teacher']]
      )
  return table


def _fitting(experiment, names, pairs) -> int:
  """How many examples of the largest layer fit `ALIKE_SIZE`."""
  largest = max(
    math.prod(_shapes(experiment, name)[layer].shape[1:])
    for name, layers in zip(names, zip(*pairs))
    for layer in layers
  )
  return max(1, min(ALIKE, ALIKE_SIZE // largest))


def layer_pairs(experiment, line, student, teacher) -> list[tuple[str, str]]:
  """(student's, teacher's) layers that a term pairs, and the last two."""
  names = [line.networks[row] for row in (student, teacher)]
  ours, theirs = (_shapes(experiment, name) for name in names)
  paired = []
  for term in experiment.config.get('terms', {}).values():
    pair = term.get('student', 'student'), term.get('teacher', 'teacher')
    if pair != (names[0], teacher):
      continue
    for layers in term.get('layers', ()):
      paired += layer_names.pairs([tuple(layers)], ours, theirs)
  names = ['features', 'logits']
  if experiment.data.vocabulary:  # the logits of many tokens are too many
    names = ['final'] + ['logits'] * (experiment.task.axes == 'BK')
  last = [(n, n) for n in names if n in ours and n in theirs]
  return list(dict.fromkeys([*paired, *last]))


def _shapes(experiment, name) -> dict[str, jax.ShapeDtypeStruct]:
  """The outputs of a network as shapes."""
  inputs = build.example_inputs(experiment.data)
  outputs = models.output_shapes(experiment.networks[name], inputs)
  return {n: x for n, x in outputs.items() if hasattr(x, 'shape')}
