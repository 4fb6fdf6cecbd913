"""Sides of a comparison: processes that are timed in turn.

Each side of a comparison is a process of its own, so that its peak memory is
its own and its threads rest while another side works. The sides take turns
repeat by repeat: what drifts on the machine drifts for both.
"""

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.benchmarks import devices
from kd_jax import machine
from kd_jax.executors import hardware

THREADS = 2
PATIENCE = 90  # seconds for one answer; compiling all may take longer
# Compiles in a fraction of the time; for looking whether all runs, no more.
QUICK = (
  '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
)


class Task(NamedTuple):
  """Work that can be repeated.

  Attributes:
    run: count -> None: so many calls, and waits until they are done.
    facts: what else is known of it, by name.
  """

  run: Callable[[int], None]
  facts: Mapping[str, Any] = {}


class Side(NamedTuple):
  """A process that does tasks when asked.

  Attributes:
    name: for errors.
    process: of the operating system.
    pipe: requests go in, answers come out.
  """

  name: str
  process: multiprocessing.process.BaseProcess
  pipe: Any


@contextlib.contextmanager
def start(name: str, maker: str, *args, device: str = 'cpu') -> Iterator[Side]:
  """Starts the process of a side, and ends it.

  Args:
    name: of the side.
    maker: 'module:function'; imported there and called with `args`, it
      returns {task: () -> Task}.
    *args: of the maker.
    device: 'cpu' or 'gpu', that the side is to run on.

  Raises:
    RuntimeError: where it cannot be made, with the reason.
  """
  context = multiprocessing.get_context('spawn')
  ours, theirs = context.Pipe()
  process = context.Process(
    target=_serve, args=(theirs, maker, args, device), daemon=True
  )
  process.start()
  theirs.close()
  side = Side(name, process, ours)
  try:
    _answer(side, PATIENCE)
    yield side
  finally:
    ours.close()
    process.join(5)
    process.kill()


def ask(side: Side, request: str, *args) -> Any:
  """What the side answers to a request of `_serve`.

  Raises:
    RuntimeError: where it failed, with the reason.
  """
  try:
    side.pipe.send((request, *args))
  except OSError:
    raise RuntimeError(f'{side.name} has ended') from None
  return _answer(side, 10 * PATIENCE if request == 'build' else PATIENCE)


def alive(side: Side) -> bool:
  """Whether it can be asked again."""
  return side.process.is_alive()


def _answer(side, patience):
  if not side.pipe.poll(patience):
    side.process.kill()
    side.process.join()
    raise RuntimeError(f'{side.name} hangs: no answer in {patience} s')
  try:
    good, value = side.pipe.recv()
  except EOFError:
    raise RuntimeError(f'{side.name} ended without an answer') from None
  if not good:
    raise RuntimeError(f'{side.name}: {value}')
  return value


def _serve(pipe, maker, args, device):
  """Answers requests until the other end is closed; see `_requests`."""

  def attempt(function, *args):
    try:
      pipe.send((True, function(*args)))
    except Exception as error:
      text = str(error).strip().split('\n')[0]
      pipe.send((False, f'{type(error).__name__}: {text}'))

  def begin():
    os.environ.update(devices.environment(device))
    settle(device)
    module, function = maker.split(':')
    makers = getattr(importlib.import_module(module), function)(*args)
    requests.update(_requests(makers))

  requests = {}
  attempt(begin)
  with contextlib.suppress(EOFError):
    while True:
      name, *given = pipe.recv()
      attempt(requests[name], *given)


def _requests(makers):
  """What a side can be asked.

  ('known',) -> the names of all tasks.
  ('build', tasks): makes them, on all cores; what fails, fails when prepared.
  ('prepare', task) -> seconds of a call, and the task's facts.
  ('time', task, calls) -> seconds of a call.
  ('drop', task): frees it. ('memory',) -> `peak_memory`.
  """
  tasks = {}

  def build(names):
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
      for name in names:
        tasks[name] = pool.submit(makers[name])

  def prepare(name):
    if name not in tasks:
      build([name])
    task = tasks[name].result()
    task.run(1)
    return min(_timed(task, 1) for _ in range(2)), task.facts

  return {
    'known': lambda: list(makers),
    'build': build,
    'prepare': prepare,
    'time': lambda name, calls: _timed(tasks[name].result(), calls),
    'drop': lambda name: tasks.pop(name, None) and None,
    'memory': peak_memory,
  }


def _timed(task, calls):
  begun = time.perf_counter()
  task.run(calls)
  return (time.perf_counter() - begun) / calls


def compile_quickly() -> None:
  """Has the sides that start from now on compile with little effort."""
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {QUICK}'


def settle(device: str = 'cpu', count: int = THREADS) -> None:
  """Keeps this process on `count` cores, and its freed memory, if it can.

  Beside a GPU it keeps all cores: what dispatches the work is not compared.
  """
  machine.keep_freed()
  if device == 'cpu' and hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, hardware.cores()[:count])


def peak_memory() -> int:
  """The most bytes of memory that this process has held."""
  # Not ru_maxrss where it can be helped: a child inherits its parent's.
  status = pathlib.Path('/proc/self/status')
  if status.exists():
    lines = dict(line.split(':', 1) for line in status.read_text().splitlines())
    return int(lines['VmHWM'].split()[0]) * 1024
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return most if sys.platform == 'darwin' else most * 1024


def race(
  entries: Sequence[tuple[Side, str]],
  repeats: int,
  seconds: float,
  budget: float = 60.0,
) -> tuple[list[list[float]], list[Mapping]]:
  """Seconds of a call of every entry in every repeat, one after another.

  Args:
    entries: (side, task); those that are not prepared yet are.
    repeats: how often each is timed; every second time in reverse order.
    seconds: how long one timing of an entry is to last.
    budget: seconds after which no further repeat begins, past the second.

  Returns:
    Times by entry and repeat, and the facts of each entry's task.
  """
  found = [ask(side, 'prepare', task) for side, task in entries]
  calls = [max(1, round(seconds / max(once, 1e-9))) for once, _ in found]
  times, begun = [[] for _ in entries], time.perf_counter()
  for repeat in range(repeats):
    if repeat > 1 and time.perf_counter() - begun > budget:
      break
    order = list(range(len(entries)))
    for i in order[::-1] if repeat % 2 else order:
      side, task = entries[i]
      times[i].append(ask(side, 'time', task, calls[i]))
  return times, [facts for _, facts in found]
