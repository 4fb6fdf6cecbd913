"""ONE: three branches on one trunk learn from their gated ensemble.

Source: Lan, Zhu, Gong 2018, https://arxiv.org/abs/1806.04606; T = 3.

  python -m experiments.launch --config experiments/configs/digits_branches.py \
    --workdir runs/branches
"""

from experiments.configs import digits


def get_config():
  """Three branches from the student's first pooled features."""
  c = digits.get_config()
  c.temperature = 3.0
  del c.networks.teacher
  c.networks.student.branches = dict(layer='pool1', count=3)
  c.scheme = dict(name='branches')
  c.terms.hard.weight = 1.0
  c.terms.soft = dict(
    method='kd', teacher='ensemble', temperature=c.get_ref('temperature')
  )
  return c
