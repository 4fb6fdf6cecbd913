"""A language model learns from a larger one: bytes of Python's own manual.

  python -m experiments.launch --config experiments/configs/pydoc.py \
    --workdir runs/pydoc
"""

from kd_jax import config


def get_config():
  """The manual inside of Python, byte by byte; nothing to download."""
  c = config.default()
  c.alpha = 0.9
  c.data = dict(name='pydoc', seed=0, tokenizer='bytes', length=128)
  c.networks.teacher = dict(
    name='llama', width=96, depth=2, heads=4, hidden=192, context=128
  )
  c.networks.student = dict(
    name='llama', width=32, depth=1, heads=2, hidden=64, context=128
  )
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(method='kd', weight=c.get_ref('alpha'), temperature=1.0)
  c.teacher.epochs, c.train.epochs = 4, 4
  for part in (c.teacher, c.train):
    part.batch_size = 16
    part.optimizer.name = 'adamw'
    part.optimizer.learning_rate = 5e-3
    part.optimizer.weight_decay = 1e-2
    part.optimizer.clip_norm = 1.0
    part.optimizer.schedule = dict(name='cosine', warmup=50)
  return c
