"""What the sources have by pair, in their own names of networks and flags."""

# The names that mdistiller's descendants give networks in file names.
_SHORT = {
  'resnet20': 'res20', 'resnet32': 'res32', 'resnet56': 'res56',
  'resnet110': 'res110', 'resnet8x4': 'res8x4', 'resnet32x4': 'res32x4',
  'resnet50': 'res50', 'mobilenet_v2': 'mv2', 'shufflenet_v1': 'shuv1',
  'shufflenet_v2': 'shuv2', 'wrn_40_2': 'wrn40_2',
}  # fmt: skip
# Those of logit-standardization-KD.
_LONG = {
  'resnet50': 'ResNet50', 'mobilenet_v2': 'MobileNetV2',
  'shufflenet_v1': 'ShuffleV1', 'shufflenet_v2': 'ShuffleV2',
}  # fmt: skip


def short(teacher: str, student: str, mark: str = '_') -> str:
  """A pair in the names of mdistiller's files."""
  return mark.join(_SHORT.get(name, name) for name in (teacher, student))


def long(teacher: str, student: str, mark: str = '_') -> str:
  """A pair in the names of logit-standardization-KD."""
  return mark.join(_LONG.get(name, name) for name in (teacher, student))


DKD = {
  'DKD.CE_WEIGHT': 1.0,
  'DKD.ALPHA': 1.0,
  'DKD.BETA': 8.0,
  'DKD.T': 4.0,
  'DKD.WARMUP': 20,
}
DKD_FILES = {
  'res56_res20': {'BETA': 2.0}, 'res110_res32': {'BETA': 2.0},
  'wrn40_2_wrn_16_2': {'BETA': 6.0}, 'wrn40_2_wrn_40_1': {'BETA': 6.0},
  'vgg13_vgg8': {'BETA': 6.0}, 'vgg13_mv2': {'BETA': 6.0},
  'res32x4_res8x4': {}, 'res32x4_shuv1': {}, 'res32x4_shuv2': {},
  'res50_mv2': {}, 'wrn40_2_shuv1': {},
}  # fmt: skip

REVIEW = {  # the line's networks, and --kd-loss-weight
  ('wrn_40_2', 'wrn_16_2'): ('wrn-16-2 --teacher wrn-40-2', 5.0),
  ('wrn_40_2', 'wrn_40_1'): ('wrn-40-1 --teacher wrn-40-2', 5.0),
  ('wrn_40_2', 'shufflenet_v1'): ('shufflev1 --teacher wrn-40-2', 5.0),
  ('resnet32x4', 'resnet8x4'): ('resnet8x4 --teacher resnet32x4', 5.0),
  ('resnet32x4', 'shufflenet_v1'): ('shufflev1 --teacher resnet32x4', 5.0),
  ('resnet32x4', 'shufflenet_v2'): ('shufflev2 --teacher resnet32x4', 8.0),
  ('resnet56', 'resnet20'): ('resnet20 --teacher resnet56', 0.6),
  ('resnet110', 'resnet32'): ('resnet32 --teacher resnet110', 1.0),
}

CAT_DEFAULTS = {
  'CAT_KD.LOSS.CE_WEIGHT': 1.0,
  'CAT_KD.LOSS.CAT_loss_weight': 400.0,
  'CAT_KD.LOSS.CAM_RESOLUTION': 2,
  'CAT_KD.IF_NORMALIZE': True,
}


def _cat(weight, resolution, normalize):
  return {
    'CAT_loss_weight': weight,
    'CAM_RESOLUTION': resolution,
    'IF_NORMALIZE': normalize,
  }


CAT = {
  'wrn40_2_wrn_16_2': _cat(12.0, 2, False),
  'wrn40_2_wrn_40_1': _cat(1.5, 2, False),
  'res56_res20': _cat(0.7, 2, False),
  'res110_res32': _cat(1.8, 2, False),
  'res32x4_res8x4': _cat(15.0, 2, False),
  'vgg13_vgg8': _cat(4.5, 2, False),
  'vgg13_mv2': _cat(15.0, 2, True),
  'res50_mv2': _cat(40.0, 2, True),
  'res32x4_shuv1': _cat(600.0, 4, True),
  'res32x4_shuv2': _cat(600.0, 4, True),
  'wrn40_2_shuv1': _cat(80.0, 4, True),
}

MLLD_DEFAULTS = {
  'KD.TEMPERATURE': 4,
  'KD.LOSS.CE_WEIGHT': 0.1,
  'KD.LOSS.KD_WEIGHT': 0.9,
}
_LIKE = ('res110_res32', 'res32x4_res8x4', 'res56_res20', 'vgg13_vgg8')
_LIKE += ('wrn40_2_wrn_16_2', 'wrn40_2_wrn_40_1')
MLLD = {
  **{name: {'EPOCHS': 240} for name in _LIKE},
  'vgg13_mv2': {'EPOCHS': 480},
  'res50_mv2': {'EPOCHS': 480},
  'wrn40_2_shuv1': {'EPOCHS': 480},
  'res32x4_shuv1': {'EPOCHS': 960},
  'res32x4_shuv2': {'EPOCHS': 960},
}

# The logs of logit-standardization-KD are named
# METHOD,TEACHER,STUDENT,BASE_TEMPERATURE,KD_WEIGHT[,BETA], says its README.
LOGS = {
  'KD': {
    'resnet32x4,resnet8x4': (2, 9), 'vgg13,vgg8': (3, 9),
    'wrn_40_2,wrn_40_1': (2, 9), 'wrn_40_2,wrn_16_2': (2, 9),
    'resnet56,resnet20': (2, 9), 'resnet110,resnet32': (2, 9),
    'resnet110,resnet20': (4, 12), 'resnet32x4,ShuffleV2': (2, 9),
    'vgg13,MobileNetV2': (3, 9), 'ResNet50,MobileNetV2': (3, 1),
  },
  'DKD': {
    'resnet32x4,resnet8x4': (2, 9), 'vgg13,vgg8': (2, 15, 2.0),
    'wrn_40_2,wrn_40_1': (2, 12, 2.0), 'wrn_40_2,wrn_16_2': (2, 12, 2.0),
    'resnet56,resnet20': (3, 18, 2.0), 'resnet110,resnet32': (2, 15, 2.0),
    'resnet110,resnet20': (2, 15, 2.0), 'resnet32x4,ShuffleV2': (2, 9),
    'vgg13,MobileNetV2': (3, 9, 2.0), 'ResNet50,MobileNetV2': (2, 15, 2.0),
  },
  'MLKD': {
    'resnet32x4,resnet8x4': (2, 9), 'vgg13,vgg8': (2, 6),
    'wrn_40_2,wrn_40_1': (2, 9), 'wrn_40_2,wrn_16_2': (2, 9),
    'res110,res32': (2, 9), 'res110,res20': (2, 9),
    'resnet32x4,ShuffleV2': (2, 6), 'vgg13,MobileNetV2': (2, 6),
    'res50,mv2': (2, 9),
  },
}  # fmt: skip
LS_SCRIPT = {'--base-temp': 2, '--kd-weight': 9}  # its README's commands
_USUAL = (
  'ResNet50_MobileNetV2', 'resnet110_resnet20', 'resnet110_resnet32',
  'resnet32x4_resnet8x4', 'resnet56_resnet20', 'vgg13_MobileNetV2',
  'wrn_40_2_ShuffleV1', 'wrn_40_2_wrn_16_2', 'wrn_40_2_wrn_40_1',
)  # fmt: skip
LS_MLKD = {
  **{name: {'EPOCHS': 480} for name in _USUAL},
  'vgg13_vgg8': {'EPOCHS': 480, 'LR': 0.01},
  'resnet32x4_ShuffleV1': {'EPOCHS': 960},
  'resnet32x4_ShuffleV2': {'EPOCHS': 960},
}


def log_of(kind: str, teacher: str, student: str) -> dict[str, dict]:
  """{the log of a pair: what its name says}; {} where there is none.

  Args:
    kind: a key of LOGS.
    teacher, student: our names.
  """
  for name in (f(teacher, student, ',') for f in (long, short)):
    if name in LOGS[kind]:
      values = LOGS[kind][name]
      file = ','.join([f'logs/{kind}/{kind.lower()}', name, *map(str, values)])
      flags = ('BASE_TEMPERATURE', 'KD_WEIGHT', 'BETA')
      return {f'{file}.txt': dict(zip(flags, values))}
  return {}


def long_name(network: str) -> str:
  """A network in the names of logit-standardization-KD, and of SSKD."""
  return _LONG.get(network, network)


# The pairs that RLD has files of.
RLD = (
  ('resnet50', 'mobilenet_v2'), ('resnet110', 'resnet20'),
  ('resnet110', 'resnet32'), ('resnet32x4', 'shufflenet_v2'),
  ('resnet32x4', 'resnet8x4'), ('resnet56', 'resnet20'),
  ('vgg13', 'mobilenet_v2'), ('vgg13', 'vgg8'), ('wrn_40_2', 'wrn_16_2'),
  ('wrn_40_2', 'wrn_40_1'),
)  # fmt: skip

NORM = {
  name: {'ALPHA': alpha, 'BETA': beta}
  for name, (alpha, beta) in {
    'res110_res32': (5.0, 4.0), 'res32x4_res8x4': (4.0, 5.0),
    'res32x4_shuv1': (0.5, 8.5), 'res32x4_shuv2': (4.0, 5.0),
    'res50_mv2': (2.0, 7.0), 'res56_res20': (7.0, 2.0),
    'vgg13_mv2': (3.0, 6.0), 'vgg13_vgg8': (2.0, 7.0),
    'wrn40_2_shuv1': (4.0, 5.0), 'wrn40_2_wrn_16_2': (4.0, 5.0),
    'wrn40_2_wrn_40_1': (3.0, 6.0),
  }.items()
}  # fmt: skip

# Beta in the files of SDD_DKD and SDD_NKD, for which it is gamma.
SDD = {
  'res110_res32': {'BETA': 2.0}, 'res56_res20': {'BETA': 2.0},
  'vgg13_mv2': {'BETA': 6.0}, 'vgg13_vgg8': {'BETA': 6.0},
  'wrn40_2_wrn_16_2': {'BETA': 6.0}, 'wrn40_2_wrn_40_1': {'BETA': 6.0},
}  # fmt: skip
# The script whose commands name a pair, and the kinds that have two scales.
SDD_SCRIPTS = {
  'res32x4_res8x4': ('teacher_resnet32x4', ('kd', 'nkd')),
  'res32x4_shuv1': ('teacher_resnet32x4', ()),
  'res32x4_shuv2': ('teacher_resnet32x4', ()),
  'wrn40_2_shuv1': ('teacher_wrn', ()),
  'vgg13_vgg8': ('teacher_vgg', ('kd', 'dkd', 'nkd')),
  'vgg13_mv2': ('teacher_vgg', ()),
  'res50_mv2': ('teacher_vgg', ()),
  'res50_vgg8': ('teacher_unpair', ('nkd',)),
}


def sdd_script(kind: str, name: str) -> tuple[str, tuple[int, ...]] | None:
  """(script, scales) of SDD's commented command for a pair; None without one.

  Args:
    kind: 'kd', 'dkd' or 'nkd'.
    name: of the pair's file.
  """
  if name not in SDD_SCRIPTS or (kind, name) == ('dkd', 'res32x4_res8x4'):
    return None
  script, two = SDD_SCRIPTS[name]
  return script, (1, 2) if kind in two else (1, 2, 4)


def _transport(weight, temperature):
  return {
    'CE_WEIGHT': 1.0,
    'WKD_LOGIT_WEIGHT': weight,
    'COSINE_DECAY_EPOCH': 150,
    'LAMBDA': 0.05,
    'ITER': 10,
    'COST_MATRIX': 'cka',
    'COST_MATRIX_SHARPEN': 1.0,
    'TEMPERATURE': temperature,
  }


def _gaussian(weight, ratio, grid):
  return {
    'CE_WEIGHT': 1.0,
    'WKD_FEAT_WEIGHT': weight,
    'COSINE_DECAY_EPOCH': 150,
    'EPS': 1e-5,
    'MEAN_COV_RATIO': ratio,
    'SPATIAL_GRID': grid,
  }


WKD = {
  'l': {
    'res32x4_res8x4': _transport(600.0, 8.0),
    'wrn40_2_shuv1': _transport(200.0, 6.0),
  },
  'f': {
    'res32x4_res8x4': _gaussian(0.08, 4.0, 1),
    'wrn40_2_shuv1': _gaussian(0.3, 3.0, 4),
  },
}
