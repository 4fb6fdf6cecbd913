"""What a source's flags mean in the terms of our configs.

A setting is the weight of a term ('hard', 'soft', ..), an option of its method
('soft.temperature'), or how the student is trained (TRAINING). Each program of
a source has a function here, by its repository.
"""

from experiments.recipes import flags_read, newer_terms, sources

Settings = flags_read.Settings

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
  'delta',
  'augment',
  'init',
  'layers',
)
_PROCESSES = 8  # of the programs that are started with more than one


def settings(method: str, origin: sources.Origin) -> Settings:
  """{setting: value} that an origin's flags amount to, for a method."""
  if method in newer_terms.METHODS:
    return newer_terms.METHODS[method](origin.flags)
  return PROGRAMS[origin.repository](method, origin.flags)


def _repdistiller(method, flags) -> Settings:
  """loss = r CE + a T^2 KL + b of the method, a = 0 but for KD."""
  found = flags_read.of_repdistiller(flags)
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
  found = {
    **flags_read.of_repdistiller(flags),
    'hard': flags['-c'],
    'soft': flags['-b'],
  }
  if flags['-d']:
    found |= {'logits': flags['-d'], 'logits.temperature': flags['--kd_T']}
  return found


def _ttm(method, flags) -> Settings:
  """loss = r CE + a of --add + b of --distill; --ttm_l is 1/T."""
  found = flags_read.of_repdistiller(flags)
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
    **flags_read.of_repdistiller(flags),
    'hard': flags['-r'],
    'soft': flags['-a'],
    'soft.t_start': flags['--t_start'],
    'soft.t_end': flags['--t_end'],
    'soft.decay_epochs': flags['--decay_loops'],
    **options,
  }


def _mdistiller(method, flags) -> Settings:
  found = {
    **flags_read.of_mdistiller(flags),
    'hard': flags_read.get(flags, 'CE_WEIGHT'),
  }
  if method == 'kd':
    found['soft'] = flags_read.get(flags, 'KD_WEIGHT')
    found['soft.temperature'] = flags_read.get(flags, 'TEMPERATURE')
  elif method == 'dkd':
    found |= _dkd(flags)
  elif method == 'review_kd':
    found['soft'] = flags_read.get(flags, 'REVIEWKD_WEIGHT')
    found['warmup'] = flags_read.get(flags, 'WARMUP_EPOCHS')
  elif method == 'cat_kd':
    found['soft'] = flags_read.get(flags, 'CAT_loss_weight')
    found['soft.resolution'] = flags_read.get(flags, 'CAM_RESOLUTION')
    found['soft.normalize'] = flags_read.get(flags, 'IF_NORMALIZE')
  else:
    found['soft'] = flags_read.get(flags, 'FEAT_WEIGHT')
  return found


def _dkd(flags, weight=1) -> Settings:
  return {
    'soft': 1,
    'soft.alpha': weight * flags_read.get(flags, 'ALPHA'),
    'soft.beta': weight * flags_read.get(flags, 'BETA'),
    'soft.temperature': flags_read.get(flags, 'T'),
    'warmup': flags_read.get(flags, 'WARMUP'),
  }


def _levels(flags, weight, temperature, standardize) -> Settings:
  """KD_ours.py and MLKD.py: five temperatures, four of them in the code.

  The masks leave half of the examples and classes of the weak view, and the
  mean is over all, so the weight there is halved.
  """
  found = {**flags_read.of_mdistiller(flags), 'augment': ('two_view',)}
  found['hard'] = found['hard_strong'] = flags_read.get(flags, 'CE_WEIGHT')
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
  weight, temperature = (
    flags_read.get(flags, 'KD_WEIGHT'),
    flags_read.get(flags, 'TEMPERATURE'),
  )
  return _levels(flags, weight, temperature, False)


def _standardized(method, flags) -> Settings:
  """tools/train.py, lines 105 to 119, with what a log's name or README says."""
  if method == 'ctkd+ls':
    return _ctkd(method, flags)
  weight = flags.get('KD_WEIGHT', flags['--kd-weight'])
  temperature = flags.get('BASE_TEMPERATURE', flags['--base-temp'])
  if method == 'mlkd+ls':
    return _levels(flags, weight, temperature, True)
  found = {
    **flags_read.of_mdistiller(flags),
    'hard': flags_read.get(flags, 'CE_WEIGHT'),
  }
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
    'exits.eps': flags['--ofa-eps'],
    'exits.temperature': flags['--ofa-temperature'],
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
