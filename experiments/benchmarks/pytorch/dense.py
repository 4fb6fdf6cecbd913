"""PyTorch's side of segmentation: twins of the U-Nets, and their step."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import settings
from experiments.benchmarks.pytorch import models as torch_models
from experiments.benchmarks.pytorch import networks as twins
from experiments.benchmarks.pytorch import on_device


class UNet(nn.Module):
  """`kd_jax.models.dense.unet.UNet`, its layers named as torch_weights does."""

  def __init__(self, widths: Sequence[int], classes: int):
    super().__init__()
    self.stages = len(widths)
    self.stem = unit(torch_models.conv3(3, widths[0], 2), widths[0])
    for i, (inputs, outputs) in enumerate(
      itertools.pairwise((widths[0], *widths)), 1
    ):
      block = torch_models.Block(inputs, outputs, 1 if i == 1 else 2)
      setattr(self, f'stage{i}', block)
    for i, (outputs, inputs) in enumerate(itertools.pairwise(widths), 1):
      narrow = unit(torch_models.conv1(inputs, outputs), outputs)
      decoder = unit(torch_models.conv3(outputs, outputs), outputs)
      setattr(self, f'narrow{i}', narrow)
      setattr(self, f'decoder{i}', decoder)
    self.classifier = nn.Conv2d(widths[0], classes, 1)

  def forward(self, x):
    x, skips = self.stem(x), []
    for i in range(1, self.stages + 1):
      x = getattr(self, f'stage{i}')(x)
      skips.append(x)
    for i in range(self.stages - 1, 0, -1):
      skip = skips[i - 1]
      x = getattr(self, f'narrow{i}')(x)
      x = skip + functional.interpolate(x, skip.shape[2:])
      x = getattr(self, f'decoder{i}')(x)
    return self.classifier(x)


def unit(conv: nn.Conv2d, width: int) -> nn.Module:
  """A convolution, batch norm, ReLU."""
  return nn.Sequential(conv, torch_models.norm(width), nn.ReLU())


def make(pair: settings.Maps, name: str) -> nn.Module:
  """The twin of the pair's 'teacher' or 'student', channels_last."""
  network = UNet(getattr(pair, name), pair.classes)
  return network.to(memory_format=torch.channels_last)


def batch_of(pair: settings.Maps, seed: int = 0) -> tuple:
  """The images and label maps that kd_jax's side has too."""
  return twins.tensors(*settings.maps(pair, seed))


def loss_of(logits, teacher, labels) -> torch.Tensor:
  """CE + KD at every pixel + CWD on logits, as `our_dense.distilling`.

  Void pixels are out of the first two: a pixel of the logits is void where the
  nearest label, the upper left one, is.
  """
  hard = functional.cross_entropy(
    functional.interpolate(logits, labels.shape[1:], mode='bilinear'),
    labels,
    ignore_index=settings.VOID,
  )
  near = [n // m for n, m in zip(labels.shape[1:], logits.shape[2:])]
  counts = labels[:, :: near[0], :: near[1]] != settings.VOID
  pixels = kl(logits, teacher, 1)[counts].mean()
  t = settings.CHANNELS_TEMPERATURE
  places = (z.flatten(2) / t for z in (logits, teacher))
  channels = t**2 * kl(*places, 2).mean()
  return hard + settings.PIXELS * pixels + settings.CHANNELS * channels


def kl(student, teacher, axis) -> torch.Tensor:
  """KL(softmax(teacher) || softmax(student)) along an axis."""
  logs = (functional.log_softmax(z, axis) for z in (student, teacher))
  return functional.kl_div(*logs, reduction='none', log_target=True).sum(axis)


def make_step(student: nn.Module) -> Callable:
  """(images, labels, teacher's logits) -> loss, after a step of AdamW."""
  adam = torch.optim.AdamW(
    student.parameters(),
    lr=settings.SCENES_RATE,
    weight_decay=settings.SCENES_DECAY,
  )
  return twins.stepping(student, adam, loss_of)


def step_tasks(pair: settings.Maps) -> dict[str, Callable]:
  """{'step', 'student', 'teacher': () -> Task} of the pair."""
  return twins.tasks_of(
    [batch_of(pair, i) for i in range(settings.BATCHES)],
    make(pair, 'teacher').eval(),
    lambda: make_step(make(pair, 'student')),
    on_device.prepare('cpu'),
  )
