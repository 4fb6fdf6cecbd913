"""Measures how fast a stage trains, apart from what its result depends on.

A row is written beside each row of metrics, to a file of its own: what it says
is of the machine and the moment, and metrics must be equal in equal runs.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from kd_jax import device, metrics

# Seconds of a stage after which FLOP are counted: the step is traced for it.
COUNTED_AFTER = 30.0


class Meter(NamedTuple):
  """Measures the steps of a stage.

  Attributes:
    start: () -> None: the loop takes steps from now on.
    pause: () -> None: it does something else.
    fetch: function -> the same, whose time is waited for data.
    watch: Progress -> the same, whose updates are heard here.
    row: () -> the pace since the row before: 'examples_per_second'; 'waiting',
      the share of the time in which the loop got data; 'peak_bytes' held on a
      device so far, where it tells; and later in a stage 'flops_per_second',
      of all lanes on all devices, and 'mfu', its share of the peak of known
      devices. {} where nothing was measured.
    write: lanes -> None: writes the row for each of them.
    text: steps a second -> the same in words, for a line of progress.
  """

  start: Callable[[], None]
  pause: Callable[[], None]
  fetch: Callable[[Callable], Callable]
  watch: Callable[[metrics.Progress], metrics.Progress]
  row: Callable[[], dict[str, float]]
  write: Callable[[Sequence], None]
  text: Callable[[float], str]


def of_stage(experiment, runtime, frozen, lanes: Sequence) -> Meter:
  """Makes the meter of lanes that train at once.

  Args:
    experiment: of any of them.
    runtime: of the stage.
    frozen: {network: variables}.
    lanes: all of them.
  """
  # The states themselves are donated.
  like = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (lanes[0].state, frozen)
  )
  peak = device.peak_flops(experiment.options['precision'])
  placement = experiment.placement
  return make_meter(
    lanes[0].stage.recipe.batch_size,
    lambda: runtime.flops(*like, len(lanes)),
    peak and peak * max(placement.count, len(placement.devices)),
  )


def make_meter(
  batch_size: int, flops: Callable[[], float | None], peak: float | None = None
) -> Meter:
  """Makes the meter of a stage. What compiles at its start is not counted.

  Args:
    batch_size: examples of a step.
    flops: () -> FLOP of a step, None where unknown; called at most once.
    peak: FLOP/s that all devices could do; None where unknown.
  """
  opened, count = time.monotonic(), []
  # since: when the loop began to take steps; None while it pauses, or compiles.
  now = {'running': False, 'since': None, 'seconds': 0.0, 'waited': 0.0}
  now |= {'step': None, 'mark': None}

  def start():
    now['running'] = True
    if now['mark'] is not None and now['since'] is None:
      now['since'] = time.monotonic()

  def pause():
    now['running'] = False
    now['seconds'], now['since'] = seconds(), None

  def seconds():
    since = now['since']
    return now['seconds'] + (time.monotonic() - since if since else 0.0)

  def fetch(function):
    def timed(*args):
      begun = time.monotonic()
      values = function(*args)
      now['waited'] += time.monotonic() - begun
      return values

    return timed

  def heard(step):
    now['step'] = step
    if now['mark'] is None:  # the first call compiled
      now['mark'], now['waited'] = step, 0.0
      now['since'] = time.monotonic() if now['running'] else None

  def watch(progress):
    def update(step, values):
      heard(step)
      progress.update(step, values)

    return metrics.Progress(update, progress.close)

  def pace(rate, share):
    values = {'examples_per_second': rate * batch_size, 'waiting': share}
    most = device.peak_bytes()
    if most is not None:
      values['peak_bytes'] = float(most)
    if not count and time.monotonic() - opened >= COUNTED_AFTER:
      count.append(flops())
    if count and count[0]:
      values['flops_per_second'] = rate * count[0]
      if peak:
        values['mfu'] = rate * count[0] / peak
    return values

  def share():
    taken = seconds()
    return min(now['waited'] / taken, 1.0) if taken else 0.0

  def row():
    taken, steps = seconds(), (now['step'] or 0) - (now['mark'] or 0)
    if not (taken and steps):
      return {}
    values = pace(steps / taken, share())
    now.update(seconds=0.0, waited=0.0, mark=now['step'])
    if now['running']:
      now['since'] = time.monotonic()
    return values

  def write(lanes):
    values = row()
    for lane in lanes if values else ():
      lane.session.writer.speed(lane.stage.name, lane.step, values)

  def text(rate):
    return _words(pace(rate, share()))

  return Meter(start, pause, fetch, watch, row, write, text)


def _words(values) -> str:
  """The pace as the end of a line of progress."""
  text = (
    f'{values["examples_per_second"]:.0f} examples/s, '
    f'{100 * values["waiting"]:.0f} % waiting for data'
  )
  if 'peak_bytes' in values:
    text += f', {values["peak_bytes"] / 1e9:.2f} GB'
  if 'flops_per_second' in values:
    text += f', {values["flops_per_second"] / 1e12:.3g} TFLOP/s'
  if 'mfu' in values:
    text += f' ({100 * values["mfu"]:.0f} % of the peak)'
  return text
