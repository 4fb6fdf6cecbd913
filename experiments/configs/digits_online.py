"""Online: the teacher learns from the labels while the student learns from it.

  python -m experiments.launch --config experiments/configs/digits_online.py \
    --workdir runs/online
"""

from experiments.configs import digits


def get_config(arg: str = ''):
  """`arg` 'both': the teacher learns from the student too."""
  c = digits.get_config()
  c.scheme = dict(name='online', both=arg == 'both')
  return c
