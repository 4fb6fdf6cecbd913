"""Every method's terms with their published weights, by pair.

Weights, layers and warm-ups are those of RepDistiller's and CTKD's scripts,
and of the configurations of mdistiller, CAT-KD and logit-standardization-KD;
the values of the latter that are in no file are read off the names of its
logs. SimKD's code has `simkd` and `srrl`. Where a pair has none of its own, a
method has the same for all.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kd_jax import types

EPOCHS = 240


class Loss(NamedTuple):
  """The terms of a method.

  Attributes:
    method: in `kd_jax.methods.METHODS`.
    weight: of its term.
    layers: what it reads, a key of `pairs.layers_of`; '' for the logits.
    options: of the method.
    hard: weight of the cross-entropy.
    warmup: epochs over which the weight rises from 0.
    first: epochs of the method alone, before the labels alone.
    more: further terms, {name: dict(method, ..)}.
    training: what else it changes: epochs, learning_rate, augment.
  """

  method: str
  weight: float = 1.0
  layers: str = ''
  options: Mapping[str, Any] = {}
  hard: float = 1.0
  warmup: int = 0
  first: int = 0
  more: Mapping[str, Mapping] = {}
  training: Mapping[str, Any] = {}


def _soft(method, **options):
  """(1 - 0.9) CE + 0.9 of it."""
  return Loss(method, 0.9, options=options, hard=0.1)


_AFTER_LS = dict(temperatures=(2.0, 3.0, 5.0, 2.0, 6.0))


def _levels(weight, options, strong, more=None):
  """MLKD: cross-entropy and the instance level on a strong view as well.

  Args:
    weight: of the levels on the weak view; the masks of the code are a factor
      of 1/2 in it (see MLKD in `cifar100`).
    options: of `mlld` there.
    strong: weight and options of the instance level on the strong view.
    more: further terms.
  """
  one = dict(class_weight=0.0, batch_weight=0.0, student='student@strong')
  more = {
    **(more or {}),
    'hard_strong': dict(
      method='cross_entropy', weight=0.1, student='student@strong'
    ),
    'strong': dict(method='mlld', teacher='teacher@strong', **one, **strong),
  }
  training = {'epochs': 480, 'learning_rate': 0.025, 'augment': ('two_view',)}
  return Loss('mlld', weight, '', options, 0.1, more=more, training=training)


CIFAR100 = {
  'kd': _soft('kd', temperature=4.0),
  'fitnet': Loss('fitnet', 100.0, 'hint'),
  'at': Loss('at', 1000.0, 'stages'),
  'sp': Loss('sp', 3000.0, 'last'),
  'cc': Loss('cc', 0.02, 'pooled'),
  'vid': Loss('vid', 1.0, 'stages'),
  'rkd': Loss('rkd', 1.0, 'pooled'),
  'pkt': Loss('pkt', 30000.0, 'pooled'),
  'ab': Loss('ab', 1.0, 'pre', first=30),
  'ft': Loss('ft', 200.0, 'last', {'paraphraser_steps': 30}),
  'fsp': Loss('fsp', 50.0, 'flow', first=30),
  'nst': Loss('nst', 50.0, 'stages'),
  'crd': Loss('crd', 0.8, 'pooled'),
  'kdsvd': Loss('kdsvd', 1.0, 'stages'),
  'ofd': Loss('ofd', 0.001, 'pre'),
  'review_kd': Loss('review_kd', 1.0, 'review', warmup=20),
  'cat_kd': Loss('cat_kd', 400.0, 'final'),
  'simkd': Loss('simkd', 1.0, 'final', hard=0.0),
  'srrl': Loss(
    'srrl', 1.0, 'final',
    more={'logits': dict(method='kd', weight=1.0, temperature=4.0)},
  ),
  'ctkd': _soft('ctkd', decay_steps=10),
  'dkd': Loss('dkd', options={'temperature': 4.0, 'beta': 8.0}, warmup=20),
  'dist': Loss('dist'),
  'mlkd': _levels(0.45, {}, dict(weight=0.9)),
  'kd+ls': Loss('lskd', 9.0, options={'temperature': 2.0}, hard=0.1),
  'ctkd+ls': Loss(
    'ctkd', 9.0, options={'decay_steps': 10, 'standardize': True}, hard=0.1
  ),
  'dkd+ls': Loss(
    'dkd', warmup=20, options={
      'temperature': 4.0, 'alpha': 9.0, 'beta': 81.0, 'standardize': True
    },
  ),
  'mlkd+ls': _levels(
    4.5, {
      **_AFTER_LS, 'standardize': True, 'class_weight': 0.0,
      'batch_weight': 0.0,
    },
    dict(weight=9.0, standardize=True, **_AFTER_LS),
    {'levels': dict(
      method='mlld', weight=4.5, instance_weight=0.0, **_AFTER_LS
    )},
  ),
}  # fmt: skip

# The settings of the methods above that differ by pair.
_DKD_BETA = {
  ('resnet56', 'resnet20'): 2.0,
  ('resnet110', 'resnet32'): 2.0,
  ('wrn_40_2', 'wrn_16_2'): 6.0,
  ('wrn_40_2', 'wrn_40_1'): 6.0,
  ('vgg13', 'vgg8'): 6.0,
  ('vgg13', 'mobilenet_v2'): 6.0,
}
_LSKD = {  # temperature, weight
  ('vgg13', 'vgg8'): (3.0, 9.0),
  ('vgg13', 'mobilenet_v2'): (3.0, 9.0),
  ('resnet50', 'mobilenet_v2'): (3.0, 1.0),
  ('resnet110', 'resnet20'): (4.0, 12.0),
}
_CAT = {  # weight, resolution, normalize
  ('wrn_40_2', 'wrn_16_2'): (12.0, 2, False),
  ('wrn_40_2', 'wrn_40_1'): (1.5, 2, False),
  ('resnet56', 'resnet20'): (0.7, 2, False),
  ('resnet110', 'resnet32'): (1.8, 2, False),
  ('resnet32x4', 'resnet8x4'): (15.0, 2, False),
  ('vgg13', 'vgg8'): (4.5, 2, False),
  ('vgg13', 'mobilenet_v2'): (15.0, 2, True),
  ('resnet50', 'mobilenet_v2'): (40.0, 2, True),
  ('resnet32x4', 'shufflenet_v1'): (600.0, 4, True),
  ('resnet32x4', 'shufflenet_v2'): (600.0, 4, True),
  ('wrn_40_2', 'shufflenet_v1'): (80.0, 4, True),
}

_R34, _R50 = 'imagenet_resnet34', 'imagenet_resnet50'
IMAGENET = {
  'kd': Loss('kd', 0.5, options={'temperature': 1.0}, hard=0.5),
  'at': CIFAR100['at'],
  'ofd': CIFAR100['ofd'],
  'crd': CIFAR100['crd'],
  'review_kd': Loss('review_kd', 1.0, 'review_pre', warmup=1),
  'dkd': Loss('dkd', options={'temperature': 1.0, 'beta': 0.5}, warmup=1),
  'dist': Loss('dist'),
  'nkd': Loss('nkd'),
}
# CRD and ReviewKD take half of the batch and of the rate.
HALVED = ('crd', 'review_kd')


def loss_of(name: str, teacher: str, student: str) -> Loss:
  """The terms of the method called `name` for a pair.

  Raises:
    ValueError: for an unknown method, with the known ones.
  """
  known = IMAGENET if teacher in (_R34, _R50) else CIFAR100
  if name not in known:
    raise types.unknown('method', name, known)
  loss, pair = known[name], (teacher, student)
  if name == 'dkd' and pair in _DKD_BETA:
    return _with(loss, beta=_DKD_BETA[pair])
  if name == 'kd+ls' and pair in _LSKD:
    temperature, weight = _LSKD[pair]
    return _with(loss, temperature=temperature)._replace(weight=weight)
  if name == 'cat_kd' and pair in _CAT:
    weight, resolution, normalize = _CAT[pair]
    loss = loss._replace(weight=weight)
    return _with(loss, resolution=resolution, normalize=normalize)
  if name == 'review_kd' and pair == ('resnet32x4', 'resnet8x4'):
    return loss._replace(weight=5.0)
  if name == 'review_kd' and teacher == _R50:
    return loss._replace(weight=8.0)
  if name == 'dkd' and teacher == _R50:
    return _with(loss, beta=2.0)
  return loss


def _with(loss, **options):
  return loss._replace(options={**loss.options, **options})
