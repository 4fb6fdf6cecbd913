"""Teacher assistants: each network of a chain teaches the next, smaller one.

Source: Mirzadeh et al. 2019, https://arxiv.org/abs/1902.03393.

  python -m experiments.launch \
    --config experiments/configs/digits_progressive.py --workdir runs/chain
"""

from experiments.configs import digits
from kd_jax import config


def get_config(arg: str = ''):
  """Sizes 128, 64, 32, then the student; `arg` 'ensemble': two at the top."""
  config.one_of(arg, 'ensemble')
  c = digits.get_config()
  chain = ['teacher']
  for hidden in (64, 32):
    c.networks[f'assistant_{hidden}'] = dict(name='cnn', hidden=hidden)
    chain.append(f'assistant_{hidden}')
  if arg == 'ensemble':
    c.networks.second = dict(name='mlp', widths=[256])
    chain[0] = ['teacher', 'second']
  c.scheme = dict(name='progressive', chain=[*chain, 'student'])
  c.terms.soft.teacher = 'before'
  return c
