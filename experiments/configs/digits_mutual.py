"""Deep mutual learning: two students of different sizes teach each other.

Source: Zhang et al. 2018, https://arxiv.org/abs/1706.00384; T = 1 there.

  python -m experiments.launch --config experiments/configs/digits_mutual.py \
    --workdir runs/mutual
"""

from experiments.configs import digits
from kd_jax import config


def get_config(arg: str = ''):
  """`arg` 'committee': each learns from the mean of the others (KDCL);
  'topped': a frozen teacher stands above both."""
  config.one_of(arg, 'committee', 'topped')
  c = digits.get_config()
  c.temperature = 1.0
  c.networks.peer = dict(name='cnn', hidden=16)
  peers = ['student', 'peer']
  if arg == 'committee':
    c.networks.third = dict(name='mlp', widths=[32])
    peers.append('third')
  c.scheme = dict(name='mutual', peers=peers, committee=arg == 'committee')
  c.terms.hard.weight = 1.0
  c.terms.soft = dict(
    method='kd', teacher='peers', temperature=c.get_ref('temperature')
  )
  if arg == 'topped':
    c.terms.top = dict(method='kd', teacher='teacher', temperature=4.0)
  else:
    del c.networks.teacher
  return c
