"""Self-distillation: the teacher is the student of every three epochs ago.

k = 3 and alpha = 0.5, as in the first description of it.

  python -m experiments.launch --config experiments/configs/digits_snapshot.py \
    --workdir runs/snapshot
"""

from experiments.configs import digits
from kd_jax import config


def get_config(arg: str = ''):
  """`arg` 'beside': a frozen teacher beside the snapshot."""
  config.one_of(arg, 'beside')
  c = digits.get_config()
  c.alpha = 0.5
  c.scheme = dict(name='self_snapshot', every=3)
  c.terms.soft.teacher = 'past'
  if arg == 'beside':
    c.terms.frozen = dict(method='kd', teacher='teacher', temperature=4.0)
  else:
    del c.networks.teacher
  return c
