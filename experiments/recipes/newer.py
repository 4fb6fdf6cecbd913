"""What the sources' files say of methods from 2021 on, on CIFAR-100.

As in `cifar100`; each is in the repository of its authors. Not among them:
VkD, whose repository trains transformers on ImageNet alone; the instance-wise
temperatures of CTKD, whose network is not in its repository; and USKD, which
has no teacher, and so no pair.
"""

from collections.abc import Callable

from experiments.configs import pairs
from experiments.recipes import places, programs, sources, tables

_DECAY = (150, 180, 210)


def _rld(teacher, student):
  """A file for each of eleven pairs; its README trains with --same-t."""
  name, note = tables.long(teacher, student), ''
  if (teacher, student) not in tables.RLD:
    like = 'ShuffleV2' if student in pairs.LIGHT else 'resnet8x4'
    name, note = f'resnet32x4_{like}', 'no file of this pair: the defaults'
  says = {
    f'configs/cifar100/rld/{name}.yaml': programs.cifar_solver(student),
    sources.CFG: {
      'RLD.CE_WEIGHT': 1.0,
      'RLD.ALPHA': 1.0,
      'RLD.BETA': 8.0,
      'RLD.T': 4.0,
      'RLD.WARMUP': 20,
    },
    'README.md#--same-t': {'RLD.T': 4.0},
  }
  return sources.Origin('zju-SWJ/RLD', says, note)


def _sdd(kind, defaults) -> Callable:
  """A file for each pair, and the scales of a command, left as a comment."""

  def make(teacher, student):
    name, note = tables.short(teacher, student), ''
    says, command = {}, tables.sdd_script(kind, name)
    if command:
      line = f'{command[0]}.sh#sdd_{kind}/{name}.yaml'
      says[line] = {'--M': command[1]}
    else:
      note = 'no command of this pair: the scales of the README'
      says['README.md#train_origin.py --cfg'] = {'--M': (1, 2, 4)}
    own = tables.SDD.get(name, {}) if kind != 'kd' else {}
    if name == 'res110_res20':
      name, note = 'res32x4_res8x4', 'no file of this pair: the defaults'
    says |= {
      f'configs/cifar100/sdd_{kind}/{name}.yaml': {
        **programs.cifar_solver(student),
        **own,
      },
      sources.CFG: defaults,
    }
    return sources.Origin('shicaiwei123/SDD-CVPR2024', says, note)

  return make


def _wkd(kind) -> Callable:
  """Files for two pairs; the others have the first one's."""

  def make(teacher, student):
    known, note = tables.WKD[kind], ''
    name = tables.short(teacher, student)
    if name not in known:
      name, note = 'res32x4_res8x4', 'no file of this pair: that of the first'
    folder, solver = (
      f'configs/cifar100/wkd_{kind}',
      programs.cifar_solver(student),
    )
    rate = {'LR': solver.pop('LR')}
    says = {f'{folder}/{name}.yaml': {**solver, **known[name]}}
    file = 'wrn40_2_shuv1' if student in pairs.LIGHT else 'res32x4_res8x4'
    place = f'{folder}/{file}.yaml'
    says[place] = {**says.get(place, {}), **rate}
    return sources.Origin('JiamingLv/WKD', says, note)

  return make


def _itrd(teacher, student):
  """The command of the README."""
  pair = ('wrn_40_2', 'wrn_16_2')
  says = {
    'README.md#--model_s wrn_16_2': {
      '-b': 1.0,
      '-r': 1.0,
      '--lambda_corr': 2.0,
      '--lambda_mutual': 1.0,
      '--alpha_it': 1.01,
    },
    **programs.repdistiller(student),
    'helper/loops.py': {'f_s': 'feat_s[-1]'},
  }
  note = places.shown((teacher, student), pair)
  return sources.Origin('roymiles/ITRD', says, note)


def _afd(teacher, student):
  """The only program; its README has one pair."""
  says = {
    'README.md#--model wrn16x2': {'--beta': 200},
    'main.py': {
      '--epoch': 240,
      '--batch_size': 64,
      '--lr': 0.05,
      '--schedule': _DECAY,
      '--lr_decay': 0.1,
      '--weight_decay': 5e-4,
      '--momentum': 0.9,
      '--alpha': 0.9,
      '--temperature': 4,
      '--qk_dim': 128,
    },
  }
  note = places.shown((teacher, student), ('wrn_40_2', 'wrn_16_2'))
  return sources.Origin('clovaai/attention-feature-distillation', says, note)


def _sskd(teacher, student):
  """The defaults of student.py; command.sh has the students' rates."""
  line, note = f'command.sh#--s-arch {tables.long_name(student)} ', ''
  rate = {line: {'--lr': programs.rate_of(student)}}
  if student == 'resnet32':
    rate, note = {}, 'not in its commands: the defaults'
  says = {
    **rate,
    'student.py': {
      '--lr': 0.05,
      '--epoch': 240,
      '--t-epoch': 60,
      '--batch-size': 64,
      '--momentum': 0.9,
      '--weight-decay': 5e-4,
      '--gamma': 0.1,
      '--milestones': _DECAY,
      '--ce-weight': 0.1,
      '--kd-weight': 0.9,
      '--tf-weight': 2.7,
      '--ss-weight': 10.0,
      '--kd-T': 4.0,
      '--tf-T': 4.0,
      '--ss-T': 0.5,
      '--ratio-tf': 1.0,
      '--ratio-ss': 0.75,
    },
  }
  return sources.Origin('xuguodong03/SSKD', says, note)


def _dot(teacher, student):
  """KD by the trainer DOT: files for three pairs."""
  name, note = tables.short(teacher, student), ''
  if name not in ('res32x4_res8x4', 'res32x4_shuv2', 'vgg13_vgg8'):
    like = 'shuv2' if student in pairs.LIGHT else 'res8x4'
    name, note = f'res32x4_{like}', 'no file of this pair: that of another'
  says = {
    f'configs/cifar100/dot/{name}.yaml': {
      **programs.cifar_solver(student),
      'DELTA': 0.075,
    },
    sources.CFG: {
      'KD.LOSS.CE_WEIGHT': 0.1,
      'KD.LOSS.KD_WEIGHT': 0.9,
      'KD.TEMPERATURE': 4,
    },
  }
  return sources.Origin(sources.MDISTILLER, says, note)


_NORM = {
  'NormKD.TEMPERATURE_NORM': 2.0,
  'NormKD.LOSS.CE_WEIGHT': 0.1,
  'NormKD.LOSS.KD_WEIGHT': 0.9,
}
_NORM_DKD = {
  'NormKD_W_DKD.TEMPERATURE_NORM': 2.0,
  'NormKD_W_DKD.CE_WEIGHT': 1.0,
  'NormKD_W_DKD.ALPHA': 1.0,
  'NormKD_W_DKD.BETA': 8.0,
  'NormKD_W_DKD.WARMUP': 20,
}
_SDD_KD = {
  'KD.LOSS.CE_WEIGHT': 0.1,
  'KD.LOSS.KD_WEIGHT': 0.9,
  'KD.TEMPERATURE': 4,
}
_NORM_AT = 'gizi1/NormKD', 'configs/cifar100'

CIFAR100 = {
  'rld': _rld,
  'normkd': places.files(
    _NORM_AT[0],
    f'{_NORM_AT[1]}/NormKD',
    {name: {} for name in tables.NORM},
    _NORM,
  ),
  'normkd+dkd': places.files(
    _NORM_AT[0], f'{_NORM_AT[1]}/NormKD_DKD', tables.NORM, _NORM_DKD
  ),
  'sdd_kd': _sdd('kd', _SDD_KD),
  'sdd_dkd': _sdd('dkd', tables.DKD),
  'sdd_nkd': _sdd('nkd', tables.DKD),
  'wkd_l': _wkd('l'),
  'wkd_f': _wkd('f'),
  'afd': _afd,
  'itrd': _itrd,
  'sskd': _sskd,
  'kd+dot': _dot,
}
