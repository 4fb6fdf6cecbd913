"""Compares the exported file with the network in JAX, on test images."""

import functools
import importlib.metadata
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import errors, tasks, types
from kd_jax.compare import cost, fidelity, resampling, statistics
from kd_jax.data import pipeline, sources
from kd_jax.export import formats, source
from kd_jax.losses import spatial
from kd_jax.models import base
from kd_jax.training import runtime

# The largest difference of an f32 file's logits, relative to the largest logit.
LOGITS = 1e-4
MEAN = 0.02  # the mean difference of logits, likewise, of int8 for text
AGREEMENT = 0.99  # share of images with the same top class, of int8 and bf16
# Likewise of pixels, which are near another class at every border.
PIXELS = 0.97
CLASSES = 0.999  # likewise of pixels, of an f32 file without logits
BATCHES = (1, 64)  # sizes of the batches that are timed


def compare(
  run: Callable[[np.ndarray], np.ndarray],
  forward: Callable[[np.ndarray], np.ndarray],
  data: sources.Data,
  examples: int = 0,
  shape: formats.Shape = (),
) -> dict[str, Any]:
  """Runs both on the test set.

  Args:
    run: images f32 [B, H, W, C] -> logits f32 [B, ..., K], or classes i32
      [B, H, W], of the exported file.
    forward: likewise, of the network in JAX.
    data: whose test set is used.
    examples: number of test examples, from the first; 0 is all.
    shape: of one input, where it is text: the file's inputs. Of rows that hold
      several texts the first one is read.

  Returns:
    'examples', the number of images; 'logits': {'largest', 'mean'} difference,
    relative to the largest logit, where the file has logits; 'agreement', the
    share of predictions with the same top class; the task's score, such as
    'accuracy': {'exported', 'jax', and 'interval', 95 % of 'exported'}; 'task',
    where it is another than classification.
  """
  task, test = tasks.make_task(data.task), data.test()
  count = min(examples or len(test.labels), len(test.labels))
  size = min(BATCHES[-1], runtime.eval_batch(data))
  parts = _parts(run, forward, data, test, count, size, shape)
  measure = _of_logits if task.single else functools.partial(_of_sums, task)
  named = {} if task is tasks.CLASSIFICATION else {'task': task.name}
  return {**named, 'examples': count, **measure(parts)}


def _parts(
  run, forward, data, test, count: int, size: int, shape
) -> Iterator[tuple]:
  """(logits of the file, of the network, labels, mask) of batches."""
  prepare = pipeline.make_prepare(data.mean, data.std)
  batches = pipeline.eval_batches(test, size)
  for k, batch in enumerate(itertools.islice(batches, -(-count // size))):
    inputs = jax.tree.map(np.asarray, prepare(batch['inputs']))
    mask = np.asarray(batch['mask'])
    if isinstance(shape, formats.Text):
      inputs, mask = _of_text(inputs, mask, shape.names)
    # The file is also run on a last batch that is not full.
    kept = min(size, count - k * size)
    labels, mask = batch['labels'][:kept], mask[:kept]
    some = jax.tree.map(lambda x, kept=kept: x[:kept], inputs)
    yield run(some), forward(inputs)[:kept], labels, mask


def _of_text(inputs, mask, names) -> tuple[dict, np.ndarray]:
  """What a file reads of a batch of text, and which labels then count."""
  inputs = dict(inputs)
  if 'segment_ids' in inputs:
    first = inputs['segment_ids'] == 1
    inputs['attention_mask'] = first.astype(np.int32)
    mask = mask * first if mask.ndim == 2 else mask
  for name in names:
    ids = 'decoder_input_ids' if 'decoder' in name else 'input_ids'
    inputs.setdefault(name, np.ones_like(inputs[ids]))
  return {name: inputs[name] for name in names}, mask


def _of_logits(parts: Iterator[tuple]) -> dict[str, Any]:
  """Both networks by all of their logits, of one prediction an image."""
  exported, network, labels, _ = (np.concatenate(x) for x in zip(*parts))
  right = fidelity.right(exported, labels)
  difference, scale = np.abs(exported - network), np.abs(network).max()
  return {
    'logits': {
      'largest': float(difference.max() / scale),
      'mean': float(difference.mean() / scale),
    },
    'agreement': float((exported.argmax(-1) == network.argmax(-1)).mean()),
    tasks.CLASSIFICATION.score: {
      'exported': float(right.mean()),
      'interval': list(statistics.wilson(int(right.sum()), right.size)),
      'jax': float(fidelity.right(network, labels).mean()),
    },
  }


def _of_sums(task: tasks.Task, parts: Iterator[tuple]) -> dict[str, Any]:
  """Both networks by sums over the predictions of each image."""
  sums, same, count = ([], []), 0.0, 0.0
  largest, total, size, scale = 0.0, 0.0, 0, 0.0
  reduce = jax.jit(task.per_example)
  for exported, network, labels, mask in parts:
    if np.issubdtype(exported.dtype, np.integer):
      exported = np.asarray(jax.nn.one_hot(exported, network.shape[-1]))
    else:
      difference = np.abs(exported - network)
      # NumPy's maximum passes a NaN on.
      largest = np.maximum(largest, difference.max())
      total, size = total + difference.sum(dtype='f8'), size + difference.size
      scale = np.maximum(scale, np.abs(network).max())
    pair = [
      np.asarray(spatial.at_labels(x, labels)) for x in (exported, network)
    ]
    same += (_same(task, *pair) * mask).sum()
    count += mask.sum()
    for of, logits in zip(sums, pair):
      of.append(jax.device_get(reduce(logits, labels, mask)))
  ours, theirs = (
    jax.tree.map(lambda *x: np.concatenate(x), *of) for of in sums
  )
  draws = resampling.make_draws(len(next(iter(ours.values()))))
  drawn = resampling.score(task, ours, draws)
  logits = {}
  if size:
    logits['logits'] = {
      'largest': float(largest / scale),
      'mean': float(total / size / scale),
    }
  return {
    **logits,
    'agreement': float(same / count) if count else float('nan'),
    task.score: {
      'exported': drawn.value,
      'interval': list(drawn.interval(statistics.LEVEL)),
      'jax': task.scores(resampling.whole(theirs))[task.score],
    },
  }


def agreed(task: tasks.Task) -> str:
  """What 'agreement' is a share of, in words."""
  return {
    tasks.ONE: 'same top class',
    tasks.EACH: 'same classes',
    tasks.NUMBER: f'within {100 * MEAN:g} % of the largest',
  }[task.says]


def _same(task: tasks.Task, ours: np.ndarray, theirs: np.ndarray):
  """Where two networks say the same: the class, or a number nearly."""
  if task.says == tasks.EACH:
    return ((ours > 0) == (theirs > 0)).all(-1)
  if task.says == tasks.NUMBER:
    return (np.abs(ours - theirs) <= MEAN * np.abs(theirs).max()).all(-1)
  return ours.argmax(-1) == theirs.argmax(-1)


def make_forward(network: base.Network, variables: types.Variables):
  """Compiles images -> logits, both NumPy arrays, of a network in JAX."""
  forward = jax.jit(base.make_forward(network))
  return lambda images: np.asarray(forward(variables, images))


def judge(
  report: Mapping[str, Any], exact: bool, inputs: str = 'test images'
) -> dict[str, float]:
  """Checks a report against the tolerance.

  Args:
    report: from `compare`.
    exact: whether the file computes what the network does, in f32.
    inputs: what was compared, in words.

  Returns:
    The tolerance: {'logits'} of an exact file, else {'agreement'}.

  Raises:
    errors.DifferentError: the file differs by more.
  """
  task = tasks.task_of(report)
  dense = task.axes != 'BK'
  agreement, least = report['agreement'], PIXELS if dense else AGREEMENT
  # Comparisons are written so that a NaN fails.
  if exact and 'logits' not in report:
    exact, least = False, CLASSES
  largest = report['logits']['largest'] if exact else 0.0
  if exact and not largest <= LOGITS:
    raise errors.DifferentError(
      f'logits of the exported file differ by {largest:.2g} of the largest; '
      f'{LOGITS:g} is allowed'
    )
  what = f'the {task.prediction}s of ' if dense else ''
  if not exact and not agreement >= least:
    raise errors.DifferentError(
      f'the exported file gives the same top class for {100 * agreement:.2f} % '
      f'of {what}{report["examples"]} {inputs}; {100 * least:g} % is needed'
    )
  return {'logits': LOGITS} if exact else {'agreement': least}


def judge_text(
  report: Mapping[str, Any], quantize: str, inputs: str, classes: bool
) -> dict[str, float]:
  """Checks a report of text, as `judge`.

  Of many tokens several are likely at most places, of random sequences most
  are: where the 8-bit file names another top class, the logits are near each
  other. So the mean difference of logits is judged there.

  Args:
    report: from `compare`, or of random sequences.
    quantize: 'int8', 'bf16' or ''.
    inputs: what was compared, in words.
    classes: whether they are the test set of a classifier.

  Raises:
    errors.DifferentError: the file differs by more.
  """
  if quantize != 'int8' or classes:
    return judge(report, not quantize, inputs)
  mean = report['logits']['mean']
  if not mean <= MEAN:
    raise errors.DifferentError(
      f'logits of the exported file differ by {mean:.2g} of the largest in the '
      f'mean; {MEAN:g} is allowed'
    )
  return {'mean': MEAN}


def times(
  run: Callable[[np.ndarray], np.ndarray],
  forward: Callable[[np.ndarray], np.ndarray],
  student: source.Student,
  shape: formats.Shape,
  seconds: float = 0.3,
  batches: Sequence[int] = BATCHES,
) -> dict[str, Any]:
  """Times the file, the network in JAX, and its teachers in JAX.

  Args:
    run: images -> logits, of the exported file.
    forward: likewise, of the network in JAX.
    student: whose teachers are timed too.
    shape: of one input.
    seconds: spent on each timing.
    batches: sizes of the batches that are timed.

  Returns:
    {'exported', 'jax': {batch size as text: see `cost.timed`}, 'teachers':
    {row: likewise}}, in milliseconds.
  """

  def timed(function):
    inputs = {n: _ones(shape, n) for n in batches}
    return {
      str(n): cost.timed(lambda x=x: function(x), seconds)
      for n, x in inputs.items()
    }

  return {
    'exported': timed(run),
    'jax': timed(forward),
    'teachers': {
      row: timed(make_forward(teacher.network, teacher.variables))
      for row, teacher in source.teachers(student).items()
    },
  }


def _ones(shape: formats.Shape, batch: int) -> types.PyTree:
  length = 0
  if isinstance(shape, formats.Text):
    length = formats.usual_length(shape)
  return jax.tree.map(
    lambda x: np.ones(x.shape, x.dtype), formats.example(shape, batch, length)
  )


def machine(runtime: str, file: pathlib.Path) -> dict[str, Any]:
  """The size of the file, and the software and hardware that ran it."""
  return {
    'bytes': file.stat().st_size,
    'runtime': f'{runtime} {importlib.metadata.version(runtime)}',
    'jax': jax.__version__,
    'device': jax.local_devices()[0].device_kind,
  }
