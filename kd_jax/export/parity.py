"""Compares the exported file with the network in JAX, on test images."""

import importlib.metadata
import itertools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import errors, types
from kd_jax.compare import cost, fidelity, statistics
from kd_jax.data import pipeline, sources
from kd_jax.export import source
from kd_jax.models import base

# The largest difference of an f32 file's logits, relative to the largest logit.
LOGITS = 1e-4
AGREEMENT = 0.99  # share of images with the same top class, of int8 and bf16
BATCHES = (1, 64)  # sizes of the batches that are timed


def compare(
  run: Callable[[np.ndarray], np.ndarray],
  forward: Callable[[np.ndarray], np.ndarray],
  data: sources.Data,
  examples: int = 0,
) -> dict[str, Any]:
  """Runs both on the test set.

  Args:
    run: images f32 [B, H, W, C] -> logits f32 [B, K], of the exported file.
    forward: likewise, of the network in JAX.
    data: whose test set is used.
    examples: number of test images, from the first; 0 is all.

  Returns:
    'examples', the number of images; 'logits': {'largest', 'mean'} difference,
    relative to the largest logit; 'agreement', the share of images with the
    same top class; 'accuracy': {'exported', 'jax', and 'interval', 95 % of
    'exported'}, in [0, 1].
  """
  prepare = pipeline.make_prepare(data.mean, data.std)
  parts, test = [], data.test()
  count = min(examples or len(test.labels), len(test.labels))
  size = BATCHES[-1]
  batches = pipeline.eval_batches(test, size)
  for k, batch in enumerate(itertools.islice(batches, -(-count // size))):
    images = np.asarray(prepare(batch['inputs']))
    # The file is also run on a last batch that is not full.
    kept = min(size, count - k * size)
    parts.append(
      (run(images[:kept]), forward(images)[:kept], batch['labels'][:kept])
    )
  exported, network, labels = (np.concatenate(x) for x in zip(*parts))
  right = fidelity.right(exported, labels)
  difference, scale = np.abs(exported - network), np.abs(network).max()
  return {
    'examples': count,
    'logits': {
      'largest': float(difference.max() / scale),
      'mean': float(difference.mean() / scale),
    },
    'agreement': float((exported.argmax(-1) == network.argmax(-1)).mean()),
    'accuracy': {
      'exported': float(right.mean()),
      'interval': list(statistics.wilson(int(right.sum()), right.size)),
      'jax': float(fidelity.right(network, labels).mean()),
    },
  }


def make_forward(network: base.Network, variables: types.Variables):
  """Compiles images -> logits, both NumPy arrays, of a network in JAX."""
  forward = jax.jit(base.make_forward(network))
  return lambda images: np.asarray(forward(variables, images))


def judge(report: Mapping[str, Any], exact: bool) -> dict[str, float]:
  """Checks a report against the tolerance.

  Args:
    report: from `compare`.
    exact: whether the file computes what the network does, in f32.

  Returns:
    The tolerance: {'logits'} of an exact file, else {'agreement'}.

  Raises:
    errors.DifferentError: the file differs by more.
  """
  largest, agreement = report['logits']['largest'], report['agreement']
  # Written so that a NaN fails.
  if exact and not largest <= LOGITS:
    raise errors.DifferentError(
      f'logits of the exported file differ by {largest:.2g} of the largest; '
      f'{LOGITS:g} is allowed'
    )
  if not exact and not agreement >= AGREEMENT:
    raise errors.DifferentError(
      f'the exported file gives the same top class for {100 * agreement:.2f} % '
      f'of {report["examples"]} test images; {100 * AGREEMENT:g} % is needed'
    )
  return {'logits': LOGITS} if exact else {'agreement': AGREEMENT}


def times(
  run: Callable[[np.ndarray], np.ndarray],
  forward: Callable[[np.ndarray], np.ndarray],
  student: source.Student,
  shape: tuple[int, ...],
  seconds: float = 0.3,
) -> dict[str, Any]:
  """Times the file, the network in JAX, and its teachers in JAX.

  Args:
    run: images -> logits, of the exported file.
    forward: likewise, of the network in JAX.
    student: whose teachers are timed too.
    shape: of one image, [H, W, C].
    seconds: spent on each timing.

  Returns:
    {'exported', 'jax': {batch size as text: see `cost.timed`}, 'teachers':
    {row: likewise}}, in milliseconds.
  """

  def timed(function):
    images = {n: np.zeros((n, *shape), np.float32) for n in BATCHES}
    return {
      str(n): cost.timed(lambda x=x: function(x), seconds)
      for n, x in images.items()
    }

  return {
    'exported': timed(run),
    'jax': timed(forward),
    'teachers': {
      row: timed(make_forward(teacher.network, teacher.variables))
      for row, teacher in source.teachers(student).items()
    },
  }


def machine(runtime: str, file: pathlib.Path) -> dict[str, Any]:
  """The size of the file, and the software and hardware that ran it."""
  return {
    'bytes': file.stat().st_size,
    'runtime': f'{runtime} {importlib.metadata.version(runtime)}',
    'jax': jax.__version__,
    'device': jax.local_devices()[0].device_kind,
  }
