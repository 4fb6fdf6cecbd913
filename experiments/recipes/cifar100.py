"""What the sources' files say of each method on CIFAR-100, in their names.

Nothing here is read off `experiments.configs.weights`.
"""

from collections.abc import Callable

from experiments.configs import pairs
from experiments.recipes import newer, places, programs, sources, tables

_LS = 'sunshangquan/logit-standardization-KD'
_SCRIPT = 'scripts/run_cifar_distill.sh'
_GAMMA = {'--gamma': 1}  # the default of -r


def _rep(distill, beta, reads=None, train=None) -> Callable:
  """A line of RepDistiller's script without the soft loss of KD."""
  line = {f'{_SCRIPT}#--distill {distill} ': {'-a': 0, '-b': beta}}
  return places.script(line, reads, {**_GAMMA, **(train or {})})


def _simkd(distill, cls, div, reads, beta=1) -> Callable:
  """A line of SimKD's script."""
  line = f'scripts/run_distill.sh#--distill {distill} --model_s resnet8x4'
  own = {line: {'-c': cls, '-d': div, '-b': beta}}
  return places.script(own, reads, repository='DefangChen/SimKD')


def _ctkd(repository, folder, alpha) -> Callable:
  """CTKD's script, whose command has several lines."""
  script, example = f'{folder}{_SCRIPT}', ('resnet56', 'resnet20')

  def make(teacher, student):
    program = programs.repdistiller(student, ctkd=True)
    says = {
      f'{script}#-b 0 --kd_T': {'-r': 0.1, '-a': alpha},
      f'{script}#--cosine_decay 1': {'--decay_loops': 10},
      **{folder + file: flags for file, flags in program.items()},
      f'{script}#--batch_size': {'--batch_size': 64, '--learning_rate': 0.05},
    }
    return sources.Origin(
      repository, says, places.shown((teacher, student), example)
    )

  return make


def _feature(name, beta) -> Callable:
  """mdistiller's defaults of a feature method beside its file of one pair."""
  key = name.upper()

  def make(teacher, student):
    loss = {f'{key}.LOSS.CE_WEIGHT': 1.0, f'{key}.LOSS.FEAT_WEIGHT': beta}
    # The rate of light students is in other files alone.
    file = 'dkd/res32x4_shuv1' if student in pairs.LIGHT else name
    solver = programs.cifar_solver(student)
    says = {sources.CFG: loss, f'configs/cifar100/{file}.yaml': solver}
    return sources.Origin(
      sources.MDISTILLER, says, places.shown((teacher, student), places.EXAMPLE)
    )

  return make


def _review(teacher, student):
  """ReviewKD's own program and script."""
  says, line = {}, tables.REVIEW.get((teacher, student))
  if line:
    file = f'CIFAR-100/script/reviewKD.sh#--model {line[0]} '
    says[file] = {'--kd-loss-weight': line[1]}
  says |= programs.reviewkd(student)
  note = '' if line else 'not in its script: the defaults'
  return sources.Origin('dvlab-research/ReviewKD', says, note)


def _standardized(kind) -> Callable:
  """Logit standardization: by the names of its logs, else its README."""

  def make(teacher, student):
    says = tables.log_of(kind, teacher, student)
    note = '' if says else "no log of this pair: the README's commands"
    readme = f'README.md#configs/cifar100/{kind.lower()}/resnet32x4_resnet8x4'
    says |= {f'{readme}.yaml --logit-stand': tables.LS_SCRIPT}
    solver, name = programs.cifar_solver(student), tables.long(teacher, student)
    if kind == 'MLKD':
      solver = programs.cifar_solver(student, 0.025)
      known = name in tables.LS_MLKD
      name = name if known else 'resnet32x4_resnet8x4'
      solver |= tables.LS_MLKD[name]
      says[f'configs/cifar100/mlkd/{name}.yaml'] = solver
    elif kind == 'DKD':
      solver |= tables.DKD_FILES.get(tables.short(teacher, student), {})
      name = name.replace('MobileNetV2', 'MobileNetv2', name[:6] == 'ResNet')
      own = tables.short(teacher, student) in tables.DKD_FILES
      name = name if own else 'resnet32x4_resnet8x4'
      says[f'configs/cifar100/dkd/{name}.yaml'] = solver
    else:
      known = (teacher, student) != ('resnet50', 'vgg8')
      name = name if known else 'resnet32x4_resnet8x4'
      says[f'configs/cifar100/kd/{name}.yaml'] = solver
    ce = {'KD.LOSS.CE_WEIGHT': 0.1}
    says[sources.CFG] = tables.DKD if kind == 'DKD' else ce
    return sources.Origin(_LS, says, note)

  return make


def _dist(teacher, student):
  """DIST's own program."""
  says = programs.dist_cifar(student)
  return sources.Origin('hunto/image_classification_sota', says)


def _mm_cifar(**flags) -> Callable:
  says = sources.mm(
    'cifar100', programs.mm_cifar(), 'res34_distill_res18_cifar', **flags
  )
  return sources.same(sources.MM, says, 'shown for ResNet-34, ResNet-18')


_POOLED, _STAGES = {'f_s': 'feat_s[-1]'}, {'g_s': 'feat_s[1:-1]'}
_INIT = {'--init_epochs': 30}
_WTTM = {
  'README.md#--add wttm': {'--ttm_l': 0.2},
  'README.md#-b 0.8 -a 4': {'-b': 0.8, '-a': 4},
}
_TTM = {
  'README.md#--distill ttm': {'--ttm_l': 0.1},
  'README.md#-b 45': {'-r': 1, '-b': 45, '-a': 0},
}
_VGG = ('vgg13', 'vgg8')

CIFAR100 = {
  'kd': places.script(
    {f'{_SCRIPT}#--distill kd ': {'-r': 0.1, '-a': 0.9, '-b': 0}}
  ),
  'fitnet': _rep(
    'hint', 100, {'f_t': 'feat_t[opt.hint_layer]'}, {'--hint_layer': 2}
  ),
  'at': _rep('attention', 1000, _STAGES),
  'sp': _rep('similarity', 3000, {'g_s': '[feat_s[-2]]'}),
  'cc': _rep('correlation', 0.02, {'f_s': 'module_list[1](feat_s[-1])'}),
  'vid': _rep('vid', 1, _STAGES),
  'rkd': _rep('rkd', 1, _POOLED),
  'pkt': _rep('pkt', 30000, _POOLED),
  'ab': _rep('abound', 1, None, _INIT),
  'ft': _rep('factor', 200, {'factor_s': 'module_list[1](feat_s[-2])'}, _INIT),
  'fsp': _rep('fsp', 50, None, _INIT),
  'nst': _rep('nst', 50, _STAGES),
  'crd': _rep('crd', 0.8, _POOLED),
  'kdsvd': _feature('kdsvd', 1.0),
  'ofd': _feature('ofd', 0.001),
  'review_kd': _review,
  'cat_kd': places.files(
    'GzyAftermath/CAT-KD',
    'configs/cifar100/CAT_KD',
    tables.CAT,
    tables.CAT_DEFAULTS,
  ),
  'simkd': _simkd('simkd', 0, 0, {'pred_feat_s': 'module_list[1](feat_s[-2]'}),
  'srrl': _simkd('srrl', 1, 1, {'pred_feat_s': 'module_list[1](feat_s[-1]'}),
  'ctkd': _ctkd('zhengli97/CTKD', '', 0.9),
  'dkd': places.files(
    sources.MDISTILLER, 'configs/cifar100/dkd', tables.DKD_FILES, tables.DKD
  ),
  'dist': _dist,
  'mlkd': places.files(
    'Jin-Ying/Multi-Level-Logit-Distillation',
    'configs/cifar100/ours',
    tables.MLLD,
    tables.MLLD_DEFAULTS,
    rate=0.025,
  ),
  'kd+ls': _standardized('KD'),
  'ctkd+ls': _ctkd(_LS, 'CTKD/', 9),
  'dkd+ls': _standardized('DKD'),
  'mlkd+ls': _standardized('MLKD'),
  'ttm': places.script(_TTM, None, _GAMMA, 'zkxufo/TTM', _VGG),
  'wttm': places.script(_WTTM, None, _GAMMA, 'zkxufo/TTM', _VGG),
  'wttm+crd': places.script(_WTTM, _POOLED, _GAMMA, 'zkxufo/TTM', _VGG),
  'nkd': _mm_cifar(temp=3.0, gamma=3.5),
  'wsld': _mm_cifar(temp=4.0, alpha=2.25),
  'mgd': _mm_cifar(alpha_mgd=0.0012, lambda_mgd=0.15),
  'ickd': places.script(
    {
      f'{_SCRIPT}#--distill ickd --model_s resnet8x4 -a 0': {'-a': 0, '-b': 2.5}
    },
    {'g_s': '[feat_s[-2]]'},
    _GAMMA,
    'ADLab-AutoDrive/ICKD',
    folder='Cifar100/',
  ),
  'ofa': sources.same(
    'Hao840/OFAKD', programs.ofa(), 'shown for Swin-T, ResNet-18'
  ),
  'ofa+exits': sources.same(
    'Hao840/OFAKD', programs.ofa(), 'shown for Swin-T, ResNet-18'
  ),
  'semckd': _simkd(
    'semckd', 1, 1, {'s_value': 'module_list[1](feat_s[1:-1]'}, 400
  ),
  **newer.CIFAR100,
}
