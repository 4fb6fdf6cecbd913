"""Rungs below `cifar100.py`: what of its order fewer hours show.

The argument is METHOD[@RUNG]; METHOD is 'alone' or one of
METHODS, RUNG one of

- `minutes` (the default): resnet20 teaches resnet8 on images scaled to 16x16,
  24,000 of them; 8 epochs of the teacher, 2 of the students, three seeds;
  5,000 other images validate.
- `tenth`: resnet56 teaches resnet20 on all 50,000 images, 24 epochs each in
  place of 240.

The top rung is `cifar100.py` itself. Both keep of it: batches of 64, SGD,
decay, crop and flip, first weights, the shares of the run at which the rate
falls, all weights and temperatures of resnet56 and resnet20 (their source's;
of `minutes` there is none), and the share of the run in which DKD's and
ReviewKD's weights rise, 20 of 240 epochs. Different on purpose: all methods
train alike, ReviewKD too, whose authors take batches of 128 at twice the rate.
Nothing is tuned; the first command says on validation what other rates make of
the student alone, the second one trains the teacher and the students alone once
for all methods:

  python -m experiments.launch --workdir runs/ladder_rates --sweep rates \
    --config experiments/configs/cifar100_ladder.py:alone \
    --config.data.raw_dir=DIR --config.seeds=1
  python -m experiments.launch --workdir runs/ladder --sweep methods \
    --config experiments/configs/cifar100_ladder.py --config.data.raw_dir=DIR
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.configs import cifar100, weights
from kd_jax import config, sweep

SOURCE = ('resnet56', 'resnet20')  # the pair whose weights all rungs have
METHODS = ('kd', 'at', 'dkd', 'review_kd')  # of the ladder
ALONE = 'alone'  # without a teacher


class Rung(NamedTuple):
  """What a rung changes.

  Attributes:
    teacher, student: names of networks.
    teacher_epochs, epochs: passes over the images of each.
    seeds: of the students.
    learning_rate: of both networks.
    pad: pixels that the crop may shift by.
    data: options of the data set.
  """

  teacher: str
  student: str
  teacher_epochs: int
  epochs: int
  seeds: int
  learning_rate: float
  pad: int
  data: Mapping[str, Any]


RUNGS = {
  'minutes': Rung(
    'resnet20', 'resnet8', 8, 2, 3, 0.05, 2,
    dict(size=16, limit=24_000, validation=5_000),
  ),
  'tenth': Rung(*SOURCE, 24, 24, 1, 0.05, 4, dict(validation=0)),
}  # fmt: skip


def get_config(arg: str = 'kd'):
  """`arg` is METHOD[@RUNG]."""
  name, rung = parts_of(arg)
  c = config.default()
  c.seeds = rung.seeds
  c.data = dict(name='cifar100', seed=0, **rung.data)
  c.networks.student = dict(name=rung.student, init=cifar100.INIT)
  _train(c.train, rung, rung.epochs)
  _train(c.teacher, rung, rung.teacher_epochs)
  if name == ALONE:
    c.baseline = False
    c.terms.hard = dict(method='cross_entropy', weight=1.0)
    return c
  c.networks.teacher = dict(name=rung.teacher, init=cifar100.INIT, load='')
  loss = weights.loss_of(name, *SOURCE)
  # A warm-up is a share of the run: that of the whole recipe.
  cifar100.add_terms(c, loss, rung.teacher, cifar100.USUAL['epochs'], 0)
  return c


def parts_of(arg: str) -> tuple[str, Rung]:
  """The method of an argument, and its rung."""
  name, at, rung = arg.partition('@')
  config.one_of(name, *METHODS, ALONE)
  if at:
    config.one_of(rung, *RUNGS)
  return name or METHODS[0], RUNGS[rung or 'minutes']


def _train(part, rung: Rung, epochs: int) -> None:
  """The usual training in fewer epochs."""
  share = epochs / cifar100.USUAL['epochs']
  usual = dict(
    cifar100.USUAL,
    epochs=epochs,
    learning_rate=rung.learning_rate,
    augment=(dict(name='pad_crop', pad=rung.pad), 'flip'),
  )
  decays = [share * epoch for epoch in cifar100.DECAYS]
  cifar100.train(part, weights.Training(), usual, decays)


def sweep_methods():
  """The ladder's methods; they share the teacher and the students alone."""
  return sweep.grid('arg', *METHODS)


def sweep_tenth():
  """The same on the rung above."""
  return sweep.grid('arg', *(f'{name}@tenth' for name in METHODS))


def sweep_rates():
  """Rates of the student alone: `cifar100_ladder.py:alone`."""
  return sweep.grid('train.optimizer.learning_rate', 0.05, 0.1, 0.2)
