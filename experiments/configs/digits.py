"""A network of 53,002 parameters teaches one of 322 to read 8x8 digits.

Data: scikit-learn's 1,797 digits; 1,293 train, 144 validate, 360 test. Three
seeds of the student; the teacher is trained once. Student, rate, epochs, T
and alpha were chosen on validation (seed 0): the student of 8 falls clearly
short of its teacher there, 85 % against 98 %. Two CPU cores, under three
minutes. What distillation adds is in the report, whatever it is.

  python -m experiments.launch --config experiments/configs/digits.py \
    --workdir runs/digits
"""

from kd_jax import config, sweep


def get_config():
  """The main job of the README."""
  c = config.default()
  c.seeds = 3
  c.alpha, c.temperature = 0.9, 4.0
  c.data.name = 'digits'
  c.steps_at_once = 1  # not as is faster: the same numbers every time
  c.networks.teacher = dict(name='cnn', hidden=128)
  c.networks.student = dict(name='cnn', hidden=8)
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method='kd', weight=c.get_ref('alpha'), temperature=c.get_ref('temperature')
  )
  c.teacher.epochs, c.train.epochs = 20, 60
  c.teacher.optimizer.learning_rate = 3e-3
  c.train.optimizer.learning_rate = 1e-2
  for part in (c.teacher, c.train):
    part.optimizer.schedule = dict(name='cosine')
  return c


def sweep_softness():
  """Temperature by alpha."""
  return sweep.product(
    sweep.grid('temperature', 1.0, 2.0, 4.0, 8.0),
    sweep.grid('alpha', 0.1, 0.5, 0.9),
  )


def search_space():
  """What `--search` looks in."""
  return {
    'temperature': sweep.log_uniform(1.0, 16.0),
    'alpha': sweep.uniform(0.1, 1.0),
    'train.optimizer.learning_rate': sweep.log_uniform(1e-3, 3e-2),
  }
