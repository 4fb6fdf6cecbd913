"""Writes the metrics of a run: JSON lines, TensorBoard, progress on stderr."""

import contextlib
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from kd_jax import errors

ROWS = 'metrics.jsonl'
SPEED = 'speed.jsonl'  # rows that no two runs have alike
CLEAR = '\r\033[K'  # empties a terminal's line


class Writer(NamedTuple):
  """Writes rows of metrics.

  Attributes:
    write: (stage, step, {name: number}) -> None.
    close: () -> None.
    speed: as `write`, of how fast the stage is: to a file of its own, since
      metrics are equal in equal runs.
  """

  write: Callable[[str, int, Mapping[str, float]], None]
  close: Callable[[], None]
  speed: Callable[[str, int, Mapping[str, float]], None] = lambda *_: None


def read_rows(folder, file: str = ROWS) -> list[dict]:
  """Reads the rows written so far, each {'stage', 'step', name: number}.

  A last line that is cut off, as a kill can leave it, is left out.

  Args:
    folder: of a run.
    file: ROWS or SPEED.

  Raises:
    errors.DamagedError: one line, for a row that is damaged otherwise.
  """
  path = pathlib.Path(folder) / file
  rows, damaged = _parse(path)
  if damaged:
    raise errors.DamagedError(
      f'{path} is damaged in line {damaged[0]}: it is no row of metrics; '
      'remove that line'
    )
  return rows


def _parse(path: pathlib.Path) -> tuple[list[dict], list[int]]:
  """The rows of a file, and the numbers of the lines that are not rows."""
  if not path.exists():
    return [], []
  rows, damaged = [], []
  lines = path.read_bytes().split(b'\n')
  for number, line in enumerate(lines, 1):
    row = _row(line)
    if row is not None:
      rows.append(row)
    elif line.strip() and number < len(lines):
      damaged.append(number)
  return rows, damaged


def _row(line: bytes) -> dict | None:
  """A row of metrics; None for anything else."""
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(row, dict):
    return None
  named = isinstance(row.get('stage'), str) and isinstance(row.get('step'), int)
  numbers = (v for k, v in row.items() if k != 'stage')
  whole = named and all(isinstance(v, int | float) for v in numbers)
  return row if whole else None


def forget(folder, stage: str, step: int) -> None:
  """Drops the rows of a stage after `step`: they will be written again.

  Where lines are damaged the file is moved aside first, and the rows that can
  be read go on.
  """
  for file in (ROWS, SPEED):
    if (pathlib.Path(folder) / file).exists():
      _forget(pathlib.Path(folder) / file, stage, step)


def _forget(path: pathlib.Path, stage: str, step: int) -> None:
  """`forget`, of one file."""
  rows, damaged = _parse(path)
  if damaged:
    aside = path.with_name(f'{path.name}.damaged')
    path.replace(aside)
    say(
      f'{path} is damaged in {len(damaged)} lines; moved to {aside}, and the '
      'rows that can be read are kept'
    )
  kept = [r for r in rows if r['stage'] != stage or r['step'] <= step]
  part = path.with_name(f'.{path.name}')
  part.write_text(''.join(json.dumps(row) + '\n' for row in kept))
  part.replace(path)


def _tensorboard():
  """Imports tensorboardX, which takes half a second, without torch.

  It would import torch where that is installed, two seconds more, for tensors
  that no run writes.
  """
  hidden = 'torch' not in sys.modules
  if hidden:
    sys.modules['torch'] = None
  try:
    import tensorboardX
  finally:
    if hidden:
      del sys.modules['torch']
  return tensorboardX


def make_writer(folder) -> Writer:
  """Appends to the rows and to TensorBoard events in `folder`."""
  folder = pathlib.Path(folder)
  events = _tensorboard().SummaryWriter(str(folder), write_to_disk=True)

  def append(file, group, stage, step, values):
    values = {name: float(value) for name, value in values.items()}
    # Opened each time, since a resume replaces the file (see `forget`).
    with open(folder / file, 'a') as rows:
      rows.write(json.dumps({'stage': stage, 'step': step, **values}) + '\n')
    for name, value in values.items():
      events.add_scalar(f'{stage}/{group}{name}', value, step)

  write = functools.partial(append, ROWS, '')
  speed = functools.partial(append, SPEED, 'speed/')

  def close():
    try:
      events.close()
    except OSError:  # a full disk
      writer = events.file_writer.event_writer
      writer.close = lambda: None  # tensorboardX would try again at exit
      writer._worker.stop()  # it would wait for what the exit closes
      raise

  return Writer(write, close, speed)


def silent() -> Writer:
  """Makes a writer that writes nothing, for processes other than the first."""
  return Writer(lambda stage, step, values: None, lambda: None)


def first_bad(values: Mapping[str, float]) -> str | None:
  """The first loss that is not finite: a term before the total."""
  bad = [
    name
    for name, value in values.items()
    if name.startswith('loss') and not np.isfinite(value)
  ]
  return min(bad, key=lambda name: name == 'loss', default=None)


def mean(rows: list[Mapping[str, float]]) -> dict[str, float]:
  """The mean of each name over the rows of an epoch."""
  return {name: sum(r[name] for r in rows) / len(rows) for name in rows[0]}


def say(text: str, out=None) -> None:
  """Prints a line on standard error: what the first process does now."""
  if not _is_first():
    return
  out = out or sys.stderr
  if 'tqdm' in sys.modules:  # above a bar that is shown
    sys.modules['tqdm'].tqdm.write(text, file=out)
    return
  start = CLEAR if out.isatty() else ''  # in place of a note
  print(f'{start}{text}', file=out, flush=True)


def _is_first() -> bool:
  import jax

  return jax.process_index() == 0


@contextlib.contextmanager
def note(text: str, out=None) -> Iterator[None]:
  """Shows a text in a terminal while something lasts, and removes it then.

  Used where a user's mistake may still be raised, which prints a single line.
  """
  out = out or sys.stderr
  if not out.isatty():
    yield
    return
  print(f'{text} ..', end='', file=out, flush=True)
  try:
    yield
  finally:
    print(CLEAR, end='', file=out, flush=True)


class Progress(NamedTuple):
  """Shows how far a stage is.

  Attributes:
    update: (step, () -> {name: number}) -> None; asks for the numbers where
      it shows them.
    close: () -> None.
  """

  update: Callable[[int, Callable[[], Mapping[str, float]]], None]
  close: Callable[[], None]


def make_progress(
  stage: str,
  start: int,
  steps: int,
  every: float,
  out=None,
  unit='step',
  more: Callable[[float], str] = lambda rate: '',
) -> Progress:
  """Makes a bar in a terminal, elsewhere a line at once and every few seconds.

  The first step compiles: rate and time left are measured after it.

  Args:
    stage: what is shown before the numbers.
    start: steps that are done already.
    steps: in all.
    every: seconds between two lines.
    out: standard error unless given.
    unit: what a step is.
    more: steps a second -> what is shown behind them.
  """
  if not _is_first():
    return Progress(lambda step, values: None, lambda: None)
  out = out or sys.stderr
  make = _bar if out.isatty() else _lines
  return make(stage, start, steps, every, out, unit, more)


def _lines(stage, start, steps, every, out, unit, more) -> Progress:
  """Prints a line at the start, and a line every `every` seconds."""
  shown = time.monotonic()
  mark = None  # (seconds, step) from which the rate is measured

  def update(step, values):
    nonlocal shown, mark
    now = time.monotonic()
    begun, done = mark or (now, step)
    mark = begun, done
    if now - shown < every:
      return
    text = f'{stage}: {unit} {step}/{steps} {_shown(values())}'.rstrip()
    if step > done and now > begun:
      rate = (step - done) / (now - begun)
      left = (steps - step) / rate
      words = [f' {rate:.1f} {unit}s/s', f'{left:.0f} s left', more(rate)]
      text += ', '.join(filter(None, words))
    # The next rate is that of the time between the two lines.
    shown, mark = now, (now, step)
    print(text, file=out, flush=True)

  print(f'{stage}: {unit} {start}/{steps}', file=out, flush=True)
  return Progress(update, lambda: None)


def _bar(stage, start, steps, every, out, unit, more) -> Progress:
  """A bar of tqdm, which is removed at the end."""
  del every
  import tqdm

  bar = tqdm.tqdm(
    total=steps,
    initial=start,
    desc=stage,
    file=out,
    leave=False,
    unit=unit,
    dynamic_ncols=True,
  )
  compiled, shown = False, 0.0

  def update(step, values):
    nonlocal compiled, shown
    now = time.monotonic()
    if now - shown >= bar.mininterval or step == steps:
      rate = bar.format_dict['rate']
      words = [_shown(values()), more(rate) if rate else '']
      bar.set_postfix_str(', '.join(filter(None, words)), refresh=False)
      shown = now
    if compiled:
      bar.update(step - bar.n)
      return
    compiled = True
    bar.n = bar.initial = bar.last_print_n = step
    # Starts its clock again.
    bar.last_print_t = time.time()
    bar.start_t = time.time()
    bar.refresh()

  return Progress(update, bar.close)


def _shown(values) -> str:
  hits = (n for n in values if '/' in n and not n.startswith('loss/'))
  names = ['loss', *hits]
  return ' '.join(f'{n}={values[n]:.3f}' for n in names if n in values)
