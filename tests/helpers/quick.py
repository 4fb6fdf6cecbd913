"""The smallest experiment that is whole: two MLPs on a part of the digits.

python -m experiments.launch --config tests/helpers/quick.py --workdir DIR
"""

from kd_jax import config


def get_config(arg: str = ''):
  """A teacher of 32, a student of 8; `arg` is a T to use instead of 4."""
  c = config.default()
  c.temperature = float(arg or 4)
  c.data.limit = 320
  c.networks.teacher = dict(name='mlp', widths=[32])
  c.networks.student = dict(name='mlp', widths=[8], dropout=0.1)
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method='kd', weight=c.get_ref('alpha'), temperature=c.get_ref('temperature')
  )
  for part in (c.train, c.teacher):
    part.steps, part.batch_size = 30, 32
    part.augment = ({'name': 'shift', 'pixels': 1},)
  return c
