"""Be your own teacher: the network's last classifier teaches an early exit.

Source: Zhang et al. 2019, https://arxiv.org/abs/1905.08094; T = 3, alpha 0.3.

  python -m experiments.launch --config experiments/configs/digits_exits.py \
    --workdir runs/exits
"""

from experiments.configs import digits


def get_config():
  """Exits on both pooled features of the student."""
  c = digits.get_config()
  c.alpha, c.temperature = 0.3, 3.0
  del c.networks.teacher
  c.networks.student.exits = ['pool1', 'pool2']
  c.scheme = dict(name='self_exits')
  c.terms.soft.teacher = 'deepest'
  return c
