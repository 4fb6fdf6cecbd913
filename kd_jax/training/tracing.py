"""Traces some steps of a stage with JAX's profiler, into the run's folder."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from kd_jax import kinds, metrics

FOLDER = 'profile'  # in the folder of a run; a folder for each stage


class Tracer(NamedTuple):
  """Traces the steps of a window.

  Attributes:
    marks: steps at which a chunk must end.
    at: (step, what the devices compute) -> None; called before each call of
      the loop, and after the last.
    close: () -> None: ends a trace that still runs.
  """

  marks: tuple[int, ...]
  at: Callable[[int, Any], None]
  close: Callable[[], None]


def make_tracer(window: str, folder: pathlib.Path | None, stage: str) -> Tracer:
  """Makes the tracer of a stage.

  Args:
    window: 'A:B' traces the steps A to B - 1, counted from 0; '' none.
    folder: of the run; None: nothing is traced.
    stage: its name.

  A stage that is resumed within the window is traced from there; one that is
  resumed before it is traced again, beside the earlier trace.
  """
  if not window or folder is None:
    return Tracer((), lambda step, values: None, lambda: None)
  first, end = kinds.steps_of(window)
  place, begun = folder / FOLDER / stage, []

  def at(step, values):
    if begun and step >= end:
      jax.block_until_ready(values)
      close()
      metrics.say(f'{stage}: steps {begun.pop()} to {step - 1} are in {place}')
    elif not begun and first <= step < end:
      jax.block_until_ready(values)
      jax.profiler.start_trace(place)
      begun.append(step)

  def close():
    if begun:
      jax.profiler.stop_trace()

  return Tracer((first, end), at, close)
