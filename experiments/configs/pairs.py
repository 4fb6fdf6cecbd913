"""The teacher and student pairs that the literature compares on.

Source: Tian, Krishnan, Isola 2020, https://arxiv.org/abs/1910.10699, tables 1
and 2, and its code, RepDistiller; the ImageNet pairs as in mdistiller.
"""

from kd_jax import types

# In the order of the published tables: alike, then unlike.
CIFAR100 = (
  ('wrn_40_2', 'wrn_16_2'), ('wrn_40_2', 'wrn_40_1'), ('resnet56', 'resnet20'),
  ('resnet110', 'resnet20'), ('resnet110', 'resnet32'),
  ('resnet32x4', 'resnet8x4'), ('vgg13', 'vgg8'), ('vgg13', 'mobilenet_v2'),
  ('resnet50', 'mobilenet_v2'), ('resnet50', 'vgg8'),
  ('resnet32x4', 'shufflenet_v1'), ('resnet32x4', 'shufflenet_v2'),
  ('wrn_40_2', 'shufflenet_v1'),
)  # fmt: skip
IMAGENET = (
  ('imagenet_resnet34', 'imagenet_resnet18'),
  ('imagenet_resnet50', 'mobilenet_v1'),
)

# Students that diverge at 0.05; the papers train them at 0.01.
LIGHT = ('mobilenet_v2', 'shufflenet_v1', 'shufflenet_v2')


def check(teacher: str, student: str, known: tuple) -> None:
  """Refuses a pair that has no published recipe.

  Raises:
    ValueError: one line with the known pairs.
  """
  if (teacher, student) not in known:
    names = [','.join(pair) for pair in known]
    raise types.unknown('pair', f'{teacher},{student}', names)


def count_stages(teacher: str) -> int:
  """How many stages both networks of the teacher's pairs have."""
  wide = ('vgg', 'imagenet', 'mobilenet')
  return 4 if teacher.startswith(wide) or teacher == 'resnet50' else 3


def layers_of(teacher: str) -> dict[str, list[tuple[str, str]]]:
  """What a method reads, by a name: RepDistiller's choice of features.

  Args:
    teacher: its pairs have stages in equal number.

  Returns:
    {'hint': after stage 2; 'stages': after each; 'flow': and the stem; 'pre':
    before the ReLU of each; 'last': the last stage; 'pooled'; 'final': the map
    that is pooled; 'review': the student after, the teacher before the ReLU;
    'review_pre': both before; 'exits': the student after each, logits}.
  """
  count = count_stages(teacher)
  stages = [f'stage{i}' for i in range(count + 1)]
  alike = [(s, s) for s in stages]
  pre = [(f'{s}_pre', f'{s}_pre') for s in stages[1:]]
  pooled = [('pooled', 'pooled')]
  return {
    'hint': alike[2:3],
    'stages': alike[1:],
    'flow': alike,
    'pre': pre,
    'last': alike[-1:],
    'pooled': pooled,
    'final': [('final', 'final')],
    'review': [(s, f'{s}_pre') for s in stages[1:]] + pooled,
    'review_pre': pre + pooled,
    'exits': [(s, 'logits') for s in stages[1:]],
  }
