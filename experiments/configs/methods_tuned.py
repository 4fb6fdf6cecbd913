"""Every method with its weight and temperature tuned, on few labelled digits.

Data: scikit-learn's 1,797 digits, 8x8: 200 labelled images train teacher and
student, 500 validate, 1,097 test. The teacher, convolutions of 24,010
parameters, is trained once, with shifted images; the student has 1,674.
The student alone is tuned first, rate and decay by 8 trials of two seeds
(`--sweep 'arg=alone'`); every method then trains with that rate and decay, and
its weight and temperature are tuned by as many: loss = CE + weight * method.
The ten seeds that are tested are none of those that chose.

  python -m experiments.launch --config experiments/configs/methods_tuned.py \\
    --workdir runs/methods_tuned --sweep methods_tuned --search optuna \\
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
  """`arg` is the method; 'smoothing' and 'alone' have no teacher."""
  names = (*digits_methods.SOFT, *digits_methods.BESIDE)
  name = config.one_of(arg, *names, ALONE, SMOOTH) or 'kd'
  c = config.default()
  c.seeds = 10
  c.steps_at_once = 1
  c.data = dict(name='digits', seed=0, more_test=737, validation=500, limit=200)
  c.networks.student = dict(name='cnn', hidden=16, pooled=True)
  c.terms.hard = dict(method='cross_entropy', weight=1.0)
  for part in (c.train, c.teacher):
    part.batch_size = 32
    part.optimizer.name = 'adamw'
    part.optimizer.schedule = dict(name='cosine')
  c.train.steps, c.eval_every = 300, 300
  c.train.optimizer.learning_rate = 8e-3
  c.train.optimizer.weight_decay = 0.04
  if name == ALONE:
    c.baseline = False
  if name == SMOOTH:
    c.terms.hard.smoothing = 0.1
  if name in (ALONE, SMOOTH):
    return c
  c.networks.teacher = dict(name='cnn', hidden=64, pooled=True)
  c.teacher.steps = 1000
  c.teacher.optimizer.learning_rate = 3e-3
  c.teacher.augment = (dict(name='shift', pixels=1),)
  if name == 'sskd':
    c.train.augment = ('rotations',)
  c.terms.soft = dict(method=name, **options_of(name))
  return c


def search_space(arg: str = 'kd'):
  """What is tuned of each: as many trials, whatever the number of keys."""
  if arg == ALONE:
    return {
      'train.optimizer.learning_rate': sweep.log_uniform(1e-3, 3e-2),
      'train.optimizer.weight_decay': sweep.log_uniform(1e-3, 1.0),
    }
  if arg == SMOOTH:
    return {'terms.hard.smoothing': sweep.uniform(0.0, 0.6)}
  options = options_of(arg)
  on_logits = arg in digits_methods.SOFT or not methods.reads_layers(arg)
  ends = LOGITS if on_logits else FEATURES
  low, high = (options['weight'] * end for end in ends)
  space = {'terms.soft.weight': sweep.log_uniform(low, high)}
  known = inspect.signature(methods.METHODS[arg]).parameters
  for key in ('temperature', 't_norm'):
    if key in known and arg not in CONTRASTS:
      space[f'terms.soft.{key}'] = sweep.log_uniform(*TEMPERATURES)
  return space


def sweep_methods_tuned():
  """Label smoothing, and all methods."""
  names = (SMOOTH, *digits_methods.SOFT, *digits_methods.BESIDE)
  return sweep.grid('arg', *names)
