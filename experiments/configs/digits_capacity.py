"""The capacity gap: one student, teachers of growing size, with assistants.

Does a larger teacher teach a small student better, and do assistants of sizes
between help (Mirzadeh et al. 2019, https://arxiv.org/abs/1902.03393)?
The page sweep.html has the plot: a row for each teacher, alone and assisted.

  python -m experiments.launch --config experiments/configs/digits_capacity.py \
    --workdir runs/capacity --sweep capacity
"""

from experiments.configs import digits
from kd_jax import config, sweep

SIZES = (16, 32, 64, 128)


def get_config(arg: str = '128'):
  """`arg` is the teacher's size; '128_assisted' puts every size between."""
  size, _, assisted = arg.partition('_')
  config.one_of(assisted, 'assisted')
  c = digits.get_config()
  c.networks.teacher = dict(name='cnn', hidden=int(size))
  chain = ['teacher']
  for hidden in reversed(SIZES):
    if assisted and hidden < int(size):
      c.networks[f'assistant_{hidden}'] = dict(name='cnn', hidden=hidden)
      chain.append(f'assistant_{hidden}')
  c.scheme = dict(name='progressive', chain=[*chain, 'student'])
  c.terms.soft.teacher = 'before'
  return c


def sweep_capacity():
  """Every size; with assistants where there are sizes between."""
  alone = [str(size) for size in SIZES]
  return sweep.grid('arg', *alone, *(f'{s}_assisted' for s in alone[1:]))
