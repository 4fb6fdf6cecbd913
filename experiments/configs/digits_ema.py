"""Self-distillation: the teacher is a moving average of the student.

Source: Tarvainen, Valpola 2017, https://arxiv.org/abs/1703.01780.

  python -m experiments.launch --config experiments/configs/digits_ema.py \
    --workdir runs/ema
"""

from experiments.configs import digits


def get_config():
  """A decay of 0.99: some five epochs' memory here."""
  c = digits.get_config()
  c.alpha = 0.5
  del c.networks.teacher
  c.scheme = dict(name='self_ema', decay=0.99)
  c.terms.soft.teacher = 'average'
  return c
