"""The exported file beside the network in JAX, on test images."""

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

LOGITS = 1e-4  # of f32: the largest difference, over the largest logit
AGREEMENT = 0.99  # of int8 and bf16: how often the top class is the same
BATCHES = (1, 64)


def compare(
  run: Callable[[np.ndarray], np.ndarray],
  forward: Callable[[np.ndarray], np.ndarray],
  data: sources.Data,
  examples: int = 0,
) -> dict[str, Any]:
  """Runs both on the test set.

  Args:
    run: images f32 [B, H, W, C] -> logits, of the exported file.
    forward: likewise, of the network in JAX.
    data: whose test set it is.
    examples: the first so many; 0 is all.

  Returns:
    'examples'; 'logits': {'largest', 'mean'} differences over the largest
    logit; 'agreement' of the top class; 'accuracy': {'exported', its 95 %
    'interval', 'jax'}.
  """
  prepare = pipeline.make_prepare(data.mean, data.std)
  parts, test = [], data.test()
  count = min(examples or len(test.labels), len(test.labels))
  size = BATCHES[-1]
  batches = pipeline.eval_batches(test, size)
  for k, batch in enumerate(itertools.islice(batches, -(-count // size))):
    images = np.asarray(prepare(batch['inputs']))
    # The file also sees a last batch that is not full.
    kept = min(size, count - k * size)
    parts.append(
      (run(images[:kept]), forward(images)[:kept], batch['labels'][:kept])
    )
  theirs, ours, labels = (np.concatenate(x) for x in zip(*parts))
  right = fidelity.right(theirs, labels)
  difference, scale = np.abs(theirs - ours), np.abs(ours).max()
  return {
    'examples': count,
    'logits': {
      'largest': float(difference.max() / scale),
      'mean': float(difference.mean() / scale),
    },
    'agreement': float((theirs.argmax(-1) == ours.argmax(-1)).mean()),
    'accuracy': {
      'exported': float(right.mean()),
      'interval': list(statistics.wilson(int(right.sum()), right.size)),
      'jax': float(fidelity.right(ours, labels).mean()),
    },
  }


def make_forward(network: base.Network, variables: types.Variables):
  """images -> logits as NumPy, compiled, of the network in JAX."""
  forward = jax.jit(base.make_forward(network))
  return lambda images: np.asarray(forward(variables, images))


def judge(found: Mapping[str, Any], exact: bool) -> dict[str, float]:
  """The tolerance that was kept.

  Args:
    found: of `compare`.
    exact: whether the file computes what the network does, in f32.

  Raises:
    errors.DifferentError: where it was not.
  """
  largest, agreement = found['logits']['largest'], found['agreement']
  # Written so that a NaN fails.
  if exact and not largest <= LOGITS:
    raise errors.DifferentError(
      f'logits of the exported file differ by {largest:.2g} of the largest; '
      f'{LOGITS:g} is allowed'
    )
  if not exact and not agreement >= AGREEMENT:
    raise errors.DifferentError(
      f'the exported file gives the same top class for {100 * agreement:.2f} % '
      f'of {found["examples"]} test images; {100 * AGREEMENT:g} % is needed'
    )
  return {'logits': LOGITS} if exact else {'agreement': AGREEMENT}


def times(
  run: Callable[[np.ndarray], np.ndarray],
  forward: Callable[[np.ndarray], np.ndarray],
  student: source.Student,
  shape: tuple[int, ...],
  seconds: float = 0.3,
) -> dict[str, Any]:
  """Milliseconds of the file, of the network in JAX, and of its teachers.

  Args:
    run: of the exported file.
    forward: likewise, of the network in JAX.
    student: whose teachers are timed too.
    shape: of one image.
    seconds: spent on each.

  Returns:
    {'exported', 'jax': {batch size as text: see `latency.timed`},
    'teachers': {row: likewise}}.
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
  """What ran the file, and how large it is."""
  return {
    'bytes': file.stat().st_size,
    'runtime': f'{runtime} {importlib.metadata.version(runtime)}',
    'jax': jax.__version__,
    'device': jax.local_devices()[0].device_kind,
  }
