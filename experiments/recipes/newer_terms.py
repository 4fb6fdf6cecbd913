"""What the flags of newer methods' sources mean in the terms of our configs.

As in `translate`, a function for each method.
"""

from collections.abc import Mapping
from typing import Any

from experiments.recipes import flags_read

Settings = dict[str, Any]
get = flags_read.get


def _soft(flags: Mapping) -> Settings:
  """SOLVER of mdistiller's descendants, and KD's two weights."""
  return {
    **flags_read.of_mdistiller(flags),
    'hard': get(flags, 'CE_WEIGHT'),
    'soft': get(flags, 'KD_WEIGHT'),
  }


def _decoupled(flags: Mapping) -> Settings:
  """Likewise, of those that rise over the first epochs."""
  return {
    **flags_read.of_mdistiller(flags),
    'hard': get(flags, 'CE_WEIGHT'),
    'soft': 1,
    'soft.alpha': get(flags, 'ALPHA'),
    'soft.beta': get(flags, 'BETA'),
    'warmup': get(flags, 'WARMUP'),
  }


def _rld(flags: Mapping) -> Settings:
  """--same-t makes ALPHA_T the T."""
  temperature = get(flags, 'T')
  return {
    **_decoupled(flags),
    'soft.temperature': temperature,
    'soft.alpha_temperature': temperature,
  }


def _normkd(flags: Mapping) -> Settings:
  return {**_soft(flags), 'soft.t_norm': get(flags, 'TEMPERATURE_NORM')}


def _normkd_dkd(flags: Mapping) -> Settings:
  return {**_decoupled(flags), 'soft.t_norm': get(flags, 'TEMPERATURE_NORM')}


def _regions(flags: Mapping) -> Settings:
  return {'soft.scales': flags['--M'], 'layers': 'final'}


def _sdd_kd(flags: Mapping) -> Settings:
  found = {**_soft(flags), **_regions(flags)}
  return {**found, 'soft.temperature': get(flags, 'TEMPERATURE')}


def _sdd_dkd(flags: Mapping) -> Settings:
  found = {**_decoupled(flags), **_regions(flags)}
  return {**found, 'soft.temperature': get(flags, 'T')}


def _sdd_nkd(flags: Mapping) -> Settings:
  """SDD_nkd.py takes DKD's T, and its beta as gamma."""
  found = _sdd_dkd(flags)
  del found['soft.alpha']
  found['soft.gamma'] = found.pop('soft.beta')
  return found


def _wkd(flags: Mapping) -> Settings:
  """From COSINE_DECAY_EPOCH on the weights fall to 0 on half a cosine."""
  return {
    **flags_read.of_mdistiller(flags),
    'hard': get(flags, 'CE_WEIGHT'),
    'fall': get(flags, 'COSINE_DECAY_EPOCH'),
  }


def _wkd_l(flags: Mapping) -> Settings:
  """The weight is that of the transport; NKD's target term has 1."""
  return {
    **_wkd(flags),
    'soft': 1,
    'soft.gamma': get(flags, 'WKD_LOGIT_WEIGHT'),
    'soft.temperature': get(flags, 'TEMPERATURE'),
    'soft.regularization': get(flags, 'LAMBDA'),
    'soft.iterations': get(flags, 'ITER'),
    'soft.sharpen': get(flags, 'COST_MATRIX_SHARPEN'),
    'soft.cost': get(flags, 'COST_MATRIX'),
  }


def _wkd_f(flags: Mapping) -> Settings:
  return {
    **_wkd(flags),
    'soft': get(flags, 'WKD_FEAT_WEIGHT'),
    'soft.mean_weight': get(flags, 'MEAN_COV_RATIO'),
    'soft.eps': get(flags, 'EPS'),
    'soft.grid': get(flags, 'SPATIAL_GRID'),
  }


def _itrd(flags: Mapping) -> Settings:
  return {
    **flags_read.of_repdistiller(flags),
    'hard': flags['-r'],
    'soft': flags['-b'],
    'soft.alpha': flags['--alpha_it'],
    'soft.correlation_weight': flags['--lambda_corr'],
    'soft.mutual_weight': flags['--lambda_mutual'],
  }


def _afd(flags: Mapping) -> Settings:
  """loss = (1 - alpha) CE + alpha KL + beta of the method."""
  alpha = flags['--alpha']
  return {
    'hard': 1 - alpha,
    'logits': alpha,
    'logits.temperature': flags['--temperature'],
    'soft': flags['--beta'],
    'soft.width': flags['--qk_dim'],
    'epochs': flags['--epoch'],
    'batch_size': flags['--batch_size'],
    'learning_rate': flags['--lr'],
    'drops': flags['--schedule'],
    'factor': flags['--lr_decay'],
    'weight_decay': flags['--weight_decay'],
    'momentum': flags['--momentum'],
    'nesterov': False,
    'decay': 'all',
  }


def _sskd(flags: Mapping) -> Settings:
  """loss = ce + kd + tf + ss, after --t-epoch of the teacher's projection."""
  first = flags['--t-epoch']
  return {
    'hard': flags['--ce-weight'],
    'logits': flags['--kd-weight'],
    'logits.temperature': flags['--kd-T'],
    'soft': 1,
    'soft.transformed_weight': flags['--tf-weight'],
    'soft.contrast_weight': flags['--ss-weight'],
    'soft.temperature': flags['--tf-T'],
    'soft.contrast_temperature': flags['--ss-T'],
    'soft.ratio': flags['--ratio-tf'],
    'soft.contrast_ratio': flags['--ratio-ss'],
    'soft.projection_epochs': first,
    'epochs': flags['--epoch'] + first,
    'batch_size': flags['--batch-size'],
    'learning_rate': flags['--lr'],
    'drops': flags['--milestones'],
    'factor': flags['--gamma'],
    'weight_decay': flags['--weight-decay'],
    'momentum': flags['--momentum'],
    'nesterov': False,
    'decay': 'all',
    'augment': ('pad_crop', 'rotations'),
    'layers': 'pooled',
  }


def _dot(flags: Mapping) -> Settings:
  return {
    **_soft(flags),
    'soft.temperature': get(flags, 'TEMPERATURE'),
    'delta': get(flags, 'DELTA'),
  }


METHODS = {
  'rld': _rld,
  'normkd': _normkd,
  'normkd+dkd': _normkd_dkd,
  'sdd_kd': _sdd_kd,
  'sdd_dkd': _sdd_dkd,
  'sdd_nkd': _sdd_nkd,
  'wkd_l': _wkd_l,
  'wkd_f': _wkd_f,
  'itrd': _itrd,
  'afd': _afd,
  'sskd': _sskd,
  'kd+dot': _dot,
}
