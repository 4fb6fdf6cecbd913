"""Born again: each generation learns from the one before, from a new start.

Source: Furlanello et al. 2018, https://arxiv.org/abs/1805.04770; T = 1.

  python -m experiments.launch \
    --config experiments/configs/digits_born_again.py --workdir runs/born_again
"""

from experiments.configs import digits


def get_config(arg: str = ''):
  """`arg` generations, the first of which learns alone; three by default."""
  c = digits.get_config()
  c.alpha, c.temperature = 0.5, 1.0
  del c.networks.teacher
  c.scheme = dict(name='born_again', generations=int(arg or 3))
  c.terms.soft.teacher = 'before'
  return c
