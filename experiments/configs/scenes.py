"""A segmenter for real time learns to read streets: drawn, no data needed.

Data: street scenes of 64x96 pixels with eleven classes and void, drawn by
`kd_jax.data.readers.scenes`: 256 to train, 48 to validate, 200 to test. The
teacher is a U-Net of 491,979 parameters; the student, one of 22,419, a tenth of
the operations. Both students have the hard labels in full, the same network,
optimizer, rate, epochs and seed; the distilled one has KD at every pixel
(T = 1) and CWD on logits (T = 4).

Chosen on validation, one seed each (best mean IoU):
  the student alone: 10.4, 26.0, 30.2, 31.3 and 31.1 % at rates of 0.003, 0.01,
    0.03, 0.06 and 0.1 (`scenes.py:student --sweep rates`);
  the teacher: 36.1 % at 0.01, 35.2 at 0.03;
  the weights at the student's rate of 0.06 (`--sweep weights`): 30.0 % at 1 for
    pixels and 0.3 for channels; 29.0 to 30.0 at the other five, CIRKD's 1 and 3
    among them (29.3): none is better than the student alone.

Expected, one seed, so no verdict (test mIoU): teacher 35.1 %, student alone
29.7, distilled 29.9: +0.2 points (95 % interval over the 200 test images -0.2
to +0.6). 116 s of CPU time; under two minutes on two cores that tests shared.
At a rate of 0.01, which is too low for the student, it was +2.5 points: what
distillation gave there, a higher rate gives as well.

  python -m experiments.launch --config experiments/configs/scenes.py \
    --workdir runs/scenes
"""

from kd_jax import config, sweep

TEACHER_RATE, STUDENT_RATE = 1e-2, 6e-2


def get_config(arg: str = ''):
  """Drawn street scenes; nothing to download.

  `arg` 'student' is the student alone, to tune its rate.
  """
  c = config.default()
  c.data = dict(
    name='scenes', seed=0, images=304, validation=48, height=64, width=96
  )
  c.networks.student = dict(name='unet', widths=[4, 8, 12, 16, 24])
  c.terms.hard = dict(method='cross_entropy')
  if config.one_of(arg, 'student'):
    c.baseline = False
  else:
    c.networks.teacher = dict(name='unet', widths=[12, 24, 48, 80, 128])
    c.terms.pixels = dict(method='pixel_kd', weight=1.0, temperature=1.0)
    c.terms.channels = dict(
      method='cwd', weight=0.3, temperature=4.0, layers=[('logits', 'logits')]
    )
  rates = TEACHER_RATE, STUDENT_RATE
  for part, rate in zip((c.teacher, c.train), rates):
    part.epochs = 8
    part.batch_size = 8
    part.augment = ('flip',)
    part.optimizer.name = 'adamw'
    part.optimizer.learning_rate = rate
    part.optimizer.weight_decay = 1e-4
    part.optimizer.schedule = dict(name='cosine')
  return c


def sweep_rates():
  """The learning rate of the student alone: `scenes.py:student`."""
  return sweep.grid(
    'train.optimizer.learning_rate', 3e-3, 1e-2, 3e-2, 6e-2, 1e-1
  )


def sweep_weights():
  """The weights of both soft losses, at the rate of the student alone."""
  return sweep.product(
    sweep.grid('terms.pixels.weight', 1.0, 4.0),
    sweep.grid('terms.channels.weight', 0.3, 1.0, 3.0),
  )
