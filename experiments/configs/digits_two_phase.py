"""FitNet's own recipe: hints first, then logits.

Source: Romero et al. 2015, https://arxiv.org/abs/1412.6550.

  python -m experiments.launch \
    --config experiments/configs/digits_two_phase.py --workdir runs/two_phase
"""

from experiments.configs import digits
from kd_jax import config


def get_config(arg: str = ''):
  """The hint moves the student's first convolution only.

  `arg` 'head_start': the same order, all parameters move in both phases."""
  config.one_of(arg, 'head_start')
  c = digits.get_config()
  c.terms.hint = dict(method='fitnet', layers=[('pool1', 'pool1')])
  if arg == 'head_start':
    c.scheme = dict(name='head_start', order=[['hint'], ['hard', 'soft']])
  else:
    c.scheme = dict(
      name='two_phase', first=['hint'], share=0.3, trains=['conv1/*']
    )
  return c
