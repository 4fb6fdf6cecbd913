"""A large network teaches a tiny one to read 8x8 digits.

Data: scikit-learn's 1,797 digits. Hardware: two CPU cores, under three
minutes. Three seeds of the student; the teacher is trained once. Choices were
made on validation.

  python -m experiments.launch --config experiments/configs/digits.py \
    --workdir runs/digits
"""

from kd_jax import config, sweep


def get_config(arg: str = ''):
  """The main job of the README."""
  del arg
  c = config.default()
  c.seeds = 3
  c.alpha, c.temperature = 0.9, 4.0
  c.data.name = 'digits'
  c.networks.teacher = dict(name='cnn_teacher')
  c.networks.student = dict(name='cnn', hidden=8)
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method='kd', weight=c.get_ref('alpha'),
    temperature=c.get_ref('temperature'),
  )
  return c


def sweep_softness():
  """Temperature by alpha."""
  return sweep.product(
    sweep.grid('temperature', 1.0, 2.0, 4.0, 8.0),
    sweep.grid('alpha', 0.1, 0.5, 0.9),
  )
