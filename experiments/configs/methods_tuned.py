"""Every method with its weight and temperature tuned, on two tasks of digits.

Few labels: 200 of scikit-learn's 1,797 digits, 8x8, train teacher and student,
500 validate, 1,097 test. The teacher, convolutions of 23,946 parameters, is
trained once, with shifted images; the student has 1,674. Wrong labels: 800
train, half of their labels wrong, 300 validate, 697 test; the same teacher's
network, with mixed images too, and a student of 6,218.
The student alone is tuned first, rate and decay by 8 trials of two seeds
(`--sweep arg=alone`, `arg=alone@noisy`); every method then trains with that
rate and decay, and its weight and temperature are tuned by as many:
loss = CE + weight * method. The ten seeds that are tested are none of those
that chose.

  python -m experiments.launch --config experiments/configs/methods_tuned.py \
    --workdir runs/methods_tuned --sweep methods_tuned --search optuna \
    --trials 8
  python -m experiments.launch --config experiments/configs/methods_tuned.py \
    --workdir runs/methods_noisy --sweep methods_noisy --search optuna \
    --trials 8
"""

import inspect

from experiments.configs import digits_methods
from kd_jax import config, methods, sweep

# The classifier's input has another name here than in `digits_methods`, and
# SimKD reads the map before it, as published.
NAMES, LAYERS = {'features': 'pooled'}, {'simkd': digits_methods.FINAL}
# What a method's weight is multiplied by at most and at least. Adam does not
# see the scale of a loss, so a large weight is as a small one of the labels.
LOGITS, FEATURES = (0.03, 30.0), (1e-3, 10.0)
TEMPERATURES = (1.0, 10.0)
CONTRASTS = ('crd', 'info_nce')  # whose temperature is that of likenesses
ALONE, SMOOTH = 'alone', 'smoothing'  # without a teacher
NOISY = 'noisy'  # the task with wrong labels


def options_of(name: str) -> dict:
  """The term of a method: weight as published, layers of this pair."""
  options = dict(
    digits_methods.SOFT.get(name) or digits_methods.BESIDE.get(name) or {}
  )
  if 'layers' in options:
    options['layers'] = [
      tuple(NAMES.get(layer, layer) for layer in pair)
      for pair in LAYERS.get(name, options['layers'])
    ]
  return {'weight': 1.0, **options}


def get_config(arg: str = 'kd'):
  """`arg` is METHOD[@noisy]; 'smoothing' and 'alone' have no teacher."""
  name, noisy = parts_of(arg)
  c = config.default()
  c.seeds = 10
  c.steps_at_once = 1
  c.terms.hard = dict(method='cross_entropy', weight=1.0)
  for part in (c.train, c.teacher):
    part.batch_size = 32
    part.optimizer.name = 'adamw'
    part.optimizer.schedule = dict(name='cosine')
  (_on_wrong_labels if noisy else _on_few_labels)(c)
  c.eval_every = c.train.steps
  c.teacher.optimizer.learning_rate = 3e-3
  if name == ALONE:
    c.baseline = False
  if name == SMOOTH:
    c.terms.hard.smoothing = 0.1
  if name in (ALONE, SMOOTH):
    del c.networks.teacher
    return c
  if name == 'sskd':
    c.train.augment = ('rotations',)
  c.terms.soft = dict(method=name, **options_of(name))
  return c


def parts_of(arg: str) -> tuple[str, bool]:
  """The method of an argument, and whether labels are wrong."""
  name, at, noisy = arg.partition('@')
  names = (*digits_methods.SOFT, *digits_methods.BESIDE)
  if at and noisy != NOISY:
    raise ValueError(f"'{arg}' is not METHOD or METHOD@{NOISY}")
  return config.one_of(name, *names, ALONE, SMOOTH) or 'kd', bool(at)


def _on_few_labels(c) -> None:
  """200 labelled images; rate and decay as the student alone chose them."""
  c.data = dict(name='digits', seed=0, more_test=737, validation=500, limit=200)
  c.networks.teacher = dict(name='cnn', hidden=64, pooled=True)
  c.networks.student = dict(name='cnn', hidden=16, pooled=True)
  c.train.steps, c.teacher.steps = 300, 1000
  c.train.optimizer.learning_rate = 8e-3
  c.train.optimizer.weight_decay = 0.04
  c.teacher.augment = (dict(name='shift', pixels=1),)


def _on_wrong_labels(c) -> None:
  """800 images, half of their labels wrong; likewise."""
  c.data = dict(
    name='digits', seed=0, more_test=337, validation=300, wrong_labels=0.5
  )
  c.networks.teacher = dict(name='cnn', hidden=64, pooled=True)
  c.networks.student = dict(name='cnn', hidden=32, pooled=True)
  c.train.steps, c.teacher.steps = 400, 2500
  c.train.optimizer.learning_rate = 6.5e-3
  c.train.optimizer.weight_decay = 0.3
  c.teacher.optimizer.weight_decay = 0.3
  c.teacher.augment = (
    dict(name='shift', pixels=1),
    dict(name='mixup', alpha=1.0),
  )


def search_space(arg: str = 'kd'):
  """What is tuned of each: as many trials, whatever the number of keys."""
  name, noisy = parts_of(arg)
  if name == ALONE:
    most = 3.0 if noisy else 1.0
    return {
      'train.optimizer.learning_rate': sweep.log_uniform(1e-3, 3e-2),
      'train.optimizer.weight_decay': sweep.log_uniform(1e-3, most),
    }
  if name == SMOOTH:
    return {'terms.hard.smoothing': sweep.uniform(0.0, 0.6)}
  options = options_of(name)
  on_logits = name in digits_methods.SOFT or not methods.reads_layers(name)
  ends = LOGITS if on_logits else FEATURES
  low, high = (options['weight'] * end for end in ends)
  space = {'terms.soft.weight': sweep.log_uniform(low, high)}
  known = inspect.signature(methods.METHODS[name]).parameters
  for key in ('temperature', 't_norm'):
    if key in known and name not in CONTRASTS:
      space[f'terms.soft.{key}'] = sweep.log_uniform(*TEMPERATURES)
  return space


def sweep_methods_tuned():
  """Label smoothing, and all methods, on few labels."""
  return sweep.grid('arg', *rivals())


def sweep_methods_noisy():
  """The same on wrong labels."""
  return sweep.grid('arg', *(f'{name}@{NOISY}' for name in rivals()))


def rivals() -> tuple[str, ...]:
  """The rows of the tables."""
  return SMOOTH, *digits_methods.SOFT, *digits_methods.BESIDE
