"""Tiny Shakespeare, letter by letter: four layers of 128 teach two of 64.

Data: 1.1 million characters, 66 tokens; the first 90 % train, the next 5 %
validate, the last 5 % test, in rows of 128. Both are Llamas with rotary
positions and tied heads. Students have 0.1 of the hard and 0.9 of the soft loss
at T = 1, three seeds with one teacher.

  export KD_JAX_RAW_DIR=DIR  # that holds shakespeare/input.txt.gz
  python -m experiments.launch --config experiments/configs/shakespeare.py \
    --workdir runs/shakespeare

The learning rate of the student alone comes first, on validation:

  python -m experiments.launch --config \
    experiments/configs/shakespeare.py:alone --workdir runs/shakespeare_alone \
    --sweep alone --config.seeds=1

Expected, test perplexity a character, three seeds: teacher 5.46, student alone
6.26 (spread 0.09), distilled 5.99 (0.04): helped, -0.27 (95 % interval -0.47 to
-0.06). Rates of the student alone on validation, one seed: 6.03, 5.67 and 5.76
at 3e-3, 6e-3 and 1.2e-2; alpha was not tuned.
"""

from kd_jax import config, sweep


def get_config(arg=''):
  """Teacher, student alone and distilled student; 'alone': without teacher."""
  arg = config.one_of(arg, 'alone')
  c = config.default()
  c.seeds = 3
  c.alpha, c.temperature = 0.9, 1.0
  c.steps_at_once = 1  # not as is faster: the same numbers every time
  c.data = dict(name='shakespeare', seed=0, raw_dir='', length=128)
  llama = dict(name='llama', context=128, heads=4, tied=True)
  c.networks.teacher = dict(**llama, width=128, depth=4, hidden=384)
  c.networks.student = dict(**llama, width=64, depth=2, hidden=192)
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method='kd', weight=c.get_ref('alpha'), temperature=c.get_ref('temperature')
  )
  c.teacher.steps, c.train.steps = 600, 600
  for part in (c.teacher, c.train):
    part.batch_size = 32
    part.optimizer.name = 'adamw'
    part.optimizer.weight_decay = 0.1
    part.optimizer.clip_norm = 1.0
    part.optimizer.schedule = dict(name='cosine', warmup=0.1)
  c.teacher.optimizer.learning_rate = 3e-3
  c.train.optimizer.learning_rate = 6e-3  # the best of the student alone
  if arg == 'alone':
    del c.networks.teacher, c.terms.soft
    c.terms.hard.weight = 1.0
    c.baseline = False
  return c


def sweep_alone():
  """The learning rate of the student."""
  return sweep.grid('train.optimizer.learning_rate', 3e-3, 6e-3, 1.2e-2)


def sweep_softness():
  """How much the teacher counts."""
  return sweep.grid('alpha', 0.5, 0.9, 1.0)
