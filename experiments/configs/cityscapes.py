"""Cityscapes as published: DeepLabV3-ResNet-101 teaches small segmenters.

  python -m kd_jax.models.torch_weights resnet18.pth \
    --model imagenet_resnet18 --out teachers/resnet18
  python -m experiments.launch --workdir runs/cityscapes --config \
    experiments/configs/cityscapes.py:cwd,deeplabv3_resnet18 \
    --config.data.folder=DIR --config.networks.teacher.load=teachers/deeplab \
    --config.networks.student.backbone=teachers/resnet18

The argument is METHOD,STUDENT: a key of METHODS and one of STUDENTS. DIR holds
`leftImg8bit` and `gtFine` with maps of train ids: 2,975 images train and 500
test, 1024x2048, 19 classes. The teacher is a finished network, or is trained
first, with a backbone of its own. Students start from a backbone trained on
ImageNet; without it expect five to ten points less.

The protocol of CIRKD, Af-DCD and DIST: 40,000 steps of 16 crops of 512x1024,
SGD with momentum 0.9, rate 0.02 that falls as (1 - i/N)^0.9 to 1e-4, decay
1e-4 (DIST: 5e-4); images scaled by 0.5 to 2 and flipped, one draw for image and
labels; cross-entropy of the logits resized to the labels, and for students 0.4
times that of the auxiliary classifier. The student alone is METHOD `alone`, a
run of its own, with the auxiliary loss too. Single scale, whole images at the
test. Published mIoU in % on validation, teacher 78.07, from
Af-DCD's README (DIST's are from its own table):

  student             alone  SKD    IFVD   CWD    CIRKD  Af-DCD  DIST
  DeepLabV3-ResNet18  74.21  75.42  75.59  75.55  76.38  77.03   77.10
  PSPNet-ResNet18     -      -      -      -      -      -       76.31

Baselines differ by five points between codes: compare within a row only. Not
these programs: SKD here is its pairwise term beside pixel KD, and CIRKD its
mini-batch term, without adversary and memory; IFVD, CWD and CIRKD stand beside
pixel KD as in CIRKD's code, without its adversary. Af-DCD is not here.
Void pixels are in CWD, SKD and CIRKD, as published; they are left out of pixel
KD unless its term says `void=True`. Corners are not aligned in resizing.

Made for a machine with accelerators; not run here.
"""

from kd_jax import config, types

STEPS, RATE, END = 40_000, 0.02, 1e-4
CROP = (512, 1024)
# Of ImageNet's training images, in [0, 1].
NORMAL = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
STUDENTS = ('deeplabv3_resnet18', 'pspnet_resnet18')
_PIXELS = dict(method='pixel_kd', weight=1.0, temperature=1.0)
_LOGITS, _FINAL = [('logits', 'logits')], [('final', 'final')]
# name -> (further terms, mIoU of STUDENTS in % or None).
METHODS = {
  'alone': ({}, (74.21, None)),
  'skd': (
    {'pairs': dict(method='skd_pairwise', weight=1.0, layers=_FINAL)},
    (75.42, None),
  ),
  'ifvd': (
    {'variation': dict(method='ifvd', weight=20.0, layers=_FINAL)},
    (75.59, None),
  ),
  'cwd': (
    {
      'channels': dict(
        method='cwd', weight=3.0, temperature=4.0, layers=_LOGITS
      )
    },
    (75.55, None),
  ),
  'cirkd': (
    {'images': dict(method='cirkd_minibatch', weight=1.0, layers=_FINAL)},
    (76.38, None),
  ),
  'dist': ({'relations': dict(method='dist', weight=1.0)}, (77.10, 76.31)),
}


def get_config(arg: str = 'cwd,deeplabv3_resnet18'):
  """`arg` is METHOD,STUDENT."""
  name, student = _read(arg)
  c = config.default()
  c.data = dict(
    name='folder',
    folder='data/cityscapes',
    image_folder='leftImg8bit/{split}',
    label_folder='gtFine/{split}',
    image_suffix='_leftImg8bit',
    label_suffix='_gtFine_labelTrainIds',
    test_split='val',
    separator='_',
    classes=19,
    ignore=255,
    validation=0,
    seed=0,
    **NORMAL,
  )
  c.baseline = False  # METHOD `alone` is it, once for all methods
  if name != 'alone':
    c.networks.teacher = dict(name='deeplabv3_resnet101')
  c.networks.student = dict(name=student)
  c.terms.hard = dict(method='cross_entropy')
  c.views.auxiliary = dict(name='output', sources=['student'], key='logits_aux')
  c.terms.auxiliary = dict(
    method='cross_entropy', weight=0.4, student='auxiliary'
  )
  for term, options in METHODS[name][0].items():
    c.terms[term] = dict(options)
  if name not in ('alone', 'dist'):
    c.terms.pixels = dict(_PIXELS)
  for part in (c.teacher, c.train):
    part.steps, part.batch_size = STEPS, 16
    part.augment = (
      dict(name='scale_crop', scale=[0.5, 2.0], size=CROP, fill=NORMAL['mean']),
      'flip',
    )
    part.optimizer.name = 'sgd'
    part.optimizer.options = dict(momentum=0.9, decay='all')
    part.optimizer.learning_rate = RATE
    part.optimizer.weight_decay = 1e-4
    part.optimizer.schedule = dict(name='poly', power=0.9, end=END / RATE)
  if name == 'dist':
    c.train.optimizer.weight_decay = 5e-4
  return c


def expected(name: str, student: str) -> float | None:
  """The published mIoU in %, or None."""
  return METHODS[name][1][STUDENTS.index(student)]


def _read(arg: str) -> tuple[str, str]:
  """The method and the student of an argument.

  Raises:
    ValueError: one line, for anything else.
  """
  parts = arg.split(',')
  if len(parts) != 2:
    raise ValueError(f"argument '{arg}'; legal: METHOD,STUDENT")
  for what, value, known in zip(
    ('method', 'student'), parts, (METHODS, STUDENTS)
  ):
    if value not in known:
      raise types.unknown(what, value, known)
  return parts[0], parts[1]
