"""What a source's flags mean in the terms of our configs.

A setting is the weight of a term ('hard', 'soft', ..), an option of its method
('soft.temperature'), or how the student is trained (TRAINING). Each program of
a source has a function here, by its repository.
"""

from collections.abc import Mapping
from typing import Any

from experiments.recipes import sources

Settings = dict[str, Any]

# Compared only where a source says them.
TRAINING = (
  'epochs',
  'batch_size',
  'learning_rate',
  'drops',
  'factor',
  'weight_decay',
  'momentum',
  'nesterov',
  'decay',
  'clip_norm',
  'augment',
  'init',
  'layers',
)
# What helper/loops.py of RepDistiller and SimKD gives a loss, in our words.
_READS = {
  'feat_t[opt.hint_layer]': 'hint',
  'feat_s[1:-1]': 'stages',
  '[feat_s[-2]]': 'last',
  'module_list[1](feat_s[-2])': 'last',
  'module_list[1](feat_s[-2]': 'final',
  'feat_s[-1]': 'pooled',
  'module_list[1](feat_s[-1])': 'pooled',
  'module_list[1](feat_s[-1]': 'pooled',
}
# PyTorch's SGD of all parameters of the networks of RepDistiller.
_PLAIN = {'nesterov': False, 'decay': 'all', 'clip_norm': 0, 'init': 'pytorch'}
_PROCESSES = 8  # of the programs that are started with more than one


def settings(method: str, origin: sources.Origin) -> Settings:
  """{setting: value} that an origin's flags amount to, for a method."""
  program = PROGRAMS[origin.repository]
  return program(method, origin.flags)


def get(flags: Mapping, name: str) -> Any:
  """A flag by its name, else by the last part of a dotted one.

  A file of mdistiller says BETA where its cfg.py says DKD.BETA, and decides.
  """
  if name in flags:
    return flags[name]
  return next(v for k, v in flags.items() if k.rpartition('.')[2] == name)


def _rep_training(flags) -> Settings:
  light = flags.get('opt.learning_rate')
  reads = [_READS[x] for x in flags.values() if x in _READS]
  return {
    'epochs': flags['--epochs'],
    'batch_size': flags['--batch_size'],
    'learning_rate': light or flags['--learning_rate'],
    'drops': flags['--lr_decay_epochs'],
    'factor': flags['--lr_decay_rate'],
    'weight_decay': flags['--weight_decay'],
    'momentum': flags['--momentum'],
    **_PLAIN,
    **({'layers': reads[0]} if reads else {}),
  }


def _repdistiller(method, flags) -> Settings:
  """loss = r CE + a T^2 KL + b of the method, a = 0 but for KD."""
  found = _rep_training(flags)
  found['hard'] = flags.get('-r', flags.get('--gamma'))
  found['soft'] = flags['-a'] if method == 'kd' else flags['-b']
  if method == 'kd':
    found['soft.temperature'] = flags['--kd_T']
  if '--init_epochs' in flags:  # before the others
    first = flags['--init_epochs']
    found['epochs'] += first
    found['soft.paraphraser_epochs' if method == 'ft' else 'first'] = first
  return found


def _simkd(method, flags) -> Settings:
  """loss = c CE + d T^2 KL + b of the method."""
  found = {**_rep_training(flags), 'hard': flags['-c'], 'soft': flags['-b']}
  if flags['-d']:
    found |= {'logits': flags['-d'], 'logits.temperature': flags['--kd_T']}
  return found


def _ttm(method, flags) -> Settings:
  """loss = r CE + a of --add + b of --distill; --ttm_l is 1/T."""
  found = _rep_training(flags)
  found['hard'] = flags.get('-r', flags.get('--gamma'))
  found['soft.temperature'] = 1 / flags['--ttm_l']
  if method == 'ttm':
    return {**found, 'soft': flags['-b']}
  found.pop('layers', None)  # CRD's
  found |= {'soft': flags['-a'], 'embeddings': flags['-b']}
  return {**found, 'soft.variant': 'wttm'}


def _ctkd(method, flags) -> Settings:
  """loss = r CE + a T^2 KL with a learned T; lambda rises for decay_loops."""
  options = {'soft.standardize': True} if method == 'ctkd+ls' else {}
  return {
    **_rep_training(flags),
    'hard': flags['-r'],
    'soft': flags['-a'],
    'soft.t_start': flags['--t_start'],
    'soft.t_end': flags['--t_end'],
    'soft.decay_epochs': flags['--decay_loops'],
    **options,
  }


def _solver(flags) -> Settings:
  """SOLVER of mdistiller and its descendants."""
  return {
    'epochs': flags['EPOCHS'],
    'batch_size': flags['BATCH_SIZE'],
    'learning_rate': flags['LR'],
    'drops': flags['LR_DECAY_STAGES'],
    'factor': flags['LR_DECAY_RATE'],
    'weight_decay': flags['WEIGHT_DECAY'],
    'momentum': flags['MOMENTUM'],
    **_PLAIN,
  }


def _mdistiller(method, flags) -> Settings:
  found = {**_solver(flags), 'hard': get(flags, 'CE_WEIGHT')}
  if method == 'kd':
    found['soft'] = get(flags, 'KD_WEIGHT')
    found['soft.temperature'] = get(flags, 'TEMPERATURE')
  elif method == 'dkd':
    found |= _dkd(flags)
  elif method == 'review_kd':
    found['soft'] = get(flags, 'REVIEWKD_WEIGHT')
    found['warmup'] = get(flags, 'WARMUP_EPOCHS')
  elif method == 'cat_kd':
    found['soft'] = get(flags, 'CAT_loss_weight')
    found['soft.resolution'] = get(flags, 'CAM_RESOLUTION')
    found['soft.normalize'] = get(flags, 'IF_NORMALIZE')
  else:
    found['soft'] = get(flags, 'FEAT_WEIGHT')
  return found


def _dkd(flags, weight=1) -> Settings:
  return {
    'soft': 1,
    'soft.alpha': weight * get(flags, 'ALPHA'),
    'soft.beta': weight * get(flags, 'BETA'),
    'soft.temperature': get(flags, 'T'),
    'warmup': get(flags, 'WARMUP'),
  }


def _levels(flags, weight, temperature, standardize) -> Settings:
  """KD_ours.py and MLKD.py: five temperatures, four of them in the code.

  The masks leave half of the examples and classes of the weak view, and the
  mean is over all, so the weight there is halved.
  """
  found = {**_solver(flags), 'augment': ('two_view',)}
  found['hard'] = found['hard_strong'] = get(flags, 'CE_WEIGHT')
  found |= {'soft': weight / 2, 'strong': weight}
  found |= {'strong.class_weight': 0, 'strong.batch_weight': 0}
  terms = ['soft', 'strong']
  if standardize:  # for the instance level alone
    found |= {f'{term}.standardize': True for term in terms}
    found |= {'soft.class_weight': 0, 'soft.batch_weight': 0}
    found |= {'levels': weight / 2, 'levels.instance_weight': 0}
    terms.append('levels')
  temperatures = (temperature, 3, 5, 2, 6)
  return {**found, **{f'{term}.temperatures': temperatures for term in terms}}


def _mlld(method, flags) -> Settings:
  weight, temperature = get(flags, 'KD_WEIGHT'), get(flags, 'TEMPERATURE')
  return _levels(flags, weight, temperature, False)


def _standardized(method, flags) -> Settings:
  """tools/train.py, lines 105 to 119, with what a log's name or README says."""
  if method == 'ctkd+ls':
    return _ctkd(method, flags)
  weight = flags.get('KD_WEIGHT', flags['--kd-weight'])
  temperature = flags.get('BASE_TEMPERATURE', flags['--base-temp'])
  if method == 'mlkd+ls':
    return _levels(flags, weight, temperature, True)
  found = {**_solver(flags), 'hard': get(flags, 'CE_WEIGHT')}
  if method == 'dkd+ls':
    found |= {**_dkd(flags, weight), 'soft.standardize': True}
  else:
    found['soft'] = weight
  return {**found, 'soft.temperature': temperature}


def _reviewkd(method, flags) -> Settings:
  return {
    'hard': flags['--ce-loss-weight'],
    'soft': flags['--kd-loss-weight'],
    'warmup': flags['--kd-warm-up'],
    'epochs': flags['--epochs'],
    'batch_size': flags['--batch_size'],
    'learning_rate': flags.get('args.lr', flags['--lr']),
    'drops': flags['--lr_adjust_step'],
    'factor': flags['--gamma'],
    'weight_decay': flags['--wd'],
    'momentum': flags['momentum'],
    'nesterov': flags['nesterov'],
    'decay': 'all',
  }


def _hunto(method, flags) -> Settings:
  """'dist_tN' is N as temperature; the rate is constant in the warm-up.

  Without opt_no_filter biases and norms do not decay.
  """
  first, every = flags['warmup_epochs'], flags['decay_epochs']
  processes = 1 if first else _PROCESSES
  return {
    'hard': flags['ori_loss_weight'],
    'soft': flags['kd_loss_weight'],
    'soft.beta': flags['beta'],
    'soft.gamma': flags['gamma'],
    'soft.temperature': float(flags['kd'].partition('_t')[2] or 1),
    'epochs': flags['epochs'],
    'batch_size': flags['batch_size'] * processes,
    'learning_rate': flags.get('--lr', flags.get('lr')),
    'drops': tuple(range(first + every, flags['epochs'], every)),
    'factor': flags['decay_rate'],
    'weight_decay': flags['weight_decay'],
    'momentum': flags['momentum'],
    'nesterov': not flags.get('sgd_no_nesterov', False),
    'decay': 'all' if flags.get('opt_no_filter') else 'weights',
  }


def _mm(method, flags) -> Settings:
  """cls_KD and MGD: the loss of the labels has weight 1 beside the method."""
  found = {'hard': 1, 'clip_norm': flags.get('max_norm', 0)}
  if method == 'mgd':
    found |= {'soft': flags['alpha_mgd'], 'soft.masked': flags['lambda_mgd']}
  elif method == 'wsld':
    found |= {'soft': flags['alpha'], 'soft.temperature': flags['temp']}
  else:
    found |= {'soft': 1, 'soft.temperature': flags['temp']}
    found['soft.gamma'] = flags['gamma']
  if 'max_epochs' not in flags:
    return found
  old = 'lr_config.gamma' in flags
  return {
    **found,
    'epochs': flags['max_epochs'],
    'batch_size': flags['batch_size'] * _PROCESSES,
    'learning_rate': flags['lr'],
    'drops': flags['step' if old else 'milestones'],
    'factor': flags['lr_config.gamma' if old else 'param_scheduler.gamma'],
    'weight_decay': flags['weight_decay'],
    'momentum': flags['momentum'],
    'nesterov': False,
    'decay': 'all',
  }


def _wsld(method, flags) -> Settings:
  return {
    'hard': 1,
    'soft': flags['self.alpha'],
    'soft.temperature': flags['self.T'],
    'epochs': flags['epochs'],
    'batch_size': flags['batch_size'],
    'learning_rate': flags['init_lr'],
    'drops': tuple(
      range(flags['epoch //'], flags['epochs'], flags['epoch //'])
    ),
    'factor': 0.1,
    'weight_decay': flags['weight_decay'],
    'momentum': flags['momentum'],
    'nesterov': flags['nesterov'],
    'decay': 'all',
  }


def _srrl(method, flags) -> Settings:
  """loss = CE + features + weight logits."""
  return {
    'hard': 1,
    'soft': 1,
    'soft.feature_weight': 1,
    'soft.logit_weight': flags['--weight'],
    'epochs': flags['--epochs'],
    'batch_size': flags['--batch_size'],
    'learning_rate': flags['--lr'],
    'drops': flags['args.lr'],
    'weight_decay': flags['--weight_decay'],
    'momentum': flags['--momentum'],
    'nesterov': False,
    'decay': 'all',
    'layers': 'final',
  }


def _ofa(method, flags) -> Settings:
  """The loss on the last logits is weighed as kd_loss, that of exits as ofa."""
  return {
    'hard': flags['--gt-loss-weight'],
    'hard.smoothing': flags['smoothing'],
    'soft': flags['--kd-loss-weight'],
    'soft.eps': flags['--ofa-eps'],
    'soft.temperature': flags['--ofa-temperature'],
    'exits': flags['--ofa-loss-weight'],
    'epochs': flags['epochs'],
    'batch_size': flags['batch_size'] * _PROCESSES,
    'learning_rate': flags['lr'],
    'weight_decay': flags['weight_decay'],
    'drops': flags['sched'],
  }


PROGRAMS = {
  'HobbitLong/RepDistiller': _repdistiller,
  'ADLab-AutoDrive/ICKD': _repdistiller,
  'DefangChen/SimKD': _simkd,
  'zkxufo/TTM': _ttm,
  'zhengli97/CTKD': _ctkd,
  sources.MDISTILLER: _mdistiller,
  'GzyAftermath/CAT-KD': _mdistiller,
  'Jin-Ying/Multi-Level-Logit-Distillation': _mlld,
  'sunshangquan/logit-standardization-KD': _standardized,
  'dvlab-research/ReviewKD': _reviewkd,
  'hunto/image_classification_sota': _hunto,
  sources.MM: _mm,
  'yzd-v/MGD': _mm,
  'bellymonster/Weighted-Soft-Label-Distillation': _wsld,
  'jingyang2017/KD_SRRL': _srrl,
  'Hao840/OFAKD': _ofa,
}
