"""What the sources' files say of each method on CIFAR-100, in their names.

Nothing here is read off `experiments.configs.weights`.
"""

from collections.abc import Callable, Mapping

from experiments.configs import pairs
from experiments.recipes import programs, sources, tables

_LS = 'sunshangquan/logit-standardization-KD'
_EXAMPLE = ('resnet32x4', 'resnet8x4')  # of most scripts
_SCRIPT = 'scripts/run_cifar_distill.sh'
_GAMMA = {'--gamma': 1}  # the default of -r


def _shown(pair, example) -> str:
  """The note of a source that shows one pair."""
  return '' if pair == example else f'shown for {",".join(example)}'


def _script(
  own: Mapping,
  reads: Mapping | None = None,
  train: Mapping | None = None,
  repository: str = 'HobbitLong/RepDistiller',
  example: tuple[str, str] = _EXAMPLE,
  folder: str = '',
) -> Callable:
  """A command of RepDistiller's or a descendant's program.

  Args:
    own: {file#line: {flag: value}} of the command.
    reads: what helper/loops.py gives the loss.
    train: further defaults of train_student.py.
    repository, example, folder: the program's, the command's pair, and where
      in the repository the program lies.
  """

  def make(teacher, student):
    said = {**own, **programs.repdistiller(student)}
    said['train_student.py'] |= train or {}
    if reads:
      said['helper/loops.py'] = reads
    says = {folder + file: flags for file, flags in said.items()}
    return sources.Origin(repository, says, _shown((teacher, student), example))

  return make


def _rep(distill, beta, reads=None, train=None) -> Callable:
  """A line of RepDistiller's script without the soft loss of KD."""
  line = {f'{_SCRIPT}#--distill {distill} ': {'-a': 0, '-b': beta}}
  return _script(line, reads, {**_GAMMA, **(train or {})})


def _simkd(distill, cls, div, reads) -> Callable:
  """A line of SimKD's script."""
  line = f'scripts/run_distill.sh#--distill {distill} --model_s resnet8x4'
  own = {line: {'-c': cls, '-d': div, '-b': 1}}
  return _script(own, reads, repository='DefangChen/SimKD')


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
    return sources.Origin(repository, says, _shown((teacher, student), example))

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
      sources.MDISTILLER, says, _shown((teacher, student), _EXAMPLE)
    )

  return make


def _files(repository, folder, table, defaults, rate=0.05) -> Callable:
  """A file for each pair that the source has, beside its defaults.

  Args:
    repository: of mdistiller or a descendant.
    folder: of the files.
    table: {pair in its names: what its file has of its own}.
    defaults: {flag: value} of cfg.py.
    rate: of the students that are not light.
  """

  def make(teacher, student):
    name = tables.short(teacher, student)
    solver, note = programs.cifar_solver(student, rate), ''
    if name not in table:
      name, note = 'res32x4_res8x4', 'no file of this pair: the defaults'
      says = {sources.CFG: defaults, f'{folder}/{name}.yaml': solver}
      return sources.Origin(repository, says, note)
    if 'CAT_KD' in folder and name.startswith('wrn40_2_wrn'):
      file = name.replace('wrn40_2', 'wrn_40_2')
    else:
      file = name
    says = {
      f'{folder}/{file}.yaml': {**solver, **table[name]},
      sources.CFG: defaults,
    }
    return sources.Origin(repository, says, note)

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
  'kd': _script({f'{_SCRIPT}#--distill kd ': {'-r': 0.1, '-a': 0.9, '-b': 0}}),
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
  'cat_kd': _files(
    'GzyAftermath/CAT-KD',
    'configs/cifar100/CAT_KD',
    tables.CAT,
    tables.CAT_DEFAULTS,
  ),
  'simkd': _simkd('simkd', 0, 0, {'pred_feat_s': 'module_list[1](feat_s[-2]'}),
  'srrl': _simkd('srrl', 1, 1, {'pred_feat_s': 'module_list[1](feat_s[-1]'}),
  'ctkd': _ctkd('zhengli97/CTKD', '', 0.9),
  'dkd': _files(
    sources.MDISTILLER, 'configs/cifar100/dkd', tables.DKD_FILES, tables.DKD
  ),
  'dist': _dist,
  'mlkd': _files(
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
  'ttm': _script(_TTM, None, _GAMMA, 'zkxufo/TTM', _VGG),
  'wttm': _script(_WTTM, None, _GAMMA, 'zkxufo/TTM', _VGG),
  'wttm+crd': _script(_WTTM, _POOLED, _GAMMA, 'zkxufo/TTM', _VGG),
  'nkd': _mm_cifar(temp=3.0, gamma=3.5),
  'wsld': _mm_cifar(temp=4.0, alpha=2.25),
  'mgd': _mm_cifar(alpha_mgd=0.0012, lambda_mgd=0.15),
  'ickd': _script(
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
}
