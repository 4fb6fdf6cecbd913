"""CamVid, small enough for a CPU: a U-Net teaches one of a 17th of its size.

Data: frames of films from a car, 367 to train, 101 to validate, 233 to test,
eleven classes and void; the folder is named by `raw_dir` (see
`kd_jax.data.maps.camvid`) and its images are scaled to 96x128, at which all
is scored: no published mIoU is at that size. Tests are of two films, one of
which trains too, so intervals resample blocks of neighboring frames.

Teacher `unet_teacher`, student `unet_student`; none of them has seen other
images. The distilled student has KD at every pixel (weight 1, T = 1) and CWD
on logits (weight 3, T = 4), CIRKD's weights; hard labels count fully in both.
Void pixels are left out of KD. Three seeds, all with one teacher.

Expected: not measured. It is 4,500 steps of the students and 1,200 of the
teacher, which is too long for the machine that this was written on. Another
program, a PyTorch U-Net of similar sizes at this image size with other steps
and optimizer settings, had test mIoU 36.6 % of the teacher and 29.4 % of such
a student alone; what distillation adds to it is not known. The learning rate
of the student alone comes first, on validation: `--sweep alone`; then the
weights, `--sweep weights`.

  python -m experiments.launch --config experiments/configs/camvid.py \
    --workdir runs/camvid --config.data.raw_dir=DIR
"""

from kd_jax import config, sweep

TEACHER_STEPS, STUDENT_STEPS = 1200, 750


def get_config():
  """Teacher, student alone, and the student by pixel KD and CWD."""
  c = config.default()
  c.seeds = 3
  c.data = dict(name='camvid', seed=0, raw_dir='', size=[96, 128])
  c.networks.teacher = dict(name='unet_teacher')
  c.networks.student = dict(name='unet_student')
  c.terms.hard = dict(method='cross_entropy')
  c.terms.pixels = dict(method='pixel_kd', weight=1.0, temperature=1.0)
  c.terms.channels = dict(
    method='cwd', weight=3.0, temperature=4.0, layers=[('logits', 'logits')]
  )
  c.select = 'best'
  c.teacher.steps, c.train.steps = TEACHER_STEPS, STUDENT_STEPS
  for part in (c.teacher, c.train):
    part.batch_size = 8
    part.augment = (dict(name='scale_crop', scale=[0.75, 1.75]), 'flip')
    part.optimizer.name = 'adamw'
    part.optimizer.learning_rate = 3e-3
    part.optimizer.weight_decay = 1e-4
    part.optimizer.schedule = dict(name='cosine', warmup=0.1)
  return c


def sweep_alone():
  """The learning rate of the student; look at the student alone."""
  return sweep.grid('train.optimizer.learning_rate', 1e-3, 3e-3, 8e-3)


def sweep_weights():
  """How much each of the soft losses counts."""
  return sweep.product(
    sweep.grid('terms.pixels.weight', 0.0, 1.0),
    sweep.grid('terms.channels.weight', 0.0, 3.0),
  )
