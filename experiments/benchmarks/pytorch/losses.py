"""PyTorch twins of methods: the same formulas, written directly.

For methods that are short in both. A loss is (parts, student's outputs,
teacher's outputs, labels) -> scalar; maps are [B, C, H, W], channels_last.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks import settings


class Twin(NamedTuple):
  """A method in PyTorch.

  Attributes:
    loss: see the head of this file.
    parts: () -> what it learns.
  """

  loss: Callable[..., torch.Tensor]
  parts: Callable[[], nn.Module] = nn.Identity


def kl(teacher, student, t):
  """KL(softmax(teacher / t) || softmax(student / t)), mean of the batch."""
  return functional.kl_div(
    functional.log_softmax(student / t, 1),
    functional.softmax(teacher / t, 1),
    reduction='batchmean',
  )


def on_logits(loss):
  return Twin(lambda parts, s, t, y: loss(s['logits'], t['logits'], y))


def on_layers(name, loss, parts=None):
  """The sum of loss(parts of the pair, student's, teacher's) over the pairs."""
  layers = settings.entry(name).options['layers']

  def total(made, s, t, labels):
    made = made if parts else [None] * len(layers)
    return sum(loss(part, s[a], t[b]) for part, (a, b) in zip(made, layers))

  def make():
    return nn.ModuleList(parts(*_widths(a, b)) for a, b in layers)

  return Twin(total, make) if parts else Twin(total)


def _widths(ours, theirs):
  """Channels of a layer of the student and of one of the teacher."""
  index = [3 if x in ('pooled', 'final') else int(x[5]) for x in (ours, theirs)]
  return (
    settings.STUDENT_WIDTHS[index[0] - 1],
    settings.TEACHER_WIDTHS[index[1] - 1],
  )


def kd(s, t, labels):
  return 16 * kl(t, s, 4)


def lskd(s, t, labels):
  s, t = (
    (z - z.mean(1, True)) / (z.std(1, keepdim=True) + 1e-7) for z in (s, t)
  )
  return 4 * kl(t, s, 2)


def dkd(s, t, labels):
  hot = functional.one_hot(labels, s.shape[1]).bool()
  p_s, p_t = (functional.softmax(z / 4, 1)[hot] for z in (s, t))
  pair_s, pair_t = (torch.stack([p, 1 - p], 1) for p in (p_s, p_t))
  target = functional.kl_div(pair_s.log(), pair_t, reduction='batchmean')
  others = kl(t.masked_fill(hot, -1e4), s.masked_fill(hot, -1e4), 4)
  return 16 * (target + 8 * others)


def nkd(s, t, labels):
  hot = functional.one_hot(labels, s.shape[1]).bool()
  p_t = functional.softmax(t, 1)[hot]
  target = -(p_t * functional.log_softmax(s, 1)[hot]).mean()
  q_s = functional.log_softmax(s.masked_fill(hot, -1e4), 1)
  q_t = functional.softmax(t.masked_fill(hot, -1e4), 1)
  return target - 1.5 * (q_t * q_s).sum(1).mean()


def dist(s, t, labels):
  p, q = functional.softmax(s, 1), functional.softmax(t, 1)

  def apart(a, b):
    a, b = a - a.mean(1, True), b - b.mean(1, True)
    return 1 - functional.cosine_similarity(a, b).mean()

  return apart(p, q) + apart(p.T, q.T)


def at(_, s, t):
  s, t = (functional.normalize((x**2).mean(1).flatten(1)) for x in (s, t))
  return functional.mse_loss(s, t)


def nst(_, s, t):
  s, t = (functional.normalize(x.flatten(2), dim=2) for x in (s, t))

  def kernel(a, b):
    return ((a @ b.transpose(1, 2)) ** 2).mean((1, 2))

  return (kernel(s, s) + kernel(t, t) - 2 * kernel(s, t)).mean()


def mse(part, s, t):
  return functional.mse_loss(part(s), t)


def cosine(part, s, t):
  return 1 - functional.cosine_similarity(part(s), t).mean()


def pointwise(a, b):
  return nn.Conv2d(a, b, 1)


def regressor(a, b):
  return nn.Sequential(
    nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()
  )


class Gaussian(nn.Module):
  """VID's mean and variance."""

  def __init__(self, a, b):
    super().__init__()
    convs = [nn.Conv2d(x, b, 1, bias=False) for x in (a, b, b)]
    self.mean = nn.Sequential(
      convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2]
    )
    self.raw = nn.Parameter(torch.full((b,), math.log(math.expm1(5 - 1e-5))))

  def forward(self, x):
    return self.mean(x), functional.softplus(self.raw) + 1e-5


def vid(part, s, t):
  mean, variance = part(s)
  variance = variance[None, :, None, None]
  return (((mean - t) ** 2) / variance + variance.log()).mean() / 2


def sp(_, s, t):
  s, t = (x.flatten(1) for x in (s, t))
  s, t = (functional.normalize(x @ x.T) for x in (s, t))
  return ((s - t) ** 2).mean()


def pkt(_, s, t):
  def neighbors(x):
    x = x / (x.norm(dim=1, keepdim=True) + 1e-7)
    p = (x @ x.T + 1) / 2
    return p / p.sum(1, True)

  p_s, p_t = neighbors(s), neighbors(t)
  return (p_t * ((p_t + 1e-7) / (p_s + 1e-7)).log()).mean()


def rkd_distance(_, s, t):
  def ratios(x):
    # The diagonal is 0 and would have no gradient.
    square = (x[:, None] - x[None]).pow(2).sum(2)
    d = square.clamp(min=1e-12).sqrt() * (square > 0)
    return d / d[d > 0].mean()

  return functional.smooth_l1_loss(ratios(s), ratios(t))


def rkd_angle(_, s, t):
  def cosines(x):
    gaps = functional.normalize(x[None] - x[:, None], dim=2)
    return gaps @ gaps.transpose(1, 2)

  return functional.smooth_l1_loss(cosines(s), cosines(t))


def rkd(_, s, t):
  return 25 * rkd_distance(_, s, t) + 50 * rkd_angle(_, s, t)


def both_linear(a, b):
  return nn.ModuleList([nn.Linear(a, 128), nn.Linear(b, 128)])


def cc(part, s, t):
  gap = (part[0](s) - part[1](t)).abs()
  return (gap[:-1] * gap[1:]).sum(1).mean()


def info_nce(part, s, t):
  s, t = functional.normalize(part[0](s)), functional.normalize(part[1](t))
  labels = torch.arange(len(s))
  return functional.cross_entropy(s @ t.T / 0.07, labels)


TWINS = {
  'cross_entropy': Twin(lambda parts, s, t, y: torch.zeros(())),
  **{f.__name__: on_logits(f) for f in (kd, lskd, dkd, nkd, dist)},
  **{
    f.__name__: on_layers(f.__name__, f)
    for f in (at, nst, sp, pkt, rkd, rkd_distance, rkd_angle)
  },
  'fitnet': on_layers('fitnet', mse, regressor),
  'feature_mse': on_layers('feature_mse', mse, pointwise),
  'feature_cosine': on_layers('feature_cosine', cosine, pointwise),
  'vid': on_layers('vid', vid, Gaussian),
  'cc': on_layers('cc', cc, both_linear),
  'info_nce': on_layers('info_nce', info_nce, both_linear),
}
