"""DAFL: a student learns without the teacher's data, on generated digits.

A generator learns what excites the teacher, while the student learns from the
teacher on its images. The student alone, to which the report compares it, is
the same network with all of the data and the same steps.

Source: Chen et al. 2019, https://arxiv.org/abs/1904.01186. There the student
learns from the teacher at T = 1, without labels, as here. The generator's rate
(0.2 there, for batches of 512) is chosen on validation, by `--sweep generator`
with one seed.

  python -m experiments.launch \
    --config experiments/configs/digits_data_free.py --workdir runs/data_free
"""

from experiments.configs import digits
from kd_jax import sweep


def get_config():
  """digits.py, whose last stage sees none of the data."""
  c = digits.get_config()
  c.networks.teacher = dict(name='cnn', hidden=64)
  c.networks.student = dict(name='cnn', hidden=16)
  c.scheme = dict(name='data_free', codes=32, width=16, learning_rate=1e-3)
  del c.terms.hard
  c.terms.soft = dict(method='kd', temperature=1.0)
  c.teacher.epochs = 20
  c.train.steps, c.train.batch_size = 1500, 128
  return c


def sweep_generator():
  """The generator's learning rate."""
  return sweep.grid('scheme.learning_rate', 3e-4, 1e-3, 3e-3, 1e-2)
