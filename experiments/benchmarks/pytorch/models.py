"""PyTorch twins of the zoo's ResNets, wide ResNets and VGGs.

Their layers have the names that `kd_jax.models.torch_weights` knows, so that
a test can give both sides the same weights. Written plainly: eager, as one
writes PyTorch.
"""

import itertools

from torch import nn
from torch.nn import functional

VGG = {
  8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2),
}  # fmt: skip
VGG_WIDTHS = (64, 128, 256, 512, 512)


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
  """3x3, padded, no bias."""
  return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def conv1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
  """1x1, no bias."""
  return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


def pooled(x):
  """The mean over space: [B, C, H, W] -> [B, C]."""
  return functional.adaptive_avg_pool2d(x, 1).flatten(1)


class Block(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  def __init__(self, inputs, outputs, stride):
    super().__init__()
    self.conv1, self.bn1 = conv3(inputs, outputs, stride), norm(outputs)
    self.conv2, self.bn2 = conv3(outputs, outputs), norm(outputs)
    self.downsample = None
    if stride != 1 or inputs != outputs:
      self.downsample = nn.Sequential(
        conv1(inputs, outputs, stride), norm(outputs)
      )

  def forward(self, x):
    y = functional.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    short = x if self.downsample is None else self.downsample(x)
    return functional.relu(y + short)


class ResNet(nn.Module):
  """CIFAR's ResNet of depth 6n + 2."""

  def __init__(self, depth: int, widths, classes: int):
    super().__init__()
    self.conv1, self.bn1 = conv3(3, widths[0]), norm(widths[0])
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
      blocks = [Block(inputs, outputs, 1 if i == 1 else 2)]
      blocks += [
        Block(outputs, outputs, 1) for _ in range((depth - 2) // 6 - 1)
      ]
      setattr(self, f'layer{i}', nn.Sequential(*blocks))
    self.fc = nn.Linear(widths[-1], classes)

  def forward(self, x):
    x = functional.relu(self.bn1(self.conv1(x)))
    x = self.layer3(self.layer2(self.layer1(x)))
    return self.fc(pooled(x))


class WideBlock(nn.Module):
  """Norm and ReLU before each of two 3x3 convolutions."""

  def __init__(self, inputs, outputs, stride):
    super().__init__()
    self.bn1, self.conv1 = norm(inputs), conv3(inputs, outputs, stride)
    self.bn2, self.conv2 = norm(outputs), conv3(outputs, outputs)
    self.convShortcut = (
      conv1(inputs, outputs, stride) if inputs != outputs else None
    )

  def forward(self, x):
    normed = functional.relu(self.bn1(x))
    y = functional.relu(self.bn2(self.conv1(normed)))
    short = x if self.convShortcut is None else self.convShortcut(normed)
    return self.conv2(y) + short


class Stage(nn.Module):
  """Wide blocks, the first with the stride."""

  def __init__(self, count, inputs, outputs, stride):
    super().__init__()
    blocks = [WideBlock(inputs, outputs, stride)]
    blocks += [WideBlock(outputs, outputs, 1) for _ in range(count - 1)]
    self.layer = nn.Sequential(*blocks)

  def forward(self, x):
    return self.layer(x)


class WideResNet(nn.Module):
  """WRN-depth-width."""

  def __init__(self, depth: int, width: int, classes: int):
    super().__init__()
    count, widths = (depth - 4) // 6, (16, 16 * width, 32 * width, 64 * width)
    self.conv1 = conv3(3, 16)
    self.block1 = Stage(count, widths[0], widths[1], 1)
    self.block2 = Stage(count, widths[1], widths[2], 2)
    self.block3 = Stage(count, widths[2], widths[3], 2)
    self.bn1, self.fc = norm(widths[3]), nn.Linear(widths[3], classes)

  def forward(self, x):
    x = self.block3(self.block2(self.block1(self.conv1(x))))
    return self.fc(pooled(functional.relu(self.bn1(x))))


class Vgg(nn.Module):
  """VGG with batch norm for 32x32 images: three pools, one linear layer."""

  def __init__(self, depth: int, classes: int):
    super().__init__()
    inputs = 3
    for i, (count, width) in enumerate(zip(VGG[depth], VGG_WIDTHS)):
      layers = []
      for _ in range(count):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), norm(width)]
        layers.append(nn.ReLU())
        inputs = width
      setattr(self, f'block{i}', nn.Sequential(*layers))
    self.classifier = nn.Linear(VGG_WIDTHS[-1], classes)

  def forward(self, x):
    for i in range(5):
      x = getattr(self, f'block{i}')(x)
      x = functional.max_pool2d(x, 2) if i < 3 else x
    return self.classifier(pooled(x))


def norm(channels: int) -> nn.BatchNorm2d:
  """Batch norm with PyTorch's defaults."""
  return nn.BatchNorm2d(channels)


def resnet(depth: int, width: int = 1):
  """Maker of `kd_jax.models.resnet.cifar(depth, width)`."""
  widths = (16, 16, 32, 64) if width == 1 else (32, 64, 128, 256)
  return lambda classes: ResNet(depth, widths, classes)


def wrn(depth: int, width: int):
  """Maker of `kd_jax.models.wide_resnet.wrn(depth, width)`."""
  return lambda classes: WideResNet(depth, width, classes)


def vgg(depth: int):
  """Maker of `kd_jax.models.vgg.vgg(depth)`."""
  return lambda classes: Vgg(depth, classes)
