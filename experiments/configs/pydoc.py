"""A language model learns from a larger one: bytes of Python's own manual.

  python -m experiments.launch --config experiments/configs/pydoc.py \
    --workdir runs/pydoc
"""

from kd_jax import config


def get_config():
  """The manual inside of Python, byte by byte; nothing to download."""
  c = config.default()
  c.alpha = 0.9
  c.steps_at_once = 1  # not as is faster: the same numbers every time
  c.data = dict(name='pydoc', seed=0, tokenizer='bytes', length=128)
  c.networks.teacher = dict(
    name='llama', width=64, depth=2, heads=4, hidden=128, context=128
  )
  c.networks.student = dict(
    name='llama', width=24, depth=1, heads=2, hidden=48, context=128
  )
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(method='kd', weight=c.get_ref('alpha'), temperature=1.0)
  c.teacher.epochs, c.train.epochs = 3, 3
  for part in (c.teacher, c.train):
    part.batch_size = 16
    part.optimizer.name = 'adamw'
    part.optimizer.learning_rate = 8e-3
    part.optimizer.weight_decay = 1e-2
    part.optimizer.clip_norm = 1.0
    part.optimizer.schedule = dict(name='cosine', warmup=50)
  return c
