"""Every method on digits: one student, one teacher, three seeds each.

The weights are the published ones for CIFAR-100 where there are any, not tuned
for digits: this shows that each method trains, not which one is best, which
`methods_tuned.py` does. The student alone is in every setting's comparison.

  python -m experiments.launch --config experiments/configs/digits_methods.py \
    --workdir runs/methods --sweep methods
"""

from experiments.configs import digits
from kd_jax import config, methods, sweep

MAPS = [('pool1', 'pool1'), ('pool2', 'pool2')]
PRE = [('conv1_pre', 'conv1_pre'), ('conv2_pre', 'conv2_pre')]
VECTORS = [('features', 'features')]
FINAL = [('final', 'final')]
# Class maps and regions need a classifier on pooled maps: small ResNets.
POOLED = ('cat_kd', 'sdd_kd', 'sdd_dkd', 'sdd_nkd')

# Beside the whole hard loss: CE + weight method.
BESIDE = {
  'dkd': dict(weight=1.0),
  'nkd': dict(weight=1.0),
  'rld': dict(weight=1.0),
  'normkd_dkd': dict(weight=1.0),
  'uskd': dict(weight=1.0, layer='pool2'),
  'wkd_l': dict(weight=1.0),
  'sdd_dkd': dict(weight=1.0, layers=FINAL),
  'sdd_nkd': dict(weight=1.0, layers=FINAL),
  'ofa_exits': dict(
    weight=1.0, layers=[('pool1', 'logits'), ('pool2', 'logits')]
  ),
  'fitnet': dict(weight=100.0, layers=MAPS),
  'at': dict(weight=1000.0, layers=MAPS),
  'nst': dict(weight=50.0, layers=MAPS),
  'fsp': dict(weight=50.0, layers=MAPS),
  'ab': dict(weight=1.0, layers=PRE),
  'ft': dict(weight=200.0, layers=MAPS[1:], paraphraser_steps=100),
  'vid': dict(weight=1.0, layers=MAPS),
  'ofd': dict(weight=0.001, layers=PRE),
  'kdsvd': dict(weight=1.0, layers=MAPS),
  'review_kd': dict(weight=1.0, layers=MAPS),
  'simkd': dict(weight=1.0, layers=VECTORS),
  'cat_kd': dict(weight=400.0, layers=FINAL),
  'mgd': dict(weight=0.01, layers=MAPS),
  'feature_mse': dict(weight=1.0, layers=MAPS),
  'feature_cosine': dict(weight=1.0, layers=MAPS),
  'rkd': dict(weight=1.0, layers=VECTORS),
  'rkd_distance': dict(weight=25.0, layers=VECTORS),
  'rkd_angle': dict(weight=50.0, layers=VECTORS),
  'sp': dict(weight=3000.0, layers=MAPS[1:]),
  'cc': dict(weight=0.02, layers=VECTORS),
  'pkt': dict(weight=30000.0, layers=VECTORS),
  'ickd': dict(weight=2.5, layers=MAPS[1:]),
  'crd': dict(weight=0.8, layers=VECTORS, negatives=512),
  'info_nce': dict(weight=1.0, layers=VECTORS),
  'srrl': dict(weight=1.0, layers=VECTORS),
  'wkd_f': dict(weight=0.08, layers=MAPS[1:]),
  'vkd': dict(weight=1.0, layers=VECTORS),
  'semckd': dict(weight=400.0, layers=MAPS),
  'afd': dict(weight=200.0, layers=MAPS),
  'itrd': dict(weight=1.0, layers=VECTORS),
  'sskd': dict(weight=1.0, layers=VECTORS, projection_steps=100),
}

# Neither labels alone nor what images without maps of predictions lack.
_NOT_HERE = (
  *methods.HARD, *methods.ATTENTION, *methods.TEXT, *methods.DENSE,
  *methods.INDEPENDENT,
)  # fmt: skip

# A method that is not above: on logits, instead of part of the hard loss,
# (1 - alpha) CE + alpha method; on layers, CE + method.
SOFT = {
  name: {}
  for name in methods.METHODS
  if name not in (*BESIDE, *_NOT_HERE) and not methods.reads_layers(name)
} | {
  'topk_kd': {'k': 3},
  'topk_jsd': {'k': 3},
  'ctkd': {'decay_steps': 200.0},
  'sdd_kd': {'layers': FINAL},
}
BESIDE |= {
  name: dict(weight=1.0, layers=MAPS)
  for name in methods.METHODS
  if name not in (*BESIDE, *SOFT, *_NOT_HERE)
}


def get_config(arg: str = 'kd'):
  """`arg` is the method."""
  config.one_of(arg, *SOFT, *BESIDE)
  c = digits.get_config()
  c.networks.teacher = dict(name='cnn', hidden=64)
  c.networks.student = dict(name='cnn', hidden=16)
  if arg in POOLED:
    c.networks.teacher = dict(name='resnet14')
    c.networks.student = dict(name='resnet8')
  c.train.epochs, c.teacher.epochs = 15, 20
  c.train.optimizer.learning_rate = 3e-3
  if arg == 'sskd':
    c.train.augment = (*c.train.augment, 'rotations')
  del c.terms.soft
  if arg in SOFT:
    c.terms.soft = dict(method=arg, weight=c.get_ref('alpha'), **SOFT[arg])
  else:
    c.terms.hard.weight = 1.0
    c.terms.soft = dict(method=arg, **BESIDE[arg])
  return c


def sweep_methods():
  """All methods, one after the other."""
  return sweep.grid('arg', *SOFT, *BESIDE)
