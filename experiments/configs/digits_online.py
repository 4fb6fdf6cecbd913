"""Online: the teacher learns from the labels while the student learns from it.

  python -m experiments.launch --config experiments/configs/digits_online.py \
    --workdir runs/online
"""

from experiments.configs import digits
from kd_jax import config


def get_config(arg: str = ''):
  """`arg` 'both': the teacher learns from the student too."""
  both = config.one_of(arg, 'both') == 'both'
  c = digits.get_config()
  c.scheme = dict(name='online', both=both)
  return c
