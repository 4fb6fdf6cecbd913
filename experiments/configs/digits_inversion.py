"""DeepInversion: a student learns on images that are made of the teacher.

Noise is optimized until the teacher takes it for digits and its batch norms see
the means and variances of training; then the student learns on these images.
The student alone, to which the report compares it, is the same network with all
of the data and the same steps.

Source: Yin et al. 2020, https://arxiv.org/abs/1912.08795. The teacher is a
small CNN with two batch norms. Weights and steps were not tuned: 1 for the
statistics, of networks with few channels, where the source has 100.

  python -m experiments.launch \
    --config experiments/configs/digits_inversion.py --workdir runs/inversion
"""

from experiments.configs import digits


def get_config():
  """digits.py; 512 images in two rounds, in place of 1,293 digits."""
  c = digits.get_config()
  c.networks.teacher = dict(name='cnn', hidden=64, norm=True)
  c.networks.student = dict(name='cnn', hidden=16)
  c.scheme = dict(
    name='inversion', images=256, rounds=2, steps=500, statistics=1.0, jitter=1
  )
  del c.terms.hard
  c.terms.soft = dict(method='kd', temperature=c.get_ref('temperature'))
  c.train.augment = (dict(name='shift', pixels=1),)
  return c
