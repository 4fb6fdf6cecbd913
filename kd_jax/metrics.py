"""Where the numbers of a run go: a JSON line a row, TensorBoard, a terminal."""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

ROWS = 'metrics.jsonl'


class Writer(NamedTuple):
  """Writes rows of metrics.

  Attributes:
    write: (stage, step, {name: number}) -> None.
    close: () -> None.
  """

  write: Callable[[str, int, Mapping[str, float]], None]
  close: Callable[[], None]


def read_rows(folder) -> list[dict]:
  """The rows written so far, each {'stage', 'step', name: number}."""
  path = pathlib.Path(folder) / ROWS
  if not path.exists():
    return []
  rows = []
  for line in path.read_text().splitlines():
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError:  # a kill can leave half a line, the last
      break
  return rows


def forget(folder, stage: str, step: int) -> None:
  """Drops the rows of a stage after `step`: they will be written again."""
  path = pathlib.Path(folder) / ROWS
  kept = [
    r for r in read_rows(folder) if r['stage'] != stage or r['step'] <= step
  ]
  part = path.with_name(f'.{ROWS}')
  part.write_text(''.join(json.dumps(row) + '\n' for row in kept))
  part.replace(path)


def say(text: str) -> None:
  """Tells whoever watches a run what it does, on standard error."""
  print(text, file=sys.stderr, flush=True)


def _tensorboard():
  """tensorboardX: half a second, and only runs need it.

  It imports torch where that is installed, for tensors that no run writes,
  which takes two seconds more: it does not see it.
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
  """Appends to metrics.jsonl and to TensorBoard events in `folder`."""
  folder = pathlib.Path(folder)
  events = _tensorboard().SummaryWriter(str(folder), write_to_disk=True)

  def write(stage, step, values):
    values = {name: float(value) for name, value in values.items()}
    # Opened anew: a resume replaces the file (see `forget`).
    with open(folder / ROWS, 'a') as rows:
      rows.write(json.dumps({'stage': stage, 'step': step, **values}) + '\n')
    for name, value in values.items():
      events.add_scalar(f'{stage}/{name}', value, step)

  def close():
    try:
      events.close()
    except OSError:  # a full disk; tensorboardX would try again at exit
      events.file_writer.event_writer.close = lambda: None
      raise

  return Writer(write, close)


def silent() -> Writer:
  """Writes nothing: the processes other than the first."""
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


class Progress(NamedTuple):
  """Shows how far a stage is: update(step, {name: number}), close()."""

  update: Callable[[int, Mapping[str, float]], None]
  close: Callable[[], None]


def make_progress(
  stage: str, start: int, steps: int, every: float, out=None
) -> Progress:
  """A bar in a terminal, a line every `every` seconds elsewhere."""
  out = out or sys.stderr
  if out.isatty():
    return _bar(stage, start, steps, out)
  begun = last = time.monotonic()

  def update(step, values):
    nonlocal last
    now = time.monotonic()
    if now - last < every:
      return
    last = now
    rate = (step - start) / (now - begun)
    left = (steps - step) / max(rate, 1e-9)
    print(
      f'{stage}: step {step}/{steps} {_shown(values)} '
      f'{rate:.1f} steps/s, {left:.0f} s left',
      file=out,
      flush=True,
    )

  return Progress(update, lambda: None)


def _bar(stage, start, steps, out) -> Progress:
  import tqdm

  bar = tqdm.tqdm(
    total=steps,
    initial=start,
    desc=stage,
    file=out,
    leave=False,
    unit='step',
    dynamic_ncols=True,
  )

  def update(step, values):
    bar.set_postfix_str(_shown(values), refresh=False)
    bar.update(step - bar.n)

  return Progress(update, bar.close)


def _shown(values) -> str:
  wanted = ['loss', *(n for n in values if n.startswith('accuracy'))]
  return ' '.join(f'{n}={values[n]:.3f}' for n in wanted if n in values)
