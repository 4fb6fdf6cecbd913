"""Where the time of a process goes: parts that exclude each other.

A part that is entered within another stops the clock of the other. What JAX
traces and compiles is a part of its own, wherever it happens.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

COMPILING = 'compiling'
EVENTS = '/jax/core/compile/'  # tracing, lowering, XLA
# (module of kd_jax, function, part): what a training of lanes calls.
PARTS = (
  ('training.loop', '_steps', 'steps'),
  ('training.loop', '_validate', 'evaluation'),
  ('training.lane', 'results', 'evaluation'),
  ('training.lane', 'open_lane', 'checkpoints'),
  ('training.loop', '_save', 'checkpoints'),
  ('training.loop', '_flush', 'checkpoints'),
  ('training.finished', 'write', 'checkpoints'),
)


class Clock(NamedTuple):
  """A running clock.

  Attributes:
    part: name -> a context that is timed as this part.
    read: () -> {part: seconds so far}; they add up to all of the time.
  """

  part: Callable
  read: Callable[[], dict[str, float]]


def start(first: str, begun: float | None = None) -> Clock:
  """Starts a clock in the part `first`.

  Args:
    first: the part that all time belongs to that no other part has.
    begun: when it started, by time.perf_counter; None: now.
  """
  import jax

  seconds, entered = {COMPILING: 0.0}, [first]
  since = [time.perf_counter() if begun is None else begun]
  counted = []  # intervals of compiling, which may nest: the inner end first

  def charge():
    now = time.perf_counter()
    seconds[entered[-1]] = seconds.get(entered[-1], 0.0) + now - since[0]
    since[0] = now

  @contextlib.contextmanager
  def part(name) -> Iterator[None]:
    charge()
    entered.append(name)
    try:
      yield
    finally:
      charge()
      entered.pop()

  def compiled(event, duration, **_):
    if not event.startswith(EVENTS):
      return
    end = time.perf_counter()
    new = duration
    while counted and counted[-1][0] >= end - duration:
      new -= counted.pop()[1]
    counted.append((end - duration, duration))
    seconds[COMPILING] += new
    seconds[entered[-1]] = seconds.get(entered[-1], 0.0) - new

  def read():
    charge()
    return dict(seconds)

  jax.monitoring.register_event_duration_secs_listener(compiled)
  return Clock(part, read)


def watch(clock: Clock, parts: Sequence[tuple[str, str, str]] = PARTS) -> None:
  """Times parts of a training in this process, for good."""
  import importlib

  for module, name, part in parts:
    place = importlib.import_module(f'kd_jax.{module}')
    setattr(place, name, _timed(clock, part, getattr(place, name)))


def _timed(clock: Clock, part: str, function: Callable) -> Callable:
  @functools.wraps(function)
  def timed(*args, **options):
    with clock.part(part):
      return function(*args, **options)

  return timed
