"""Teacher-free: a hand-made distribution in the teacher's place (tf-KD).

Source: Yuan et al. 2020, https://arxiv.org/abs/1909.11723; T = 20,
correct = 0.99 there.

  python -m experiments.launch --config experiments/configs/digits_label.py \
    --workdir runs/label
"""

from experiments.configs import digits


def get_config(arg: str = ''):
  """`arg`: the probability that the virtual teacher gives to the label."""
  c = digits.get_config()
  c.alpha, c.temperature = 0.1, 20.0
  del c.networks.teacher
  c.scheme = dict(name='self_label', correct=float(arg or 0.99))
  c.terms.soft.teacher = 'virtual'
  return c
