"""A transfer set without labels, or with few: the teacher speaks for them.

The first part trains the teacher with all labels, and a student alone and
distilled; the other parts load that teacher. There `data.labels` says how many
digits have a label: the hard loss counts those, the soft one all, and the
student alone has those alone.

  python -m experiments.launch \
    --config experiments/configs/digits_unlabelled.py \
    --workdir runs/unlabelled/all
  python -m experiments.launch \
    --config experiments/configs/digits_unlabelled.py:none \
    --workdir runs/unlabelled/none

and likewise with ':50', ':10' or any other number.
"""

from experiments.configs import digits

# Where the first part leaves the teacher of the others.
TEACHER = 'runs/unlabelled/all/seed_0/networks/teacher'


def get_config(arg: str = 'all'):
  """`arg` is 'all', 'none' or a number of labels."""
  c = digits.get_config()
  c.networks.teacher = dict(name='cnn', hidden=64)
  c.networks.student = dict(name='cnn', hidden=16)
  c.train.epochs = 40
  if arg == 'all':
    return c
  c.networks.teacher = dict(load=TEACHER)
  c.data.labels = arg if arg == 'none' else int(arg)
  if arg == 'none':
    del c.terms.hard
    c.baseline = False
  return c
