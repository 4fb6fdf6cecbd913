"""Three teachers of different architectures speak as one.

  python -m experiments.launch --config experiments/configs/digits_ensemble.py \
    --workdir runs/ensemble
"""

from experiments.configs import digits


def get_config(arg: str = ''):
  """`arg`: how they are combined; by default the mean of probabilities."""
  c = digits.get_config()
  del c.networks.teacher
  c.networks.wide = dict(name='cnn', hidden=128)
  c.networks.middle = dict(name='cnn', hidden=64)
  c.networks.flat = dict(name='mlp', widths=[256, 128])
  c.scheme = dict(
    name='ensemble',
    teachers=['wide', 'middle', 'flat'],
    combine=arg or 'mean_probs',
  )
  if arg == 'weighted':
    c.scheme.weights = [0.5, 0.25, 0.25]
  c.terms.soft.teacher = 'ensemble'
  return c
