"""ImageNet as in mdistiller: ResNet-34 to 18, ResNet-50 to MobileNet v1.

  python -m kd_jax.models.torch_weights resnet34.pth \
    --model imagenet_resnet34 --out teachers/resnet34
  python -m experiments.launch --workdir runs/imagenet --config \
    experiments/configs/imagenet.py:DKD,imagenet_resnet34,imagenet_resnet18,load=teachers/resnet34

The argument is as in `cifar100`, with the methods of `weights.IMAGENET`; the
published numbers are in `published.expected`. The data set is TFDS's
'imagenet2012', prepared as array_record and streamed (needs grain).

The recipe: 100 epochs of SGD with momentum 0.9, rate 0.2 times 0.1 at 30, 60
and 90, batches of 512 (CRD and ReviewKD: 0.1 and 256), decay 1e-4, random
resized crops and flips. Images are brought to 224 once, by the shorter side
and a cut from the middle, and the crops are taken of that, where the sources
crop the whole picture and test on the middle of 256: expect a little less.
Made for a machine with accelerators; not run here.
"""

from experiments.configs import cifar100, pairs, weights
from kd_jax import config

EXAMPLES, DECAYS = 1_281_167, (30, 60, 90)
USUAL = dict(
  epochs=100,
  batch_size=512,
  learning_rate=0.2,
  weight_decay=1e-4,
  augment=('resized_crop', 'flip'),
)
# Of the training images, in [0, 1].
NORMAL = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def get_config(arg: str = 'KD,imagenet_resnet34,imagenet_resnet18'):
  """`arg` is METHOD,TEACHER,STUDENT[,load=DIR][,smoke]."""
  (name, teacher, student), folder, smoke = cifar100.read(arg)
  pairs.check(teacher, student, pairs.IMAGENET)
  loss = weights.loss_of(name, teacher, student)
  c = config.default()
  c.data = dict(
    name='tfds',
    dataset='imagenet2012',
    test_split='validation',
    size=224,
    validation=0,
    seed=0,
    **NORMAL,
  )
  c.networks.teacher = dict(name=teacher, init=cifar100.INIT, load=folder)
  c.networks.student = dict(name=student, init=cifar100.INIT)
  cifar100.train(c.teacher, weights.Training(), USUAL, DECAYS)
  cifar100.train(c.train, loss.training, USUAL, DECAYS)
  per_epoch = 1 if smoke else EXAMPLES // c.train.batch_size
  cifar100.add_terms(c, loss, teacher, c.train.epochs, per_epoch)
  if smoke:
    for part in (c.train, c.teacher):
      part.update(cifar100.SMOKE)
  return c
