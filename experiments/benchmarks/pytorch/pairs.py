"""PyTorch's side of the rows: the same steps, eager, compiled, as a CUDA graph.

Data set, augmentation, teacher, student, loss and SGD are on the device; the
loss stays there. Images are channels_last.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from experiments.benchmarks import row, settings, sides
from experiments.benchmarks.pytorch import mobile, on_device
from experiments.benchmarks.pytorch import networks as twins

MODES = (row.EAGER, row.COMPILED, row.GRAPH, row.BOTH)


def make(r: row.Row) -> sides.Task:
  """The row's steps; `facts` are functions, called after them.

  Raises:
    ValueError: a CUDA graph on a CPU.
    RuntimeError: PyTorch has not the row's device.
  """
  device = on_device.prepare(r.device)
  if row.GRAPH in r.mode and device.type == 'cpu':
    raise ValueError('a CUDA graph needs a GPU')
  loss, parameters = make_loss(r, device)
  if row.COMPILED in r.mode:
    loss = torch.compile(loss)
  step = make_step(loss, parameters, device)
  order = np.random.default_rng(0).permutation(r.examples)
  order = order[: len(order) // r.batch_size * r.batch_size]
  order = torch.from_numpy(order.reshape(-1, r.batch_size)).to(device)
  if row.GRAPH in r.mode:
    step = as_graph(step, order[0])
  place = {'step': 0}

  def run(count):
    for _ in range(count):
      place['loss'] = step(order[place['step'] % len(order)])
      place['step'] += 1
    on_device.wait(device)

  return sides.Task(
    run,
    {
      'loss': lambda: float(place['loss']),
      'memory': lambda: on_device.peak_memory(device),
      'arithmetic': lambda: on_device.arithmetic(device, r.dtype),
    },
  )


def make_loss(r: row.Row, device: torch.device) -> tuple[Callable, list]:
  """(examples i [B] -> loss, the student's parameters)."""
  teacher = mobile.make(r.teacher, row.CLASSES).to(device).eval()
  student = mobile.make(r.student, row.CLASSES).to(device).train()
  rng = np.random.default_rng(0)
  shape = r.examples, r.size, r.size, 3
  pixels = torch.from_numpy(rng.integers(0, 256, shape, np.uint8)).to(device)
  labels = torch.arange(r.examples, device=device) % row.CLASSES
  mean, std = (torch.tensor(x, device=device) for x in (row.MEAN, row.STD))
  stored = torch.randn(r.examples, row.CLASSES, device=device) * 4

  def loss(index):
    images = (augment(pixels[index]).float() / 255 - mean) / std
    images = images.permute(0, 3, 1, 2)  # channels_last
    # The cache of casts cannot be captured, and no weight is cast twice.
    with torch.autocast(
      device.type,
      torch.bfloat16,
      enabled=r.dtype == 'bfloat16',
      cache_enabled=False,
    ):
      target = stored[index] if r.stored else twins.ask(teacher, images)
      return twins.hinton(student(images), target, labels[index])

  return loss, list(student.parameters())


def augment(images: torch.Tensor) -> torch.Tensor:
  """Pads, crops at random places and mirrors half: uint8 [B, H, W, C]."""
  count, height, width, _ = images.shape
  device = images.device
  padded = functional.pad(images, (0, 0, row.PAD, row.PAD, row.PAD, row.PAD))
  at = torch.randint(0, 2 * row.PAD + 1, (2, count, 1), device=device)
  rows, columns = (torch.arange(n, device=device) for n in (height, width))
  mirrored = torch.rand(count, 1, device=device) < 0.5
  columns = torch.where(mirrored, columns.flip(0), columns) + at[1]
  rows = rows + at[0]
  each = torch.arange(count, device=device)[:, None, None]
  return padded[each, rows[:, :, None], columns[:, None, :]]


def make_step(loss: Callable, parameters, device: torch.device) -> Callable:
  """examples i [B] -> loss, after a step of SGD."""
  optimizer = torch.optim.SGD(
    parameters,
    lr=settings.SGD_RATE,
    momentum=settings.MOMENTUM,
    weight_decay=row.DECAY,
    fused=device.type == 'cuda',
  )

  def step(index):
    optimizer.zero_grad()
    value = loss(index)
    value.backward()
    optimizer.step()
    return value.detach()

  return step


def as_graph(step: Callable, index: torch.Tensor) -> Callable:
  """The step, captured whole and replayed."""
  held = index.clone()
  state = {}

  def capture():
    # Before the capture all is allocated and tuned, on a stream of its own.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
      for _ in range(4):
        step(held)
    torch.cuda.current_stream().wait_stream(stream)
    state['graph'] = torch.cuda.CUDAGraph()
    with torch.cuda.graph(state['graph']):
      state['loss'] = step(held)

  def replay(index):
    held.copy_(index)
    if not state:
      capture()
    state['graph'].replay()
    return state['loss']

  return replay
