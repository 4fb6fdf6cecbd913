"""PyTorch twins of the networks, and a plain loop over the same steps.

Written as one writes PyTorch: eager, channels_last, default options.
"""

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import settings, sides
from experiments.benchmarks.pytorch import on_device


def convolutions(channels: int, blocks: Sequence[Sequence[int]]) -> nn.Module:
  """Blocks of 3x3 convolutions with ReLU, each block pooled."""
  layers = []
  for widths in blocks:
    for width in widths:
      layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
      channels = width
    layers.append(nn.MaxPool2d(2))
  return nn.Sequential(*layers)


class Cnn(nn.Module):
  """`kd_jax.models.cnn.CNN`, its layers named as torch_weights names them."""

  def __init__(
    self, shape, blocks, hidden, classes, dropout: float | None = None
  ):
    super().__init__()
    self.features = convolutions(shape[2], blocks)
    shrunk = 2 ** len(blocks)
    width = (shape[0] // shrunk) * (shape[1] // shrunk) * blocks[-1][-1]
    layers = []
    for size in hidden:
      layers += [] if dropout is None else [nn.Dropout(dropout)]
      layers += [nn.Linear(width, size), nn.ReLU()]
      width = size
    self.classifier = nn.Sequential(*layers, nn.Linear(width, classes))

  def forward(self, x):
    return self.classifier(self.features(x).flatten(1))


def teacher_of(pair: settings.Pair) -> nn.Module:
  """cnn_teacher, to be asked and not trained."""
  blocks = ((64, 64), (128, 128))
  network = Cnn(pair.shape, blocks, (512, 256), pair.classes, 0.5)
  return network.to(memory_format=torch.channels_last).eval()


def student_of(pair: settings.Pair) -> nn.Module:
  """cnn_student."""
  network = Cnn(pair.shape, ((16,), (32,)), (64,), pair.classes)
  return network.to(memory_format=torch.channels_last).train()


def batch_of(pair: settings.Pair, seed: int = 0) -> tuple:
  """The images and labels that kd_jax's side has too."""
  return tensors(*settings.examples(pair, seed))


def tensors(images: np.ndarray, labels: np.ndarray) -> tuple:
  """Images [B, H, W, C] as [B, C, H, W], channels_last; labels as integers."""
  images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
  images = torch.from_numpy(images).to(memory_format=torch.channels_last)
  return images, torch.from_numpy(labels).long()


def hinton(logits, teacher, labels) -> torch.Tensor:
  """alpha T^2 KL + (1 - alpha) CE."""
  t = settings.TEMPERATURE
  soft = functional.kl_div(
    functional.log_softmax(logits / t, 1),
    functional.softmax(teacher / t, 1),
    reduction='batchmean',
  )
  hard = functional.cross_entropy(logits, labels)
  return settings.ALPHA * t**2 * soft + (1 - settings.ALPHA) * hard


def make_step(student: nn.Module) -> Callable:
  """(images, labels, teacher's logits) -> loss, after a step of Adam."""
  adam = torch.optim.Adam(student.parameters(), lr=settings.ADAM_RATE)
  return stepping(student, adam, hinton)


def stepping(
  student: nn.Module, optimizer: torch.optim.Optimizer, loss_of: Callable
) -> Callable:
  """(images, labels, teacher's logits) -> loss, after a step.

  Args:
    student: that learns.
    optimizer: of its parameters.
    loss_of: (logits, teacher's logits, labels) -> loss.
  """

  def step(images, labels, logits):
    loss = loss_of(student(images), logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()

  return step


def ask(teacher: nn.Module, images: torch.Tensor) -> torch.Tensor:
  """The teacher's logits, without a graph."""
  with torch.no_grad():
    return teacher(images)


def step_tasks(pair: settings.Pair, device: str = 'cpu') -> dict[str, Callable]:
  """{'step', 'student', 'teacher': () -> Task} of the pair."""
  device = on_device.prepare(device)
  batches = [
    tuple(x.to(device) for x in batch_of(pair, i))
    for i in range(settings.BATCHES)
  ]
  return tasks_of(
    batches,
    teacher_of(pair).to(device),
    lambda: make_step(student_of(pair).to(device)),
    device,
  )


def tasks_of(
  batches: list, teacher: nn.Module, make: Callable, device: torch.device
) -> dict[str, Callable]:
  """{'step', 'student', 'teacher': () -> Task}, the batches in turns.

  Args:
    batches: (images, labels) on the device.
    teacher: in evaluation.
    make: () -> (images, labels, teacher's logits) -> loss, after a step.
    device: that is waited for.
  """

  def over(function, given):
    turns = itertools.cycle(given)

    def run(count):
      for each in itertools.islice(turns, count):
        function(*each)
      on_device.wait(device)

    return sides.Task(run)

  def whole():
    step = make()
    return over(lambda x, y: step(x, y, ask(teacher, x)), batches)

  return {
    'step': whole,
    'student': lambda: over(
      make(), [(x, y, ask(teacher, x)) for x, y in batches]
    ),
    'teacher': lambda: over(lambda x, y: ask(teacher, x), batches),
  }


def first_step(pair: settings.Pair, device: str = 'cpu') -> dict[str, float]:
  """Seconds of building all that the first step needs, and of that step."""
  begun = time.perf_counter()
  device = on_device.prepare(device)
  images, labels = (x.to(device) for x in batch_of(pair))
  teacher = teacher_of(pair).to(device)
  step = make_step(student_of(pair).to(device))
  built = time.perf_counter()
  step(images, labels, ask(teacher, images))
  on_device.wait(device)
  return {'build': built - begun, 'first': time.perf_counter() - built}
