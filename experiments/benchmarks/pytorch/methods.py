"""PyTorch's side of the methods' benchmark: the student's step by each."""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import settings, sides
from experiments.benchmarks.pytorch import losses as torch_losses
from experiments.benchmarks.pytorch import networks as twins
from experiments.benchmarks.pytorch import torchdistill


class Stages(nn.Module):
  """`our_methods.Stages`."""

  def __init__(self, channels, widths, classes):
    super().__init__()
    self.widths = widths
    for i, width in enumerate(widths, 1):
      stride = 1 if i == 1 else 2
      conv = nn.Conv2d(channels, width, 3, stride, padding=1)
      setattr(self, f'conv{i}', conv)
      channels = width
    self.fc = nn.Linear(channels, classes)

  def forward(self, x):
    outputs = {}
    for i, _ in enumerate(self.widths, 1):
      pre = getattr(self, f'conv{i}')(x)
      x = functional.relu(pre)
      outputs |= {f'stage{i}_pre': pre, f'stage{i}': x}
    pooled = x.mean((2, 3))
    logits = self.fc(pooled)
    return {**outputs, 'final': x, 'pooled': pooled, 'logits': logits}


def tasks(which: Mapping[str, settings.Pair]) -> dict[str, Callable]:
  """{method: () -> Task}; 'library/METHOD' where torchdistill has it."""
  torch.set_num_threads(sides.THREADS)
  twins = torch_losses.TWINS | {
    f'library/{name}': torch_losses.Twin(loss)
    for name, loss in torchdistill.losses().items()
  }
  pair = which['stages']
  return {
    name: lambda twin=twin: _task(twin, pair) for name, twin in twins.items()
  }


def stages_of(widths, pair: settings.Pair) -> nn.Module:
  """The twin of `our_methods.Stages`."""
  network = Stages(pair.shape[2], widths, pair.classes)
  return network.to(memory_format=torch.channels_last)


def _task(twin, pair):
  images, labels = twins.batch_of(pair)
  student = stages_of(settings.STUDENT_WIDTHS, pair)
  teacher = twins.ask(stages_of(settings.TEACHER_WIDTHS, pair).eval(), images)
  parts = twin.parts().to(memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(
    [*student.parameters(), *parts.parameters()],
    lr=settings.SGD_RATE,
    momentum=settings.MOMENTUM,
  )

  def run(count):
    for _ in range(count):
      outputs = student(images)
      hard = functional.cross_entropy(outputs['logits'], labels)
      loss = (1 - settings.ALPHA) * hard
      loss = loss + twin.loss(parts, outputs, teacher, labels)
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()

  return sides.Task(run)
