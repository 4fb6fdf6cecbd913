"""PyTorch twins of MobileNetV2 and ShuffleNetV2, and the side that times all.

Layers are named as in `pair_models`.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import settings, sides
from experiments.benchmarks.pytorch import models as torch_models
from experiments.benchmarks.pytorch import networks as twins
from experiments.benchmarks.pytorch import on_device

# (width, blocks, stride) of the groups of MobileNetV2 at half width.
GROUPS = (
  (8, 1, 1), (12, 2, 1), (16, 3, 2), (32, 4, 2), (48, 3, 1), (80, 3, 2),
  (160, 1, 1),
)  # fmt: skip
EXPANSION = 6
STAGES = ((116, 4), (232, 8), (464, 4))


class Inverted(nn.Module):
  """1x1 widening, 3x3 per channel, 1x1 narrowing."""

  def __init__(self, inputs, outputs, stride, expansion):
    super().__init__()
    wide, norm = inputs * expansion, torch_models.norm
    self.adds = stride == 1 and inputs == outputs
    self.conv = nn.Sequential(
      torch_models.conv1(inputs, wide),
      norm(wide),
      nn.ReLU(),
      per_channel(wide, stride),
      norm(wide),
      nn.ReLU(),
      torch_models.conv1(wide, outputs),
      norm(outputs),
    )

  def forward(self, x):
    return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
  """`kd_jax.models.mobilenet.mobilenet_v2` at its half width."""

  def __init__(self, classes: int):
    super().__init__()
    norm, inputs, groups = torch_models.norm, 16, []
    self.conv1 = nn.Sequential(
      torch_models.conv3(3, 16, 2), norm(16), nn.ReLU()
    )
    for i, (width, count, stride) in enumerate(GROUPS):
      blocks = []
      for j in range(count):
        expansion = EXPANSION if i else 1
        blocks.append(
          Inverted(inputs, width, stride if j == 0 else 1, expansion)
        )
        inputs = width
      groups.append(nn.Sequential(*blocks))
    self.blocks = nn.Sequential(*groups)
    self.conv2 = nn.Sequential(
      torch_models.conv1(inputs, 1280), norm(1280), nn.ReLU()
    )
    self.classifier = nn.Sequential(nn.Linear(1280, classes))

  def forward(self, x):
    x = self.conv2(self.blocks(self.conv1(x)))
    return self.classifier(torch_models.pooled(x))


class Unit(nn.Module):
  """ShuffleNetV2's unit: one branch passes or is convolved, one is."""

  def __init__(self, inputs, outputs, down):
    super().__init__()
    half, norm = outputs // 2, torch_models.norm
    self.down = down
    plan = [('right', inputs if down else half)]
    if down:
      plan.insert(0, ('left', inputs))
    place = 1
    for side, width in plan:
      layers = [] if side == 'left' else [torch_models.conv1(width, half)]
      wide = width if side == 'left' else half
      layers += [
        per_channel(wide, 2 if down else 1),
        torch_models.conv1(wide, half),
      ]
      for layer in layers:
        setattr(self, f'conv{place}', layer)
        setattr(self, f'bn{place}', norm(layer.out_channels))
        place += 1

  def step(self, x, place):
    return getattr(self, f'bn{place}')(getattr(self, f'conv{place}')(x))

  def forward(self, x):
    if self.down:
      left, right, at = functional.relu(self.step(self.step(x, 1), 2)), x, 3
    else:
      (left, right), at = x.chunk(2, 1), 1
    right = functional.relu(self.step(right, at))
    right = functional.relu(self.step(self.step(right, at + 1), at + 2))
    x = torch.cat([left, right], 1)
    return functional.channel_shuffle(x, 2)


class ShuffleNetV2(nn.Module):
  """`kd_jax.models.shufflenet.shufflenet_v2`."""

  def __init__(self, classes: int):
    super().__init__()
    norm, inputs = torch_models.norm, 24
    self.conv1, self.bn1 = torch_models.conv1(3, 24), norm(24)
    for i, (width, count) in enumerate(STAGES, 1):
      units = [Unit(inputs, width, True)]
      units += [Unit(width, width, False) for _ in range(count - 1)]
      setattr(self, f'layer{i}', nn.Sequential(*units))
      inputs = width
    self.conv2, self.bn2 = torch_models.conv1(inputs, 1024), norm(1024)
    self.linear = nn.Linear(1024, classes)

  def forward(self, x):
    x = functional.relu(self.bn1(self.conv1(x)))
    x = self.layer3(self.layer2(self.layer1(x)))
    x = functional.relu(self.bn2(self.conv2(x)))
    return self.linear(torch_models.pooled(x))


def per_channel(channels: int, stride: int) -> nn.Conv2d:
  """3x3, each channel by itself."""
  return nn.Conv2d(
    channels, channels, 3, stride, 1, groups=channels, bias=False
  )


MODELS = {
  'resnet32x4': torch_models.resnet(32, 4),
  'resnet8x4': torch_models.resnet(8, 4),
  'resnet56': torch_models.resnet(56),
  'resnet20': torch_models.resnet(20),
  'resnet8': torch_models.resnet(8),
  'wrn_40_2': torch_models.wrn(40, 2),
  'wrn_16_2': torch_models.wrn(16, 2),
  'vgg13': torch_models.vgg(13),
  'vgg8': torch_models.vgg(8),
  'mobilenet_v2': MobileNetV2,
  'shufflenet_v2': ShuffleNetV2,
}


def make(name: str, classes: int) -> nn.Module:
  """The twin of the network of that name, channels_last."""
  network = MODELS[name](classes)
  return network.to(memory_format=torch.channels_last)


def make_step(student: nn.Module, teacher: nn.Module) -> Callable:
  """(images, labels) -> loss, after the teacher's forward and a step of SGD."""
  sgd = torch.optim.SGD(
    student.parameters(), lr=settings.SGD_RATE, momentum=settings.MOMENTUM
  )
  step = twins.stepping(student, sgd, twins.hinton)
  return lambda images, labels: step(images, labels, twins.ask(teacher, images))


def tasks(pair: settings.Pair, device: str = 'cpu') -> dict[str, Callable]:
  """{'step', 'student', 'teacher': () -> Task}: see `our_models.tasks`."""
  place = on_device.prepare(device)
  images, labels = (x.to(place) for x in twins.batch_of(pair))

  def repeated(function):
    def run(count):
      for _ in range(count):
        function()
      on_device.wait(place)

    return sides.Task(run)

  def forward(name):
    network = make(name, pair.classes).to(place).eval()
    return repeated(lambda: twins.ask(network, images))

  def step():
    made = make_step(
      make(pair.student, pair.classes).to(place).train(),
      make(pair.teacher, pair.classes).to(place).eval(),
    )
    return repeated(lambda: made(images, labels))

  return {
    'step': step,
    'student': lambda: forward(pair.student),
    'teacher': lambda: forward(pair.teacher),
  }
