"""A row of the benchmark on one device, measured in this process.

`rows` starts it and tells it when to go on: what comes before the first word
does not need the device, and while it times, others rest.
"""

import importlib
import json
import math
import statistics
import sys
import time
from typing import NamedTuple

from experiments.benchmarks import sides

MODULE = 'experiments.benchmarks.row'
MAKERS = {
  'kd_jax': 'experiments.benchmarks.our_pairs',
  'PyTorch': 'experiments.benchmarks.pytorch.pairs',
}
# PyTorch's ways.
EAGER, COMPILED, GRAPH = 'eager', 'torch.compile', 'CUDA graph'
BOTH = f'{COMPILED}, {GRAPH}'
MARK = '#row '  # what others print is not for `rows`


class Row(NamedTuple):
  """A way to take steps of distillation.

  Attributes:
    side: 'kd_jax' or 'PyTorch'.
    mode: of `our_pairs.MODES` or `pytorch.pairs.MODES`.
    teacher, student: networks that both sides have.
    dtype: 'float32' or 'bfloat16', in which networks compute.
    stored: whether the teacher's logits are stored and not computed.
    lanes: students that learn from one teacher at once.
    strategy: of kd_jax's lanes.
    device: 'cpu' or 'gpu'.
    steps: of a timing.
    repeats: timings.
    examples: of the data set.
    batch_size: B.
    size: height and width of an image.
  """

  side: str
  mode: str
  teacher: str = 'resnet32x4'
  student: str = 'resnet8x4'
  dtype: str = 'float32'
  stored: bool = False
  lanes: int = 1
  strategy: str = 'loop'
  device: str = 'gpu'
  steps: int = 200
  repeats: int = 5
  examples: int = 50_000
  batch_size: int = 64
  size: int = 32


CLASSES = 100
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
PAD = 4
DECAY = 5e-4


def tell(**words) -> None:
  """Tells `rows`."""
  print(MARK + json.dumps(words), flush=True)


def measure(row: Row, go_on) -> None:
  """Builds, warms up and times a row; tells each when it is done.

  Args:
    row: what is measured.
    go_on: called before the device is used, and before it is timed.
  """
  maker = importlib.import_module(MAKERS[row.side])
  task = maker.make(row)
  tell(built=True)
  go_on()
  begun = time.perf_counter()
  task.run(row.steps)
  tell(warm=time.perf_counter() - begun)
  go_on()
  times = []
  for _ in range(row.repeats):
    begun = time.perf_counter()
    task.run(row.steps)
    times.append((time.perf_counter() - begun) / row.steps)
  facts = {name: value() for name, value in task.facts.items()}
  if not math.isfinite(facts.get('loss', 0)):
    raise FloatingPointError(f'the loss is {facts["loss"]}')
  tell(times=times, **facts)


def median(times) -> float:
  """Seconds of a step."""
  return statistics.median(times)


def main(argv=None) -> int:
  """Measures the row that the only argument is, as JSON."""
  row = Row(**json.loads((argv or sys.argv[1:])[0]))
  sides.settle(row.device)

  def go_on():
    if not sys.stdin.readline():
      raise SystemExit('no one waits for this row')

  measure(row, go_on)
  return 0


if __name__ == '__main__':
  sys.exit(main())
