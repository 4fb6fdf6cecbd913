"""Hears Ctrl-C and SIGTERM, so that a training saves before it ends."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def heard() -> Iterator[Callable[[], int]]:
  """Collects SIGTERM and the first Ctrl-C; a second Ctrl-C interrupts.

  Outside of the main thread, where Python handles no signals, nothing is
  heard.

  Yields:
    () -> the number of the signal that was heard, or 0.
  """
  caught = []

  def handle(number, frame):
    del frame
    # A cluster may send SIGTERM twice: that is no hurry.
    if caught and number == signal.SIGINT:
      signal.default_int_handler(number, None)
    caught.append(number)
    print('\nstopping after this step ..', file=sys.stderr)

  before = {}
  if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGTERM, signal.SIGINT):
      before[number] = signal.signal(number, handle)
  try:
    yield lambda: caught[0] if caught else 0
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
