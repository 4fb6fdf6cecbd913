"""Every method's terms with their published weights, by pair.

`experiments.recipes` says, for every entry, in which file of which commit of
whose code it stands and under which name, and compares the two: `python -m
experiments.recipes --check`. Where a pair has none of its own, a method has the
same for all.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kd_jax import types

_R34, _R50 = 'imagenet_resnet34', 'imagenet_resnet50'
_MV1 = 'mobilenet_v1'


class Training(NamedTuple):
  """How a student is trained; what is None is the data set's own.

  Attributes:
    epochs: passes over the images, without those of `Loss.first`.
    batch_size: images in a step.
    learning_rate: at first.
    light_rate: the same for the students of `pairs.LIGHT`.
    nesterov: of the momentum.
    decay: what decays, 'all' or 'weights'.
    clip_norm: greatest norm of a gradient; 0: none.
    delta: of the momenta of DOT; 0: plain SGD.
    augment: names of augmentations.
  """

  epochs: int | None = None
  batch_size: int | None = None
  learning_rate: float | None = None
  light_rate: float = 0.01
  nesterov: bool = False
  decay: str = 'all'
  clip_norm: float = 0.0
  delta: float = 0.0
  augment: tuple[str, ...] | None = None


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
    fall: epochs after which the weight, or WKD-L's gamma, falls on half a
      cosine; 0: it does not.
    more: further terms, {name: dict(method, ..)}.
    training: what else it changes of `Training`.
  """

  method: str
  weight: float = 1.0
  layers: str = ''
  options: Mapping[str, Any] = {}
  hard: float = 1.0
  warmup: int = 0
  first: int = 0
  fall: int = 0
  more: Mapping[str, Mapping] = {}
  training: Training = Training()


def _soft(method, **options):
  """(1 - 0.9) CE + 0.9 of it."""
  return Loss(method, 0.9, options=options, hard=0.1)


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
  training = Training(240, learning_rate=0.025, augment=('two_view',))
  return Loss('mlld', weight, '', options, 0.1, more=more, training=training)


def _standard_levels(weight):
  """MLKD of standardized logits; only the instance level reads those."""
  after = dict(temperatures=(2.0, 3.0, 5.0, 2.0, 6.0))
  alone = dict(class_weight=0.0, batch_weight=0.0)
  rest = dict(method='mlld', weight=weight / 2, instance_weight=0.0, **after)
  loss = _levels(
    weight / 2,
    {**after, 'standardize': True, **alone},
    dict(weight=weight, standardize=True, **after),
    {'levels': rest},
  )
  return loss._replace(training=loss.training._replace(epochs=480))


# The authors' own program, where the others have mdistiller's.
_REVIEW = Training(
  batch_size=128, learning_rate=0.1, light_rate=0.02, nesterov=True
)
_KD = dict(method='kd', weight=1.0, temperature=4.0)
_SCALES = (1, 2, 4)

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
  'review_kd': Loss(
    'review_kd', 1.0, 'review', warmup=20, training=_REVIEW
  ),
  'cat_kd': Loss('cat_kd', 400.0, 'final'),
  'simkd': Loss('simkd', 1.0, 'final', hard=0.0),
  'srrl': Loss('srrl', 1.0, 'pooled', more={'logits': _KD}),
  'ctkd': _soft('ctkd', decay_steps=10),
  'dkd': Loss('dkd', options={'temperature': 4.0, 'beta': 8.0}, warmup=20),
  'dist': Loss('dist', 2.0, options={'temperature': 4.0}),
  'mlkd': _levels(0.45, {}, dict(weight=0.9)),
  'kd+ls': Loss('lskd', 9.0, options={'temperature': 2.0}, hard=0.1),
  'ctkd+ls': Loss(
    'ctkd', 9.0, options={'decay_steps': 10, 'standardize': True}, hard=0.1
  ),
  'dkd+ls': Loss(
    'dkd', warmup=20, options={
      'temperature': 2.0, 'alpha': 9.0, 'beta': 72.0, 'standardize': True
    },
  ),
  'mlkd+ls': _standard_levels(9.0),
  'ttm': Loss('ttm', 45.0, options={'temperature': 10.0}),
  'wttm': Loss('ttm', 4.0, options={'temperature': 5.0, 'variant': 'wttm'}),
  'wttm+crd': Loss(
    'ttm', 4.0, options={'temperature': 5.0, 'variant': 'wttm'},
    more={'embeddings': dict(method='crd', weight=0.8, layers='pooled')},
  ),
  'nkd': Loss('nkd', options={'temperature': 3.0, 'gamma': 3.5}),
  'wsld': Loss('wsld', 2.25, options={'temperature': 4.0}),
  'mgd': Loss('mgd', 0.0012, 'last', {'masked': 0.15}),
  'ickd': Loss('ickd', 2.5, 'last'),
  'ofa': Loss('ofa', options={'eps': 1.0, 'temperature': 1.0}),
  'ofa+exits': Loss(
    'ofa', options={'eps': 1.0, 'temperature': 1.0},
    more={'exits': dict(method='ofa_exits', weight=1.0, layers='exits')},
  ),
  'kd+dot': _soft('kd', temperature=4.0)._replace(
    training=Training(delta=0.075)
  ),
  'rld': Loss(
    'rld', warmup=20, options={
      'temperature': 4.0, 'alpha_temperature': 4.0, 'beta': 8.0
    },
  ),
  'normkd': _soft('normkd', t_norm=2.0),
  'normkd+dkd': Loss(
    'normkd_dkd', options={'t_norm': 2.0, 'alpha': 1.0, 'beta': 8.0}, warmup=20
  ),
  'sdd_kd': Loss(
    'sdd_kd', 0.9, 'final', {'temperature': 4.0, 'scales': _SCALES}, hard=0.1
  ),
  'sdd_dkd': Loss(
    'sdd_dkd', 1.0, 'final',
    {'temperature': 4.0, 'scales': _SCALES, 'beta': 8.0}, warmup=20,
  ),
  'sdd_nkd': Loss(
    'sdd_nkd', 1.0, 'final',
    {'temperature': 4.0, 'scales': _SCALES, 'gamma': 8.0}, warmup=20,
  ),
  'wkd_l': Loss(
    'wkd_l', options={'temperature': 8.0, 'gamma': 600.0}, fall=150
  ),
  'wkd_f': Loss(
    'wkd_f', 0.08, 'last', {'mean_weight': 4.0, 'grid': 1}, fall=150
  ),
  'semckd': Loss('semckd', 400.0, 'stages', more={'logits': _KD}),
  'afd': Loss(
    'afd', 200.0, 'stages', hard=0.1, more={'logits': {**_KD, 'weight': 0.9}}
  ),
  'itrd': Loss('itrd', 1.0, 'pooled', {'alpha': 1.01, 'mutual_weight': 1.0}),
  'sskd': Loss(
    'sskd', 1.0, 'pooled', {'projection_steps': 60}, hard=0.1,
    more={'logits': {**_KD, 'weight': 0.9}},
    training=Training(augment=('pad_crop', 'rotations')),
  ),
}  # fmt: skip


def _dkd_ls(temperature, weight, beta):
  """DKD+LS by the names of its logs: the weight multiplies alpha and beta."""
  return {'temperature': temperature, 'alpha': weight, 'beta': weight * beta}


def _cat(weight, resolution, normalize):
  return {'weight': weight, 'resolution': resolution, 'normalize': normalize}


# What differs by pair: fields of Loss, of Training, or options of the method.
_TWICE, _FOURFOLD = {'epochs': 480}, {'epochs': 960}
_TWO = {'scales': (1, 2)}
BY_PAIR = {
  'dkd': {
    ('resnet56', 'resnet20'): {'beta': 2.0},
    ('resnet110', 'resnet32'): {'beta': 2.0},
    ('wrn_40_2', 'wrn_16_2'): {'beta': 6.0},
    ('wrn_40_2', 'wrn_40_1'): {'beta': 6.0},
    ('vgg13', 'vgg8'): {'beta': 6.0},
    ('vgg13', 'mobilenet_v2'): {'beta': 6.0},
    (_R50, _MV1): {'beta': 2.0},
  },
  'dkd+ls': {
    ('vgg13', 'vgg8'): _dkd_ls(2.0, 15.0, 2.0),
    ('wrn_40_2', 'wrn_16_2'): _dkd_ls(2.0, 12.0, 2.0),
    ('wrn_40_2', 'wrn_40_1'): _dkd_ls(2.0, 12.0, 2.0),
    ('resnet56', 'resnet20'): _dkd_ls(3.0, 18.0, 2.0),
    ('resnet110', 'resnet20'): _dkd_ls(2.0, 15.0, 2.0),
    ('resnet110', 'resnet32'): _dkd_ls(2.0, 15.0, 2.0),
    ('resnet50', 'mobilenet_v2'): _dkd_ls(2.0, 15.0, 2.0),
    ('vgg13', 'mobilenet_v2'): _dkd_ls(3.0, 9.0, 2.0),
  },
  'kd+ls': {
    ('vgg13', 'vgg8'): {'temperature': 3.0},
    ('vgg13', 'mobilenet_v2'): {'temperature': 3.0},
    ('resnet50', 'mobilenet_v2'): {'temperature': 3.0, 'weight': 1.0},
    ('resnet110', 'resnet20'): {'temperature': 4.0, 'weight': 12.0},
  },
  'cat_kd': {
    ('wrn_40_2', 'wrn_16_2'): _cat(12.0, 2, False),
    ('wrn_40_2', 'wrn_40_1'): _cat(1.5, 2, False),
    ('resnet56', 'resnet20'): _cat(0.7, 2, False),
    ('resnet110', 'resnet32'): _cat(1.8, 2, False),
    ('resnet32x4', 'resnet8x4'): _cat(15.0, 2, False),
    ('vgg13', 'vgg8'): _cat(4.5, 2, False),
    ('vgg13', 'mobilenet_v2'): _cat(15.0, 2, True),
    ('resnet50', 'mobilenet_v2'): _cat(40.0, 2, True),
    ('resnet32x4', 'shufflenet_v1'): _cat(600.0, 4, True),
    ('resnet32x4', 'shufflenet_v2'): _cat(600.0, 4, True),
    ('wrn_40_2', 'shufflenet_v1'): _cat(80.0, 4, True),
  },
  'review_kd': {
    ('wrn_40_2', 'wrn_16_2'): {'weight': 5.0},
    ('wrn_40_2', 'wrn_40_1'): {'weight': 5.0},
    ('wrn_40_2', 'shufflenet_v1'): {'weight': 5.0},
    ('resnet32x4', 'resnet8x4'): {'weight': 5.0},
    ('resnet32x4', 'shufflenet_v1'): {'weight': 5.0},
    ('resnet32x4', 'shufflenet_v2'): {'weight': 8.0},
    ('resnet56', 'resnet20'): {'weight': 0.6},
    (_R50, _MV1): {'weight': 8.0},
  },
  'mlkd': {
    ('vgg13', 'mobilenet_v2'): _TWICE,
    ('resnet50', 'mobilenet_v2'): _TWICE,
    ('wrn_40_2', 'shufflenet_v1'): _TWICE,
    ('resnet32x4', 'shufflenet_v1'): _FOURFOLD,
    ('resnet32x4', 'shufflenet_v2'): _FOURFOLD,
  },
  'mlkd+ls': {
    ('vgg13', 'vgg8'): {'learning_rate': 0.01},
    ('resnet32x4', 'shufflenet_v1'): _FOURFOLD,
    ('resnet32x4', 'shufflenet_v2'): _FOURFOLD,
  },
  'normkd+dkd': {
    ('resnet110', 'resnet32'): {'alpha': 5.0, 'beta': 4.0},
    ('resnet32x4', 'resnet8x4'): {'alpha': 4.0, 'beta': 5.0},
    ('resnet32x4', 'shufflenet_v1'): {'alpha': 0.5, 'beta': 8.5},
    ('resnet32x4', 'shufflenet_v2'): {'alpha': 4.0, 'beta': 5.0},
    ('resnet50', 'mobilenet_v2'): {'alpha': 2.0, 'beta': 7.0},
    ('resnet56', 'resnet20'): {'alpha': 7.0, 'beta': 2.0},
    ('vgg13', 'mobilenet_v2'): {'alpha': 3.0, 'beta': 6.0},
    ('vgg13', 'vgg8'): {'alpha': 2.0, 'beta': 7.0},
    ('wrn_40_2', 'shufflenet_v1'): {'alpha': 4.0, 'beta': 5.0},
    ('wrn_40_2', 'wrn_16_2'): {'alpha': 4.0, 'beta': 5.0},
    ('wrn_40_2', 'wrn_40_1'): {'alpha': 3.0, 'beta': 6.0},
  },
  'sdd_kd': dict.fromkeys(
    (('resnet32x4', 'resnet8x4'), ('vgg13', 'vgg8')), _TWO
  ),
  'sdd_dkd': {
    ('resnet110', 'resnet32'): {'beta': 2.0},
    ('resnet56', 'resnet20'): {'beta': 2.0},
    ('vgg13', 'mobilenet_v2'): {'beta': 6.0},
    ('vgg13', 'vgg8'): {'beta': 6.0, **_TWO},
    ('wrn_40_2', 'wrn_16_2'): {'beta': 6.0},
    ('wrn_40_2', 'wrn_40_1'): {'beta': 6.0},
  },
  'sdd_nkd': {
    ('resnet110', 'resnet32'): {'gamma': 2.0},
    ('resnet32x4', 'resnet8x4'): _TWO,
    ('resnet50', 'vgg8'): _TWO,
    ('resnet56', 'resnet20'): {'gamma': 2.0},
    ('vgg13', 'mobilenet_v2'): {'gamma': 6.0},
    ('vgg13', 'vgg8'): {'gamma': 6.0, **_TWO},
    ('wrn_40_2', 'wrn_16_2'): {'gamma': 6.0},
    ('wrn_40_2', 'wrn_40_1'): {'gamma': 6.0},
  },
  'wkd_l': {
    ('wrn_40_2', 'shufflenet_v1'): {'gamma': 200.0, 'temperature': 6.0}
  },
  'wkd_f': {
    ('wrn_40_2', 'shufflenet_v1'): {
      'weight': 0.3,
      'mean_weight': 3.0,
      'grid': 4,
    }
  },
  'nkd': {(_R50, _MV1): {'clip_norm': 5.0}},
  'mgd': {(_R50, _MV1): {'clip_norm': 5.0}},
}
# MLKD+LS has weight 6 here, and 9 elsewhere.
_SIX = (
  ('vgg13', 'vgg8'),
  ('vgg13', 'mobilenet_v2'),
  ('resnet32x4', 'shufflenet_v2'),
)

# Half of mdistiller's 512 and 0.2.
_HALF = Training(batch_size=256, learning_rate=0.1)
IMAGENET = {
  'kd': Loss('kd', 0.5, options={'temperature': 1.0}, hard=0.5),
  'at': CIFAR100['at'],
  'ofd': Loss(
    'ofd', 0.0001, 'pre', training=Training(batch_size=128, learning_rate=0.05)
  ),
  'crd': CIFAR100['crd']._replace(training=_HALF),
  'review_kd': Loss('review_kd', 1.0, 'review_pre', warmup=1, training=_HALF),
  'dkd': Loss('dkd', options={'temperature': 1.0, 'beta': 0.5}, warmup=1),
  'dist': Loss(
    'dist',
    2.0,
    options={'temperature': 1.0},
    training=_HALF._replace(nesterov=True, decay='weights'),
  ),
  'nkd': Loss(
    'nkd', options={'temperature': 1.0, 'gamma': 1.5}, training=_HALF
  ),
  'srrl': Loss('srrl', 1.0, 'final'),
  'wsld': Loss(
    'wsld',
    2.5,
    options={'temperature': 2.0},
    training=_HALF._replace(nesterov=True),
  ),
  'mgd': Loss('mgd', 7e-5, 'last', {'masked': 0.15}, training=_HALF),
}


def loss_of(name: str, teacher: str, student: str) -> Loss:
  """The terms of the method called `name` for a pair.

  Raises:
    ValueError: for an unknown method, with the known ones.
  """
  known = IMAGENET if teacher in (_R34, _R50) else CIFAR100
  if name not in known:
    raise types.unknown('method', name, known)
  loss, pair = known[name], (teacher, student)
  if name == 'mlkd+ls' and pair in _SIX:
    loss = _standard_levels(6.0)
  return _with(loss, **BY_PAIR.get(name, {}).get(pair, {}))


def _with(loss, **changes):
  """A Loss with other fields, other training, or other options."""

  def taken(fields):
    return {k: changes.pop(k) for k in fields if k in changes}

  fields = taken(('weight',))
  training = loss.training._replace(**taken(Training._fields))
  options = {**loss.options, **changes}
  return loss._replace(options=options, training=training, **fields)
