"""PyTorch's side of the benchmark of a sweep: a setting, start to end."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import settings
from experiments.benchmarks.pytorch import networks as twins
from experiments.benchmarks.pytorch import on_device


def train(
  point, data, epochs: int, batch_size: int, device: str = 'cpu'
) -> float:
  """Trains cnn_student by a setting; the accuracy on test.

  Args:
    point: (T, alpha, beta).
    data: 'x' uint8 [N, H, W, 1], 'y', 'test_x', 'test_y'.
    epochs, batch_size: of the training.
    device: on which data, networks and the loop are.
  """
  place = on_device.prepare(device)
  temperature, alpha, beta = point
  teacher, student = (
    twins.teacher_of(settings.CNNS).to(place),
    twins.student_of(settings.CNNS).to(place),
  )
  adapter = nn.Conv2d(32, 128, 1).to(place)
  optimizer = torch.optim.Adam(
    [*student.parameters(), *adapter.parameters()], lr=settings.ADAM_RATE
  )
  images = images_of(data['x']).to(place)
  labels = torch.from_numpy(data['y']).long().to(place)
  for _ in range(epochs):
    order = torch.randperm(len(labels), device=place)
    for at in range(0, len(order) - batch_size + 1, batch_size):
      index = order[at : at + batch_size]
      x, y = images[index], labels[index]
      with torch.no_grad():
        wanted = teacher.features(x)
        target = teacher.classifier(wanted.flatten(1))
      maps = student.features(x)
      logits = student.classifier(maps.flatten(1))
      soft = functional.kl_div(
        functional.log_softmax(logits / temperature, 1),
        functional.softmax(target / temperature, 1),
        reduction='batchmean',
      )
      loss = (
        alpha * temperature**2 * soft
        + (1 - alpha) * functional.cross_entropy(logits, y)
        + beta * functional.mse_loss(adapter(maps), wanted)
      )
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()
  return accuracy(student.eval(), data, place)


def accuracy(network: nn.Module, data, place: torch.device) -> float:
  """The share of test images that are right."""
  images, labels = images_of(data['test_x']).to(place), data['test_y']
  with torch.no_grad():
    parts = [network(x).argmax(1) for x in images.split(256)]
  return float(np.mean(torch.cat(parts).cpu().numpy() == labels))


def images_of(pixels: np.ndarray) -> torch.Tensor:
  """f32 [N, 1, H, W] in [0, 1], channels_last."""
  x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
  return (x.float() / 255).to(memory_format=torch.channels_last)
